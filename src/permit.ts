import type { Classification } from "./classification.js";

/**
 * A permit that `bulkhead.acquire()` gave: one of the `maxConcurrentCalls`, held until it is settled by `succeed`, `fail` or
 * `drop`, or reclaimed. The first settling counts; later ones do nothing.
 */
export interface Permit {
  /**
   * Aborted when the time limit passes, the signal of the caller is aborted, or a drain ends: `reason` is the
   * {@link BulkheadTimeoutError}, the caller's own reason, or the {@link BulkheadShutdownError}. The permit is still held
   * then: stop the work, and settle the permit when it has really ended.
   */
  readonly signal: AbortSignal;
  /** UUID of the call; the same as in events. */
  readonly executionId: string;
  /** Name of the bulkhead. */
  readonly bulkheadName: string;
  /**
   * Settles the permit: the work succeeded.
   * @param result what `classify` judges, if it is set
   */
  succeed(result?: unknown): void;
  /**
   * Settles the permit: the work failed.
   * @param error what `classify` or `errorFilter` judges, if one is set, and what listeners get
   */
  fail(error: unknown): void;
  /** Settles the permit without a verdict on the dependency; the call counts as failed and ignored. */
  drop(): void;
  /**
   * Gives the circuit its verdict now, and keeps the permit: for an answer that is known to be bad at its head, while its
   * body is still read. Settling only releases the permit then. The first verdict counts; after a settling, a timeout or
   * an abort it does nothing.
   * @param error what led to a failure, for the circuit's `cause` and for listeners. Default: a {@link BulkheadError}
   * @throws {TypeError} for anything but a {@link Classification}
   */
  judge(verdict: Classification, error?: unknown): void;
  /** Ends the time limit, and keeps the permit: for a limit that ends with the first byte of a stream. */
  endTimeLimit(): void;
  /** {@link drop} unless the permit is settled, for `using`. */
  [Symbol.dispose](): void;
}
