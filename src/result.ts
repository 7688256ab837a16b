import type { BulkheadError } from "./errors.js";

/** What is known of a call whose function has settled, whether it succeeded or failed. */
export interface ExecutionReport {
  /** Seconds that the function ran, by the monotonic clock. */
  readonly executionTime: number;
  /** Seconds that the call waited for its permit, by the monotonic clock. */
  readonly queuedTime: number;
  /** Name of the bulkhead. */
  readonly bulkheadName: string;
  /** UUID of the call; the same as in events and in the task's context. */
  readonly executionId: string;
}

/** A call whose function returned a value. */
export interface ExecutionSuccess<T> extends ExecutionReport {
  /** Discriminates the union. */
  readonly success: true;
  /** What the function returned, or its promise resolved with. */
  readonly result: T;
  /** Always `null`. */
  readonly error: null;
}

/** A call whose function threw, or whose promise rejected. */
export interface ExecutionFailure extends ExecutionReport {
  /** Discriminates the union. */
  readonly success: false;
  /** Always `null`. */
  readonly result: null;
  /** A {@link BulkheadError} whose `cause` is what was thrown; or what was thrown, when it is a {@link BulkheadError}. */
  readonly error: BulkheadError;
}

/** How a call ended whose function was run to its end: a union on `success`. */
export type ExecutionResult<T> = ExecutionSuccess<T> | ExecutionFailure;

/** What a task that is started with `run` is given. */
export interface ExecutionContext {
  /**
   * Aborted when the caller gets its answer before the task has settled: `reason` is the
   * {@link BulkheadTimeoutError}, the caller's own reason, or the {@link BulkheadShutdownError}.
   * Pass it on to `fetch` and the like: the permit is held until the task really settles.
   */
  readonly signal: AbortSignal;
  /** UUID of the call. */
  readonly executionId: string;
  /** Name of the bulkhead. */
  readonly bulkheadName: string;
}

/** Options of one `run`. */
export interface RunOptions {
  /** Aborting it ends the call: a queued one leaves the queue, a running one is abandoned. */
  signal?: AbortSignal | undefined;
  /** Instead of the configured `timeoutSeconds`: > 0, or `null` for no limit. */
  timeoutSeconds?: number | null | undefined;
}
