/** A success counts for this share of the mean. */
const WEIGHT = 1 / 20;
/** The mean of fewer says too little. */
const LEAST_SUCCESSES = 10;

/** How long functions that succeed usually run: an exponential mean. */
export class TypicalRunTime {
  #meanMs = 0;
  #successes = 0;

  record(runMs: number): void {
    if (this.#successes === 0) this.#meanMs = runMs;
    else this.#meanMs += (runMs - this.#meanMs) * WEIGHT;
    this.#successes++;
  }

  /** The mean in milliseconds; 0 while it is unknown. */
  get meanMs(): number {
    return this.#successes < LEAST_SUCCESSES ? 0 : this.#meanMs;
  }

  /**
   * Milliseconds that a call needs to have left to be started after a wait: twice the typical run time, and at
   * most half of its limit; 0 while the typical run time is unknown. Measured in a simulation of a queue under
   * 1.2 times its capacity: with once the typical time some started calls still run out of time.
   */
  neededMs(limitMs: number): number {
    return 2 * Math.min(this.meanMs, limitMs / 4);
  }
}
