import { now } from "./common/clock.js";
import { describeThrown, oneLine } from "./common/describe.js";
import { format } from "./common/validation.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import {
  BulkheadCircuitOpenError,
  BulkheadError,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadShutdownError,
  BulkheadTimeoutError,
  withoutFrames,
} from "./errors.js";
import { statusOf } from "./http-status.js";
import type { CircuitStatus } from "./storage/circuit-storage.js";

// Their messages are the same for every call of one configuration, so that logs can be grouped by them.
// Figures that change from call to call are fields.

export function fullError(
  config: ResolvedBulkheadConfig,
  retryAfterSeconds: number,
): BulkheadFullError {
  const { name: bulkheadName, maxConcurrentCalls, maxQueueSize } = config;
  const permits =
    config.fleetMaxConcurrentCalls === null
      ? `${maxConcurrentCalls} of ${maxConcurrentCalls} permits`
      : "all permits that it holds of the fleet's limit";
  const message = `Bulkhead "${oneLine(bulkheadName)}" is full: ${permits} and ${maxQueueSize} of ${maxQueueSize} queue places are taken`;
  return withoutFrames(() => new BulkheadFullError(message, { bulkheadName, retryAfterSeconds }));
}

/** A call whose turn came has waited longer than `queueTargetSeconds` allow. */
export function overdueError(
  { name: bulkheadName, queueTargetSeconds }: ResolvedBulkheadConfig,
  retryAfterSeconds: number,
): BulkheadFullError {
  const message =
    `Bulkhead "${oneLine(bulkheadName)}" is full: the call waited longer than ${queueTargetSeconds} s ` +
    "(queueTargetSeconds) in a queue that does not get empty";
  return withoutFrames(() => new BulkheadFullError(message, { bulkheadName, retryAfterSeconds }));
}

export function circuitOpenError(
  bulkheadName: string,
  status: CircuitStatus | undefined,
  retryAfterSeconds: number,
  cause: unknown,
): BulkheadCircuitOpenError {
  const state =
    status === "HALF_OPEN"
      ? "half-open and its probes are under way"
      : "open; try again after retryAfterSeconds";
  const message = `The circuit of bulkhead "${oneLine(bulkheadName)}" is ${state}`;
  const options = { bulkheadName, retryAfterSeconds, ...(cause !== undefined && { cause }) };
  return withoutFrames(() => new BulkheadCircuitOpenError(message, options));
}

/** A call whose time is over. */
interface LateCall {
  /** The end of its time. */
  readonly deadline: { readonly delayMs: number } | undefined;
  readonly enteredAt: number;
  /** Seconds that it waited before it started. */
  readonly queuedTime: number;
}

export function timeoutError(
  bulkheadName: string,
  call: LateCall,
  phase: "waiting" | "running",
): BulkheadTimeoutError {
  const { deadline, enteredAt, queuedTime } = call;
  const limit = ((deadline?.delayMs ?? 0) / 1000).toFixed(3);
  const queuedSeconds = phase === "running" ? queuedTime : (now() - enteredAt) / 1000;
  const end =
    phase === "waiting" ? "it was still waiting for a permit" : "its function was still running";
  const message = `A call of bulkhead "${oneLine(bulkheadName)}" timed out after ${limit} s: ${end}`;
  const options = { bulkheadName, phase, queuedSeconds };
  return withoutFrames(() => new BulkheadTimeoutError(message, options));
}

export function isolationError(
  bulkheadName: string,
  reason: string | null | undefined,
): BulkheadIsolationError {
  const why = reason ? `: ${oneLine(reason)}` : "";
  const message = `Bulkhead "${oneLine(bulkheadName)}" is isolated by hand${why}`;
  return withoutFrames(() => new BulkheadIsolationError(message, { bulkheadName }));
}

export function shutdownError(bulkheadName: string): BulkheadShutdownError {
  const message = `Bulkhead "${oneLine(bulkheadName)}" is shut down`;
  return withoutFrames(() => new BulkheadShutdownError(message, { bulkheadName }));
}

/** In place of an error, for a value that `classify` takes for a failure; with its HTTP status, if it has one. */
export function resultError(bulkheadName: string, result: unknown): BulkheadError {
  const status = statusOf(result);
  const of = status === undefined ? "" : ` of HTTP status ${status}`;
  const message = `Execution failed: classify took the result${of} for a failure`;
  return withoutFrames(() => new BulkheadError(message, { bulkheadName }));
}

/** Instead of an error, for a permit that was judged a failure without one. */
export function judgedError(bulkheadName: string): BulkheadError {
  const message = "Execution failed: the permit was judged a failure";
  return withoutFrames(() => new BulkheadError(message, { bulkheadName }));
}

/** Instead of an error, for a permit that was dropped. */
export function droppedError(bulkheadName: string): BulkheadError {
  const message = `A permit of bulkhead "${oneLine(bulkheadName)}" was dropped without a verdict`;
  return withoutFrames(() => new BulkheadError(message, { bulkheadName }));
}

/** Settings of an operator in the storage that this process cannot take. */
export function settingsError(bulkheadName: string, cause: unknown): BulkheadError {
  const message = `The settings of bulkhead "${oneLine(bulkheadName)}" in the storage are invalid: ${describeThrown(cause)}`;
  return new BulkheadError(message, { bulkheadName, cause, code: "ERR_BULKHEAD_SETTINGS" });
}

/** Why the signal was aborted: an `AbortError` when it is of a polyfill without reasons. */
export function abortReason({ reason }: AbortSignal): unknown {
  if (reason !== undefined) return reason;
  return new DOMException("This operation was aborted", "AbortError");
}

export function notAFunction(what: string, given: unknown): TypeError {
  return new TypeError(`${what} must be a function; got ${format(given)}`);
}
