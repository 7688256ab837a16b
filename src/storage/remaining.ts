import type { CircuitRecord } from "./circuit-storage.js";

/**
 * Milliseconds of the isolation that were left when the record was read; 0 when the circuit is not isolated.
 * Goes by the storage's clock alone, and never exceeds the whole isolation: otherwise a clock that is set back by an
 * hour would prolong an isolation of 2 s to an hour.
 */
export function isolationMsLeft(record: CircuitRecord): number {
  return msLeft(record.openUntil, record);
}

/** Milliseconds of the probe lease that were left when the record was read; never more than the whole lease. */
export function leaseMsLeft(record: CircuitRecord): number {
  return msLeft(record.probeUntil, record);
}

/** Milliseconds that the settings were still in force when the record was read; 0 without any, and when they are over. */
export function settingsMsLeft({ settings, readAt }: CircuitRecord): number {
  if (!settings) return 0;
  const { until } = settings;
  return until === null ? Number.POSITIVE_INFINITY : Math.max(0, Number(until) - Number(readAt));
}

/** Every change that sets an end sets `updatedAt` by the same clock. */
function msLeft(end: Date | null, { readAt, updatedAt }: CircuitRecord): number {
  if (end === null) return 0;
  const rest = Number(end) - Number(readAt);
  const whole = Number(end) - Number(updatedAt);
  // A custom storage's record may have an invalid `updatedAt`, which is not validated.
  return Math.max(0, Number.isNaN(whole) ? rest : Math.min(rest, whole));
}
