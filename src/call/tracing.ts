import { tracingChannel } from "node:diagnostics_channel";
import type { BulkheadError } from "../errors.js";
import type { ExecutionResult } from "./call.js";

/**
 * What subscribers of the tracing channel `bulkman:call` of `node:diagnostics_channel` are given: one
 * object for each call of `execute` and `run`, which is filled in as the call goes on.
 */
export interface CallTrace {
  /** Name of the bulkhead. */
  readonly bulkheadName: string;
  /** UUID of the call; the same as in events and results. */
  readonly executionId: string;
  /** Seconds that the call waited for its permit; from `asyncStart` on, when its function was run to its end. */
  queuedTime?: number;
  /** Seconds that the function ran; from `asyncStart` on, when it was run to its end. */
  executionTime?: number;
  /** What the function returned; from `asyncStart` on. */
  result?: unknown;
  /**
   * Why the call failed or was refused: a {@link BulkheadError}, or the reason of its caller's signal;
   * from `error` on.
   */
  error?: unknown;
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
 * Tells subscribers of a call: `start` and `end` around `begin`, `error` when it fails or is refused, and
 * `asyncStart` and `asyncEnd` before its caller hears of it. What they bind to `start` is the context of
 * the call's function.
 */
export function trace<T>(
  call: CallTrace,
  begin: () => Promise<ExecutionResult<T>>,
): Promise<ExecutionResult<T>> {
  const outcome = callChannel.start.runStores(call, () => {
    try {
      return begin();
    } finally {
      callChannel.end.publish(call);
    }
  });
  return outcome.then(
    (told) => {
      call.queuedTime = told.queuedTime;
      call.executionTime = told.executionTime;
      if (told.success) call.result = told.result;
      else fail(call, told.error);
      end(call);
      return told;
    },
    (error: unknown) => {
      fail(call, error);
      end(call);
      throw error;
    },
  );
}

function fail(call: CallTrace, error: unknown): void {
  call.error = error;
  callChannel.error.publish(call);
}

function end(call: CallTrace): void {
  callChannel.asyncStart.runStores(call, () => callChannel.asyncEnd.publish(call));
}
