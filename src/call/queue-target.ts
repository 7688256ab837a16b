/**
 * Finds the calls that have waited too long in a queue that does not get empty (`queueTargetSeconds`). A short burst is
 * served whole; under a lasting overload the queue is cut to what can be served in the target time.
 */
export class QueueTarget {
  readonly #targetMs: number;
  #nonEmptySince = 0;

  constructor(targetSeconds: number | null) {
    this.#targetMs = targetSeconds === null ? Number.POSITIVE_INFINITY : targetSeconds * 1000;
  }

  /** The queue was empty, and gets its first call at `time`. */
  queueBegins(time: number): void {
    this.#nonEmptySince = time;
  }

  /** Whether a call that came at `enteredAt`, and whose turn it is, has waited too long. */
  isExceeded(enteredAt: number, time: number): boolean {
    return time - enteredAt > this.#targetMs && time - this.#nonEmptySince >= 2 * this.#targetMs;
  }
}
