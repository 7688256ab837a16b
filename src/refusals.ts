import { now } from "./clock.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import { show } from "./config.js";
import {
  BulkheadCircuitOpenError,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadShutdownError,
  BulkheadTimeoutError,
  withoutFrames,
} from "./errors.js";
import type { CircuitStatus } from "./storage/storage.js";

export function fullError(config: ResolvedBulkheadConfig): BulkheadFullError {
  const { name: bulkheadName, maxConcurrentCalls, maxQueueSize } = config;
  const message =
    `Bulkhead "${bulkheadName}" is full: ${maxConcurrentCalls} of ${maxConcurrentCalls} permits and ` +
    `${maxQueueSize} of ${maxQueueSize} places in the line are taken`;
  return withoutFrames(() => new BulkheadFullError(message, { bulkheadName }));
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
      : `open; it lets a probe through in ${retryAfterSeconds.toFixed(3)} s`;
  const message = `The circuit of bulkhead "${bulkheadName}" is ${state}`;
  const options = { bulkheadName, retryAfterSeconds, ...(cause !== undefined && { cause }) };
  return withoutFrames(() => new BulkheadCircuitOpenError(message, options));
}

export function timeoutError(
  bulkheadName: string,
  enteredAt: number,
  phase: "waiting" | "running",
): BulkheadTimeoutError {
  const seconds = ((now() - enteredAt) / 1000).toFixed(3);
  const end =
    phase === "waiting" ? "it was still waiting for a permit" : "its function was still running";
  const message = `A call of bulkhead "${bulkheadName}" timed out after ${seconds} s: ${end}`;
  return withoutFrames(() => new BulkheadTimeoutError(message, { bulkheadName }));
}

export function isolationError(
  bulkheadName: string,
  reason: string | null | undefined,
): BulkheadIsolationError {
  const message = `Bulkhead "${bulkheadName}" is isolated by hand${reason ? `: ${reason}` : ""}`;
  return withoutFrames(() => new BulkheadIsolationError(message, { bulkheadName }));
}

export function shutdownError(bulkheadName: string): BulkheadShutdownError {
  const message = `Bulkhead "${bulkheadName}" is shut down`;
  return withoutFrames(() => new BulkheadShutdownError(message, { bulkheadName }));
}

export function notAFunction(what: string, given: unknown): TypeError {
  return new TypeError(`${what} must be a function; got ${show(given)}`);
}
