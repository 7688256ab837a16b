import type { Classification } from "./classification.js";

/**
 * Takes permits by the thousand, as the guard of HTTP requests does. These methods replace the promise and the signal of
 * `acquire()`. They are called from within the bulkhead: they must not throw, and do their work later.
 */
export interface PermitHolder {
  /** The permit is there. */
  granted(): void;
  /** There will be none: of the errors of `acquire()`, with the caller's own reason when it aborted. */
  rejected(error: unknown): void;
  /** Time is over while the permit is held, or a drain has ended: the work is to be stopped. */
  cut(reason: unknown): void;
}

/** A permit that was asked for. */
export interface Hold {
  /** Settles it; with a value of a success, or the error of a failure. */
  settle(succeeded: boolean, value: unknown): void;
  /** Settles it without a verdict, unless there was one. */
  drop(): void;
  /** As `judge` of a `Permit`. */
  judge(verdict: Classification, error: unknown): void;
  /** As `endTimeLimit` of a `Permit`. */
  endTimeLimit(): void;
  /** The caller has left: leaves the queue at once, or gives the verdict of an abort, and is held until it is settled. */
  leave(reason: unknown): void;
}
