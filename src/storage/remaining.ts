import type { CircuitRecord } from "./circuit-storage.js";

/**
 * Milliseconds of the isolation that were left when the record was read; 0 when the circuit is not isolated.
 * Only the storage's clock counts, and the rest is never longer than the isolation as a whole: otherwise a
 * clock that is set back by an hour prolongs an isolation of 2 s to an hour.
 */
export function isolationMsLeft(record: CircuitRecord): number {
  return msLeft(record.openUntil, record);
}

/** Milliseconds of the probe lease that were left when the record was read; never more than the whole lease. */
export function leaseMsLeft(record: CircuitRecord): number {
  return msLeft(record.probeUntil, record);
}

/** Every change that sets an end sets `updatedAt` by the same clock. */
function msLeft(end: Date | null, { readAt, updatedAt }: CircuitRecord): number {
  if (end === null) return 0;
  const rest = Number(end) - Number(readAt);
  const whole = Number(end) - Number(updatedAt);
  // The record of a custom storage may lack a valid `updatedAt`, which is not checked.
  return Math.max(0, Number.isNaN(whole) ? rest : Math.min(rest, whole));
}
