import { tracingChannel } from "node:diagnostics_channel";
import {
  context,
  type Span,
  SpanStatusCode,
  type Tracer,
  type TracerProvider,
  trace,
} from "@opentelemetry/api";
import { now } from "../common/clock.js";
import { codeOf, describeThrown, typeName } from "../common/describe.js";
import { type Rule, readFields } from "../common/validation.js";
import type { CallTrace } from "../index.js";
import { BULKHEAD } from "./metrics.js";

/** Options of {@link traceBulkheads}. */
export interface TraceBulkheadsOptions {
  /** Gives the tracer. Default: the global one, `trace.getTracerProvider()`. */
  tracerProvider?: TracerProvider | undefined;
}

const OPTIONS_RULES: { readonly [Field in keyof TraceBulkheadsOptions]-?: Rule } = {
  tracerProvider: {
    description: "a TracerProvider, with the method getTracer",
    hasType: (value) =>
      typeof value === "object" &&
      value !== null &&
      typeof Reflect.get(value, "getTracer") === "function",
    inRange: () => true,
  },
};

/** The code of an error that wraps what a function threw; the codes of rejections begin with it. Not imported: all errors would come. */
const WRAPPED = "ERR_BULKHEAD";

const tracings = new WeakMap<TracerProvider, CallTracing>();

/**
 * Gives each call of every bulkhead in the process a span, under the tracer `bulkman`: of `call`, `execute`, `run` and
 * `acquire`, of `withBulkhead`, and of `bulkman/undici`. It is a child of the span that is active when the call is made, and is
 * the active span of its function. It ends with the call; that of a permit when the permit is settled.
 *
 * The span is called `bulkhead <name>` and has the attributes `bulkman.bulkhead.name` and `bulkman.execution.id`. When the call
 * waited, the event `bulkman.wait` stands where the wait ended, with the seconds as `bulkman.wait.duration`. When the
 * call failed or was rejected, the status is an error, and `error.type` is the error's code, else its name; the
 * message of an error that the function threw is not exported.
 *
 * While it is used, each call costs its span and a few promises. Calls that are under way when it is stopped get
 * their span's end.
 * @returns stops it; may be called again
 * @throws {TypeError} for an invalid option
 * @example const stop = traceBulkheads();
 */
export function traceBulkheads(options: TraceBulkheadsOptions = {}): () => void {
  const { tracerProvider = trace.getTracerProvider() } = readFields(
    "options",
    options,
    OPTIONS_RULES,
  );
  let tracing = tracings.get(tracerProvider);
  if (tracing === undefined) {
    tracing = new CallTracing(tracerProvider.getTracer("bulkman"));
    tracings.set(tracerProvider, tracing);
  }
  return tracing.use();
}

/** The span of a call that has not ended. */
interface OpenSpan {
  readonly span: Span;
  /** By the clock on the wall, in milliseconds of the epoch. */
  readonly startTime: number;
  /** The same moment by the monotonic clock. */
  readonly startedAt: number;
}

/** The spans of one tracer. However often it is used, a call has one. */
class CallTracing {
  readonly #tracer: Tracer;
  readonly #channel = tracingChannel<unknown, CallTrace>("bulkman:call");
  readonly #open = new Map<CallTrace, OpenSpan>();
  readonly #onStart = (message: unknown) => this.#start(message as CallTrace);
  readonly #onEnd = (message: unknown) => this.#end(message as CallTrace);
  #uses = 0;

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  use(): () => void {
    let isOver = false;
    if (this.#uses++ === 0) {
      this.#channel.start.subscribe(this.#onStart);
      // Spans that are still open have their subscriber.
      if (this.#open.size === 0) this.#channel.asyncStart.subscribe(this.#onEnd);
    }
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.#uses > 0) return;
      this.#channel.start.unsubscribe(this.#onStart);
      this.#stopWhenDone();
    };
  }

  #stopWhenDone(): void {
    if (this.#uses > 0 || this.#open.size > 0) return;
    this.#channel.asyncStart.unsubscribe(this.#onEnd);
  }

  #start(message: CallTrace): void {
    const { bulkheadName, executionId, runInContext } = message;
    const startTime = Date.now();
    const span = this.#tracer.startSpan(`bulkhead ${bulkheadName}`, {
      startTime,
      attributes: { [BULKHEAD.attribute]: bulkheadName, "bulkman.execution.id": executionId },
    });
    this.#open.set(message, { span, startTime, startedAt: now() });
    const active = trace.setSpan(context.active(), span);
    message.runInContext = (begin) =>
      context.with(active, runInContext === undefined ? begin : () => runInContext(begin));
  }

  #end(message: CallTrace): void {
    const open = this.#open.get(message);
    if (open === undefined) return;
    this.#open.delete(message);
    const { span, startTime, startedAt } = open;
    const { queuedTime = 0 } = message;
    if (queuedTime > 0) {
      const wait = { "bulkman.wait.duration": queuedTime };
      span.addEvent("bulkman.wait", wait, startTime + queuedTime * 1000);
    }
    if ("error" in message) recordError(span, message.error);
    span.end(startTime + now() - startedAt);
    this.#stopWhenDone();
  }
}

/** What the function threw can carry what the call was given: its message stays in the process. */
function recordError(span: Span, error: unknown): void {
  const isWrapped = codeOf(error) === WRAPPED;
  const thrown = isWrapped && error instanceof Error ? (error.cause ?? error) : error;
  const code = codeOf(thrown);
  span.setAttribute("error.type", typeof code === "string" ? code : nameOrNumber(thrown, code));
  const isOurs = typeof code === "string" && code.startsWith(WRAPPED);
  span.setStatus({
    code: SpanStatusCode.ERROR,
    ...(isOurs && { message: describeThrown(thrown) }),
  });
}

/** An `AbortError` has the number 20 as its code, which says nothing; an error of gRPC has nothing but its number. */
function nameOrNumber(thrown: unknown, code: number | null): string {
  const name = typeName(thrown);
  return name === "Error" && code !== null ? String(code) : name;
}
