import { tracingChannel } from "node:diagnostics_channel";
import { now } from "../common/clock.js";
import type { BulkheadError } from "../errors.js";
import type { ExecutionResult } from "../result.js";
import type { Call } from "./call.js";
import type { HeldCall } from "./held-call.js";

/**
 * What subscribers of the tracing channel `bulkman:call` of `node:diagnostics_channel` are given: one
 * object for each call of `call`, `execute` and `run`, which is filled in as the call goes on.
 */
export interface CallTrace {
  /** Name of the bulkhead. */
  readonly bulkheadName: string;
  /** UUID of the call; the same as in events and results. */
  readonly executionId: string;
  /** Seconds that the call waited, also when it never started; from `error` or `asyncStart` on, unless it was rejected at once. */
  queuedTime?: number;
  /** Seconds that the function ran; from `asyncStart` on, when it was run to its end. */
  executionTime?: number;
  /** What the function returned; from `asyncStart` on. */
  result?: unknown;
  /**
   * Why the call failed or was rejected, as its caller gets it: a {@link BulkheadError}, what the function
   * of `call` threw, or the reason of the caller's signal; from `error` on.
   */
  error?: unknown;
  /**
   * Set by a subscriber of `start` that keeps its context elsewhere than in an `AsyncLocalStorage`, which it would bind
   * to `start`: calls `begin`, with which the call begins, in the context that its function is to have. It wraps the
   * one that another subscriber has set before.
   */
  runInContext?: <T>(begin: () => T) => T;
}

/** Its `hasSubscribers` says whether calls are traced. */
export const callChannel = /* @__PURE__ */ createChannel();

function createChannel() {
  const channel = tracingChannel<unknown, CallTrace>("bulkman:call");
  const { start, end, asyncStart, asyncEnd, error } = channel;
  if (channel.hasSubscribers === undefined) {
    // Bun has the property only on the channels of the events.
    Object.defineProperty(channel, "hasSubscribers", {
      get: () =>
        [start, end, asyncStart, asyncEnd, error].some(({ hasSubscribers }) => hasSubscribers),
    });
  }
  return channel;
}

/**
 * Publishes a call: `start` and `end` around `begin`, `error` when it fails or is rejected, and
 * `asyncStart` and `asyncEnd` before its caller gets the answer. What subscribers bind to `start` is the
 * context of the call's function.
 */
export function trace<T>(call: Call, bulkheadName: string, begin: () => Promise<T>): Promise<T> {
  const report: CallTrace = { bulkheadName, executionId: call.id };
  return publishEnd(report, call, publishStart(report, begin));
}

/** Publishes a call whose permit is held: it ends when the permit is settled, or its time is over. */
export function traceHold<T>(call: HeldCall, bulkheadName: string, begin: () => Promise<T>) {
  const report: CallTrace = { bulkheadName, executionId: call.id };
  const end = call.untilEnd();
  const granted = publishStart(report, begin);
  const hold = granted.then(() => end);
  publishEnd(report, call, hold).catch(() => {});
  return granted;
}

function publishStart<T>(report: CallTrace, begin: () => Promise<T>): Promise<T> {
  return callChannel.start.runStores(report, () => {
    try {
      return report.runInContext === undefined ? begin() : report.runInContext(begin);
    } finally {
      callChannel.end.publish(report);
    }
  });
}

function publishEnd<T>(report: CallTrace, call: Call, outcome: Promise<T>): Promise<T> {
  return outcome.then(
    (answer) => {
      recordTimes(report, call);
      const { success, result, error } = call.wantsValue
        ? { success: true, result: answer, error: null }
        : (answer as ExecutionResult<unknown>);
      if (success) report.result = result;
      else fail(report, error);
      end(report);
      return answer;
    },
    (error: unknown) => {
      recordTimes(report, call);
      fail(report, error);
      end(report);
      throw error;
    },
  );
}

function recordTimes(report: CallTrace, call: Call): void {
  const hasStarted = call.lane !== undefined;
  if (hasStarted) report.queuedTime = call.queuedTime;
  else if (call.enteredAt > 0) report.queuedTime = (now() - call.enteredAt) / 1000;
  if (call.endedAt > 0) report.executionTime = call.executionTime();
}

function fail(call: CallTrace, error: unknown): void {
  call.error = error;
  callChannel.error.publish(call);
}

function end(call: CallTrace): void {
  callChannel.asyncStart.runStores(call, () => callChannel.asyncEnd.publish(call));
}
