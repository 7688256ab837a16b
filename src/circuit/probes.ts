import { now } from "../common/clock.js";
import type { HalfOpen, Prober } from "./transition.js";

// The probes of a half-open circuit: who may probe, how many more, and until when. These change what is counted while
// it is half-open, never its status.

export function halfOpen(
  prober: Prober,
  until: number,
  probesLeft: number,
  successes: number,
): HalfOpen {
  return { status: "HALF_OPEN", prober, until, probesLeft, successes };
}

/** @returns whether a probe was left */
export function takeProbe(state: HalfOpen): boolean {
  if (state.probesLeft <= 0) return false;
  state.probesLeft--;
  return true;
}

/**
 * No other process probes a private circuit. So the verdicts of probes that outlive the lease still
 * count; otherwise a dependency that takes longer than the lease could never close the circuit.
 * @returns whether a probe was left
 */
export function takePrivateProbe(
  state: HalfOpen,
  successThreshold: number,
  leaseMs: number,
): boolean {
  const time = now();
  if (time >= state.until) {
    state.prober = "ours";
    state.probesLeft = Math.max(1, successThreshold - state.successes);
    state.until = Number.POSITIVE_INFINITY;
  }
  if (!takeProbe(state)) return false;
  if (state.until === Number.POSITIVE_INFINITY) state.until = time + leaseMs;
  return true;
}

/** A probe ended without a verdict: the next call gets its place. */
export function returnProbe(state: HalfOpen, successThreshold: number): void {
  const needed = successThreshold - state.successes;
  state.probesLeft = Math.min(state.probesLeft + 1, Math.max(needed, 1));
}

/** `successThreshold` has changed by `difference`: so many more probes are admitted, or fewer. */
export function changeProbes(state: HalfOpen, difference: number): void {
  if (state.prober !== "elsewhere") state.probesLeft = Math.max(0, state.probesLeft + difference);
}

/** Probes succeeded in other processes, too. */
export function setSuccesses(state: HalfOpen, successes: number, successThreshold: number): void {
  const known = clampSuccesses(successes, successThreshold);
  state.probesLeft += state.successes - known;
  state.successes = known;
}

/** At least one probe is still needed here: another process may have a higher `successThreshold`. */
export function clampSuccesses(successes: number, successThreshold: number): number {
  return Math.max(0, Math.min(successes || 0, successThreshold - 1));
}
