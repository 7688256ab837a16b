import type {
  CircuitCause,
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSettings,
  CircuitSettingsChange,
  CircuitVote,
} from "./circuit-storage.js";
import { validateSettings } from "./validate-record.js";
import { liveVotes, TIMER_TOLERANCE_MS, votingHosts } from "./votes.js";

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
  return { changed: true, record: { ...after(record, change, now, leaseSeconds), version } };
}

function after(
  record: CircuitRecord,
  change: CircuitChange,
  now: Date,
  leaseSeconds: number,
): CircuitRecord {
  const { owner } = change;
  if (change.to === "CLOSED" && change.withdraws) {
    return { ...record, votes: votesOfOthers(record, owner, now), readAt: now };
  }
  if (!isVote(change)) return changed(record, change, now, leaseSeconds);
  const votes = [...votesOfOthers(record, owner, now), voteOf(record, change, now)];
  if (votingHosts(votes).length >= change.quorum && mayOpen(record, owner, now)) {
    const openSeconds = Math.min(...votes.map((vote) => vote.openSeconds));
    const openings = Math.min(...votes.map((vote) => vote.openings));
    return changed(record, { ...change, openSeconds, openings }, now, leaseSeconds);
  }
  if (!ownsLease(record, owner, now)) return { ...record, votes, readAt: now };
  const { version } = record;
  const returned = { to: "HALF_OPEN", version, owner, early: true } as const;
  return { ...changed(record, returned, now, leaseSeconds), votes };
}

type Vote = Extract<CircuitChange, { to: "OPEN" }> & { readonly quorum: number };

function isVote(change: CircuitChange): change is Vote {
  return change.to === "OPEN" && !change.byHand && (change.quorum ?? 1) > 1;
}

function votesOfOthers(record: CircuitRecord, owner: string, now: Date): readonly CircuitVote[] {
  return liveVotes(record, now).filter((vote) => vote.owner !== owner);
}

function voteOf(record: CircuitRecord, change: Vote, now: Date): CircuitVote {
  const { owner, host = owner, openSeconds, quorum } = change;
  return {
    host: cut(host),
    owner,
    until: later(now, openSeconds),
    openSeconds,
    openings: change.openings ?? record.openings ?? 0,
    quorum,
  };
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
    votes: [],
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
  const { cause = null, settings = null, votes = [] } = before;
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
    votes,
    probeSuccesses: successes,
    ...lease,
  };
}

function isAllowed(before: CircuitRecord, change: CircuitChange, now: Date): boolean {
  const { owner } = change;
  if (change.to === "CLOSED" && change.withdraws) return before.state === "CLOSED";
  if (change.to !== "HALF_OPEN" && change.byHand) return true;
  if (change.to === "CLOSED") {
    return before.state === "HALF_OPEN" && ownsLease(before, owner, now);
  }
  if (isVote(change)) return before.state !== "OPEN" || isFree(before, now);
  if (change.to === "OPEN") return mayOpen(before, owner, now);
  if (before.state === "CLOSED") return false;
  if (ownsLease(before, owner, now)) return true;
  if (change.early) {
    return isFree(before, now) || (before.state === "OPEN" && before.reason === null);
  }
  const { host } = change;
  if (host !== undefined && liveVotes(before, now).some((vote) => vote.host === cut(host))) {
    return false;
  }
  // The clock was set back to before the last change, so the record cannot say what is over. The process
  // that asks has waited for the whole isolation, or lease, by a clock of its own.
  return isFree(before, now) || before.updatedAt > now;
}

function mayOpen(before: CircuitRecord, owner: string, now: Date): boolean {
  return before.state === "CLOSED" || ownsLease(before, owner, now) || isFree(before, now);
}

function ownsLease({ probeUntil, probeOwner }: CircuitRecord, owner: string, now: Date): boolean {
  return isAhead(probeUntil, now) && probeOwner === owner;
}

/** Whether the isolation, or the lease, is over. */
function isFree({ state, openUntil, probeUntil }: CircuitRecord, now: Date): boolean {
  return state === "OPEN"
    ? !isAhead(openUntil, new Date(now.getTime() + TIMER_TOLERANCE_MS))
    : !isAhead(probeUntil, now);
}

function isAhead(date: Date | null, time: Date): boolean {
  return date !== null && date > time;
}

function later(date: Date, seconds: number): Date {
  return new Date(date.getTime() + seconds * 1000);
}
