import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { RollingWindow } from "./rolling-window.js";

/**
 * Decides when a closed circuit opens. It sees every verdict that counts, and returns the reason to
 * open, or `undefined`. It starts anew at each change of the circuit.
 */
export interface OpeningRule {
  recordSuccess(): string | undefined;
  recordFailure(): string | undefined;
  reset(): void;
}

/**
 * Opens after `failureThreshold` consecutive failures, within `failureWindowSeconds` if they are set; counts them also
 * when the rule is off.
 */
export class ConsecutiveFailures implements OpeningRule {
  readonly #config: ResolvedBulkheadConfig;
  /** When the failures came that are within the window, oldest first; without a window it stays empty. */
  readonly #times: number[] = [];
  #count = 0;

  constructor(config: ResolvedBulkheadConfig) {
    this.#config = config;
  }

  get count(): number {
    return this.#count;
  }

  recordSuccess(): undefined {
    if (this.#count > 0) this.reset();
  }

  recordFailure(): string | undefined {
    const { failureThreshold, failureWindowSeconds } = this.#config;
    // Without a threshold the failures are only counted.
    const isWindowed = failureThreshold !== null && failureWindowSeconds !== null;
    this.#count = isWindowed ? this.#countWithin(failureWindowSeconds * 1000) : this.#count + 1;
    if (failureThreshold === null || this.#count < failureThreshold) return undefined;
    return this.#count === 1 ? "1 consecutive failure" : `${this.#count} consecutive failures`;
  }

  reset(): void {
    this.#count = 0;
    this.#times.length = 0;
  }

  #countWithin(windowMs: number): number {
    const time = now();
    this.#times.push(time);
    while ((this.#times[0] ?? time) < time - windowMs) this.#times.shift();
    return this.#times.length;
  }
}

interface Tally {
  calls: number;
  hits: number;
}

/**
 * The share of calls that failed, or were slow, over opossum's window. opossum's own counters do not serve: they
 * include results of calls from before the circuit's last change, and results without a verdict.
 */
export class Rate {
  readonly #window: RollingWindow;
  readonly #config: ResolvedBulkheadConfig;
  /** Beside each of opossum's buckets, so that a tally leaves the window together with its bucket. */
  #tallies = new WeakMap<object, Tally>();

  constructor(window: RollingWindow, config: ResolvedBulkheadConfig) {
    this.#window = window;
    this.#config = config;
  }

  /**
   * Counts a call. Returns the tally of the whole window when the threshold is reached.
   * @param threshold percentage of hits
   */
  record(isHit: boolean, threshold: number): Readonly<Tally> | undefined {
    const newest = this.#newest();
    newest.calls++;
    if (isHit) newest.hits++;
    const sum = { calls: 0, hits: 0 };
    for (const bucket of this.#window.status.window) {
      const tally = this.#tallies.get(bucket);
      sum.calls += tally?.calls ?? 0;
      sum.hits += tally?.hits ?? 0;
    }
    const isReached =
      sum.calls >= this.#config.minimumCalls && sum.hits * 100 >= sum.calls * threshold;
    return isReached ? sum : undefined;
  }

  reset(): void {
    this.#tallies = new WeakMap();
  }

  #newest(): Tally {
    const bucket = this.#window.newest;
    let tally = this.#tallies.get(bucket);
    if (tally === undefined) {
      tally = { calls: 0, hits: 0 };
      this.#tallies.set(bucket, tally);
    }
    return tally;
  }
}

/** Opens at `failureRateThreshold` percent of failures. */
export class FailureRate implements OpeningRule {
  readonly #rate: Rate;
  readonly #config: ResolvedBulkheadConfig;

  constructor(window: RollingWindow, config: ResolvedBulkheadConfig) {
    this.#rate = new Rate(window, config);
    this.#config = config;
  }

  recordSuccess(): string | undefined {
    return this.#record(false);
  }

  recordFailure(): string | undefined {
    return this.#record(true);
  }

  reset(): void {
    this.#rate.reset();
  }

  #record(isFailure: boolean): string | undefined {
    const { failureRateThreshold, windowSeconds } = this.#config;
    if (failureRateThreshold === null) return undefined;
    const tally = this.#rate.record(isFailure, failureRateThreshold);
    if (tally === undefined) return undefined;
    return `${tally.hits} of ${tally.calls} calls failed within ${windowSeconds} s`;
  }
}
