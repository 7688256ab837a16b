import type { EventEmitter } from "node:events";
import { describeThrown, oneLine } from "./common/describe.js";
import type { BulkheadConfig, ResolvedBulkheadConfig } from "./config.js";
import type { BulkheadError } from "./errors.js";
import type { FailureOutcome, FleetStats, RejectionReason } from "./stats.js";
import type { CircuitStatus } from "./storage/circuit-storage.js";

/** The circuit changed. */
export interface StateChangeEvent {
  /** The status it had. */
  from: CircuitStatus;
  /** The status it has now. */
  to: CircuitStatus;
  /** A short text for people. */
  reason: string;
  /** What the failed call threw that led to the change in this process; absent when none did. */
  cause?: unknown;
}

/** A call never started. */
export interface RejectedEvent {
  /** The key of `BulkheadStats.rejections` that was counted. */
  reason: RejectionReason;
  /** What the caller was rejected with: a {@link BulkheadError}, or the reason of its own signal. */
  error: unknown;
  /** `false` while `enforce` is `false`: the call would have been rejected, or timed out, and runs. Absent otherwise. */
  enforced?: false;
}

/** A call's function succeeded in time. */
export interface SuccessEvent {
  /** UUID of the call. */
  executionId: string;
  /** Seconds that the function ran. */
  executionTime: number;
  /** Seconds that the call waited. */
  queuedTime: number;
}

/** A started call failed, timed out, or was aborted or cut while it ran. */
export interface FailureEvent extends SuccessEvent {
  /** What the caller was rejected with: a {@link BulkheadError}, or the reason of its own signal. */
  error: unknown;
  /** How the call failed. Not enumerable: a program that compares or stores whole events goes on working. */
  readonly outcome: FailureOutcome;
}

/** A call's time was over. */
export interface TimeoutEvent {
  /** UUID of the call. */
  executionId: string;
  /** Whether the call waited for a permit or its function ran. */
  phase: "waiting" | "running";
}

/** A function runs on after its caller got its answer; it holds its permit. */
export interface AbandonedEvent {
  /** UUID of the call. */
  executionId: string;
}

/** The permit of an abandoned function came back. */
export interface ReclaimedEvent {
  /** UUID of the call. */
  executionId: string;
  /** `true` when the function settled, `false` when its permit was taken back from it. */
  settled: boolean;
}

/** A health check ended. */
export interface HealthCheckEvent {
  /** Whether it passed. */
  healthy: boolean;
  /** Why it failed; `null` when it passed. */
  error: unknown;
}

/** The bulkhead was isolated with `isolate()`. */
export interface IsolatedEvent {
  /** As given to `isolate`; `null` when none was. */
  reason: string | null;
}

/** The configuration changed. */
export interface ConfiguredEvent {
  /** The configuration that holds from now on, frozen; the same as `bulkhead.config`. */
  config: ResolvedBulkheadConfig;
  /** The fields that changed. */
  changed: Array<keyof BulkheadConfig>;
  /** `program`: by `configure()`; `operator`: by the settings of the circuit in the storage, or by their end. */
  by: "program" | "operator";
}

/** The bulkhead was shut down. */
export interface ShutdownEvent {
  /** Whether no function ran any more. */
  drained: boolean;
}

/** Events of a bulkhead and what a listener gets. */
export interface BulkheadEvents {
  /** The circuit changed. */
  stateChange: [StateChangeEvent];
  /** A call never started. */
  rejected: [RejectedEvent];
  /** A call's function succeeded in time. */
  success: [SuccessEvent];
  /** A started call failed, timed out, or was aborted or cut while it ran. */
  failure: [FailureEvent];
  /** A call's time was over, while it waited or ran. */
  timeout: [TimeoutEvent];
  /** A function runs on after its caller got its answer. */
  abandoned: [AbandonedEvent];
  /** The permit of an abandoned function came back. */
  reclaimed: [ReclaimedEvent];
  /** A health check ended. */
  healthCheck: [HealthCheckEvent];
  /** `isolate()` was called. */
  isolated: [IsolatedEvent];
  /** `release()` ended the isolation. */
  released: [];
  /** The configuration changed. */
  configured: [ConfiguredEvent];
  /** The part of the fleet's limit changed; the same as `getStats().fleet`. */
  permits: [FleetStats];
  /**
   * The circuit's storage began to fail; emitted once until it has answered again, and once more for the permits of
   * `fleetMaxConcurrentCalls`.
   */
  storageError: [unknown];
  /** The bulkhead was shut down. */
  shutdown: [ShutdownEvent];
}

/** The payload of `failure`. */
export function failureEvent(
  times: SuccessEvent,
  error: unknown,
  outcome: FailureOutcome,
): FailureEvent {
  const event = { ...times, error, outcome };
  return Object.defineProperty(event, "outcome", { enumerable: false });
}

/** Emits an event of a bulkhead. */
export type Emit = <E extends keyof BulkheadEvents>(
  event: E,
  ...payload: BulkheadEvents[E]
) => void;

/**
 * Calls every listener of an event. One that throws, or whose promise rejects, is reported as a
 * process warning; it neither stops the other listeners nor reaches the caller.
 */
export function safeEmit(emitter: EventEmitter, event: string | symbol, args: unknown[]): boolean {
  const listeners = emitter.rawListeners(event);
  for (const listener of listeners) {
    try {
      const returned: unknown = Reflect.apply(listener, emitter, args);
      if (returned instanceof Promise) reportRejection(returned, listener, event);
    } catch (error) {
      warnOnce(listener, listenerOf(event), error);
    }
  }
  return listeners.length > 0;
}

function reportRejection(promise: Promise<unknown>, listener: object, event: string | symbol) {
  promise.catch((error: unknown) => warnOnce(listener, listenerOf(event), error));
}

function listenerOf(event: string | symbol): string {
  return `listener of "${String(event)}"`;
}

const warnedOf = new WeakSet<object>();

/**
 * Reports a fault in a user's callback that must not change the outcome of a call; each callback's
 * first fault only, since it is likely to fail for every call.
 */
export function warnOnce(callback: object, what: string, error: unknown): void {
  if (warnedOf.has(callback)) return;
  warnedOf.add(callback);
  process.emitWarning(`The ${oneLine(what)} threw: ${describeThrown(error)}`, "BulkheadWarning");
}
