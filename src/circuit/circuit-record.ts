import type { CircuitRecord } from "../storage/circuit-storage.js";
import { isolationMsLeft, leaseMsLeft } from "../storage/remaining.js";

/** Whether the isolation or the lease is over, so that the storage gives the lease to the next to ask. */
export function isFree(record: CircuitRecord): boolean {
  if (record.state === "CLOSED") return false;
  return (record.state === "OPEN" ? isolationMsLeft(record) : leaseMsLeft(record)) === 0;
}

/** Whether both say the same to a process, whenever they were read. */
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
    (one.openings ?? 0) === (other.openings ?? 0)
  );
}
