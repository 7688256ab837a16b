import type {
  CircuitCause,
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSettings,
  CircuitSettingsChange,
} from "./circuit-storage.js";
import { validateSettings } from "./validate-record.js";

/** Options of {@link applyChange}. */
export interface ApplyChangeOptions {
  /** Seconds of a probe lease. > 0. */
  readonly leaseSeconds: number;
}

/**
 * Decides a change by the rules of every storage, and returns the record after it. Pure: it goes by its
 * arguments alone. A custom storage reads the record, applies the change and writes the result, in one atomic
 * step, or writes it only if the record still has its `version`.
 *
 * @param record the circuit in the storage
 * @param change what a bulkhead, or a person, asks for
 * @param now the time by the storage's clock, not the process's when several processes share the storage
 * @returns whether the change was made; and the new record, with the next version, or the unchanged one. Both
 *   have `now` as `readAt`.
 *
 * @example
 * async change(name, change) {
 *   return this.transaction(async (row) => {
 *     const result = applyChange(await row.read(name), change, await row.time(), { leaseSeconds: 30 });
 *     if (result.changed) await row.write(name, result.record);
 *     return result;
 *   });
 * }
 */
export function applyChange(
  record: CircuitRecord,
  change: CircuitChange,
  now: Date,
  { leaseSeconds }: ApplyChangeOptions,
): CircuitChangeResult {
  if (change.version !== record.version || !isAllowed(record, change, now)) {
    return { changed: false, record: { ...record, readAt: now } };
  }
  const version = record.version + 1;
  return { changed: true, record: { ...changed(record, change, now, leaseSeconds), version } };
}

/**
 * Decides new settings like {@link applyChange} decides a change.
 * @throws {TypeError} for malformed settings
 */
export function applySettings(
  record: CircuitRecord,
  { version, settings }: CircuitSettingsChange,
  now: Date,
): CircuitChangeResult {
  const kept = settings && storable(settings);
  if (version !== record.version) return { changed: false, record: { ...record, readAt: now } };
  const next = { ...record, settings: kept, version: version + 1, readAt: now };
  return { changed: true, record: next };
}

/** The settings as a storage keeps them: what JSON cannot hold is gone, and long texts are cut. */
export function storable(settings: CircuitSettings): CircuitSettings {
  const { values, until, reason, by } = validateSettings(settings);
  return {
    values: JSON.parse(JSON.stringify(values)),
    until,
    reason: cut(reason ?? null),
    by: cut(by ?? null),
  };
}

function storableCause({ rule, failure, code }: CircuitCause): CircuitCause {
  return { rule: cut(rule), failure: cut(failure), code: cut(code) };
}

/** The record of a circuit that is closed since `now`. */
export function closedRecord(version: number, now: Date): CircuitRecord {
  return {
    state: "CLOSED",
    failureCount: 0,
    openUntil: null,
    openedBy: null,
    reason: null,
    cause: null,
    changedBy: null,
    probeOwner: null,
    probeUntil: null,
    probeSuccesses: 0,
    openings: 0,
    settings: null,
    version,
    updatedAt: now,
    readAt: now,
  };
}

/** Makes an owner unique, and says nothing to people. */
const ID = / [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The longest text that a record keeps, in code points. */
const MAX_TEXT = 255;

function cut(text: string): string;
function cut(text: string | null): string | null;
function cut(text: string | null): string | null {
  return text === null ? null : [...text].slice(0, MAX_TEXT).join("");
}

function changed(
  before: CircuitRecord,
  change: CircuitChange,
  now: Date,
  leaseSeconds: number,
): CircuitRecord {
  const { version, openedBy, failureCount, probeSuccesses, openings = 0 } = before;
  const { cause = null, settings = null } = before;
  const changedBy = cut(change.owner.replace(ID, ""));
  const closed = { ...closedRecord(version, now), openedBy, changedBy, settings };
  if (change.to === "CLOSED") return closed;
  if (change.to === "OPEN") {
    const { failureCount, owner, opening = owner, reason, cause } = change;
    return {
      ...closed,
      state: "OPEN",
      failureCount,
      openUntil: later(now, change.openSeconds),
      openedBy: opening,
      cause: cause ? storableCause(cause) : null,
      openings: change.openings ?? openings,
      reason: cut(reason ?? null),
    };
  }
  const lease = change.early
    ? {}
    : { probeOwner: change.owner, probeUntil: later(now, leaseSeconds) };
  const successes = change.successes ?? probeSuccesses;
  return {
    ...closed,
    state: "HALF_OPEN",
    failureCount,
    cause,
    openings,
    probeSuccesses: successes,
    ...lease,
  };
}

/** A Node timer can fire a millisecond early: a process that sleeps for the whole isolation finds it over. */
const TIMER_TOLERANCE_SECONDS = 0.001;

function isAllowed(before: CircuitRecord, change: CircuitChange, now: Date): boolean {
  const ownsLease = isAhead(before.probeUntil, now) && before.probeOwner === change.owner;
  if (change.to !== "HALF_OPEN" && change.byHand) return true;
  const isFree =
    before.state === "OPEN"
      ? !isAhead(before.openUntil, later(now, TIMER_TOLERANCE_SECONDS))
      : !isAhead(before.probeUntil, now);
  if (change.to === "CLOSED") return before.state === "HALF_OPEN" && ownsLease;
  if (change.to === "OPEN") return before.state === "CLOSED" || ownsLease || isFree;
  if (before.state === "CLOSED") return false;
  if (ownsLease || isFree) return true;
  if (change.early) return before.state === "OPEN" && before.reason === null;
  // The clock was set back to before the last change, so the record cannot say what is over. The process
  // that asks has waited for the whole isolation, or lease, by a clock of its own.
  return before.updatedAt > now;
}

function isAhead(date: Date | null, time: Date): boolean {
  return date !== null && date > time;
}

function later(date: Date, seconds: number): Date {
  return new Date(date.getTime() + seconds * 1000);
}
