import type { ResolvedBulkheadConfig } from "../config.js";

/** The least that is left of a grown isolation: otherwise every process of a fleet would probe at the same moment. */
const LEAST_SHARE = 0.75;

/**
 * How long the circuit stays open, in milliseconds.
 * @param openings how many times it has opened since it was closed last, this time included; ≥ 1
 */
export function isolationMs(
  duration: ResolvedBulkheadConfig["isolationDuration"],
  openings: number,
): number {
  if (typeof duration === "number") return duration * 1000;
  const { min, max, factor } = duration;
  const seconds = Math.min(max, min * factor ** (openings - 1));
  const share = openings === 1 ? 1 : LEAST_SHARE + (1 - LEAST_SHARE) * Math.random();
  return seconds * share * 1000;
}
