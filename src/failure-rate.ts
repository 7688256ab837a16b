import type { RollingWindow } from "./opossum.js";

interface Tally {
  calls: number;
  failures: number;
}

/**
 * The share of failures among the verdicts that count, over opossum's window. opossum's own counters
 * hold results of calls from before the circuit's last change too, and calls without a verdict.
 */
export class FailureRate {
  readonly #window: RollingWindow;
  /** Beside each of opossum's buckets, so that a tally leaves the window together with its bucket. */
  #tallies = new WeakMap<object, Tally>();

  constructor(window: RollingWindow) {
    this.#window = window;
  }

  count(failed: boolean): void {
    const bucket = this.#window.newest;
    let tally = this.#tallies.get(bucket);
    if (tally === undefined) {
      tally = { calls: 0, failures: 0 };
      this.#tallies.set(bucket, tally);
    }
    tally.calls++;
    if (failed) tally.failures++;
  }

  total(): Tally {
    const total = { calls: 0, failures: 0 };
    for (const bucket of this.#window.status.window) {
      const tally = this.#tallies.get(bucket);
      total.calls += tally?.calls ?? 0;
      total.failures += tally?.failures ?? 0;
    }
    return total;
  }

  reset(): void {
    this.#tallies = new WeakMap();
  }
}
