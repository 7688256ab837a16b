import type { CircuitRecord } from "../storage/circuit-storage.js";
import { isolationMsLeft, leaseMsLeft } from "../storage/remaining.js";

/** Whether the isolation or the lease is over, so that the storage gives the lease to the next to ask. */
export function isFree(record: CircuitRecord): boolean {
  if (record.state === "CLOSED") return false;
  return (record.state === "OPEN" ? isolationMsLeft(record) : leaseMsLeft(record)) === 0;
}

/** Whether both say the same to a process, whenever they were read, and whatever the votes. */
export function isSame(one: CircuitRecord, other: CircuitRecord): boolean {
  return (
    one.version === other.version &&
    one.state === other.state &&
    one.openUntil?.getTime() === other.openUntil?.getTime() &&
    one.openedBy === other.openedBy &&
    one.reason === other.reason &&
    one.probeOwner === other.probeOwner &&
    one.probeUntil?.getTime() === other.probeUntil?.getTime() &&
    one.probeSuccesses === other.probeSuccesses &&
    (one.openings ?? 0) === (other.openings ?? 0) &&
    hasSameSettings(one, other)
  );
}

/** Whether all that changed between two records is their settings. */
export function differsInSettings(one: CircuitRecord, other: CircuitRecord): boolean {
  const { version, settings = null } = other;
  return !hasSameSettings(one, other) && isSame({ ...one, version, settings }, other);
}

/** Whether nothing changed between two records but their votes, which no process follows. */
export function differsInVotes(one: CircuitRecord, other: CircuitRecord): boolean {
  const { version, votes = [] } = other;
  const hasSameVotes = JSON.stringify(one.votes ?? []) === JSON.stringify(votes);
  return !hasSameVotes && isSame({ ...one, version }, other);
}

function hasSameSettings(one: CircuitRecord, other: CircuitRecord): boolean {
  const [ours, theirs] = [one.settings ?? null, other.settings ?? null];
  return ours === theirs || JSON.stringify(ours) === JSON.stringify(theirs);
}
