import type { ResolvedBulkheadConfig } from "../config.js";

/**
 * Finds the calls that have waited too long in a queue that does not get empty (`queueTargetSeconds`). A short burst is
 * served whole; under a lasting overload the queue is cut to what can be served in the target time.
 */
export class QueueTarget {
  readonly #config: ResolvedBulkheadConfig;
  #nonEmptySince = 0;

  constructor(config: ResolvedBulkheadConfig) {
    this.#config = config;
  }

  /** The queue was empty, and gets its first call at `time`. */
  queueBegins(time: number): void {
    this.#nonEmptySince = time;
  }

  /** Whether a call that came at `enteredAt`, and whose turn it is, has waited too long. */
  isExceeded(enteredAt: number, time: number): boolean {
    const { queueTargetSeconds } = this.#config;
    if (queueTargetSeconds === null) return false;
    const targetMs = queueTargetSeconds * 1000;
    return time - enteredAt > targetMs && time - this.#nonEmptySince >= 2 * targetMs;
  }
}
