import type { CircuitChange, CircuitChangeResult, CircuitRecord } from "./circuit-storage.js";

export interface ApplyChangeOptions {
  /** Seconds of a probe lease. > 0. */
  readonly probeLeaseSeconds: number;
}

/**
 * The record after a change that was asked for at `now`, and whether the change was made. Decides by its
 * arguments alone: the guards of every storage, as a pure function.
 */
export function applyChange(
  record: CircuitRecord,
  change: CircuitChange,
  now: Date,
  options: ApplyChangeOptions,
): CircuitChangeResult {
  if (change.version !== record.version || !isAllowed(record, change, now)) {
    return { changed: false, record: { ...record, readAt: now } };
  }
  const leaseMs = options.probeLeaseSeconds * 1000;
  const version = record.version + 1;
  return { changed: true, record: { ...after(record, change, now, leaseMs), version } };
}

/** The record of a circuit that is closed since `now`. */
export function closedRecord(version: number, now: Date): CircuitRecord {
  return {
    state: "CLOSED",
    failureCount: 0,
    openUntil: null,
    openedBy: null,
    reason: null,
    probeOwner: null,
    probeUntil: null,
    probeSuccesses: 0,
    version,
    updatedAt: now,
    readAt: now,
  };
}

function after(
  { version, openedBy, failureCount, probeSuccesses }: CircuitRecord,
  change: CircuitChange,
  now: Date,
  leaseMs: number,
): CircuitRecord {
  const closed = { ...closedRecord(version, now), openedBy };
  if (change.to === "CLOSED") return closed;
  if (change.to === "OPEN") {
    const { failureCount, owner, opening = owner } = change;
    const reason = change.reason === undefined ? null : [...change.reason].slice(0, 255).join("");
    const openUntil = later(now, change.openSeconds * 1000);
    return { ...closed, state: "OPEN", failureCount, openUntil, openedBy: opening, reason };
  }
  const lease = change.early ? {} : { probeOwner: change.owner, probeUntil: later(now, leaseMs) };
  const successes = change.successes ?? probeSuccesses;
  return { ...closed, state: "HALF_OPEN", failureCount, probeSuccesses: successes, ...lease };
}

function isAllowed(before: CircuitRecord, change: CircuitChange, now: Date): boolean {
  const ownsLease = isAhead(before.probeUntil, now) && before.probeOwner === change.owner;
  if (change.to !== "HALF_OPEN" && change.byHand) return true;
  // A Node timer can fire a millisecond early: a process that sleeps for the whole isolation finds it over.
  const isFree =
    before.state === "OPEN"
      ? !isAhead(before.openUntil, later(now, 1))
      : !isAhead(before.probeUntil, now);
  if (change.to === "CLOSED") return before.state === "HALF_OPEN" && ownsLease;
  if (change.to === "OPEN") return before.state === "CLOSED" || ownsLease || isFree;
  if (before.state === "CLOSED") return false;
  if (change.early) {
    return ownsLease || isFree || (before.state === "OPEN" && before.reason === null);
  }
  return ownsLease || isFree;
}

function isAhead(date: Date | null, time: Date): boolean {
  return date !== null && date > time;
}

function later(date: Date, ms: number): Date {
  return new Date(date.getTime() + ms);
}
