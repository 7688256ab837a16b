import { AsyncLocalStorage } from "node:async_hooks";
import { tracingChannel } from "node:diagnostics_channel";
import { context, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type CallTrace, withBulkhead } from "../../src/index.js";
import { traceBulkheads } from "../../src/metrics/opentelemetry.js";
import { gate, started } from "../helpers/gate.js";

const exporter = new InMemorySpanExporter();
const tracerProvider = new BasicTracerProvider({
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const tracer = tracerProvider.getTracer("service");
const channel = tracingChannel<unknown, CallTrace>("bulkman:call");

let stop: () => void;
let busy = gate();
beforeEach(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  exporter.reset();
  busy = gate();
  stop = traceBulkheads({ tracerProvider });
});
afterEach(async () => {
  vi.useRealTimers();
  busy.open();
  await started();
  stop();
  context.disable();
  trace.disable();
  expect(channel.hasSubscribers).toBe(false);
});

const spans = () => exporter.getFinishedSpans();

function onlySpan(): ReadableSpan {
  const [span, ...others] = spans();
  expect(others).toEqual([]);
  if (span === undefined) throw new Error("there is no span");
  return span;
}

const activeSpanId = () => trace.getActiveSpan()?.spanContext().spanId;

const millis = ([seconds, nanos]: readonly [number, number]) => seconds * 1000 + nanos / 1e6;

const api = (config = {}) => new Bulkhead({ name: "api", ...config });

describe("a span of a call", () => {
  const forms: ReadonlyArray<[string, (fn: () => unknown) => Promise<unknown>]> = [
    ["call", (fn) => api().call(fn)],
    ["execute", (fn) => api().execute(fn)],
    ["run", (fn) => api().run(fn)],
    ["withBulkhead", (fn) => withBulkhead(api())(async () => fn())()],
  ];

  it.each(forms)(
    "of %s is a child of the caller's, and the parent of the function's",
    async (_, form) => {
      let active: string | undefined;
      await tracer.startActiveSpan("request", async (request) => {
        await form(async () => {
          await null;
          active = activeSpanId();
          tracer.startSpan("query").end();
        });
        expect(activeSpanId()).toBe(request.spanContext().spanId);
        request.end();
      });
      const [query, call, request] = spans();
      expect(spans().map(({ name }) => name)).toEqual(["query", "bulkhead api", "request"]);
      expect(active).toBe(call?.spanContext().spanId);
      expect(query?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
      expect(call?.parentSpanContext?.spanId).toBe(request?.spanContext().spanId);
      expect(call?.status).toEqual({ code: SpanStatusCode.UNSET });
    },
  );

  it("has the bulkhead's name and the call's id, and nothing else of a call that succeeds at once", async () => {
    const { executionId } = await api().execute((token) => token, "a secret");
    const { name, attributes, events, instrumentationScope } = onlySpan();
    expect({ name, attributes, events, scope: instrumentationScope.name }).toEqual({
      name: "bulkhead api",
      attributes: { "bulkman.bulkhead.name": "api", "bulkman.execution.id": executionId },
      events: [],
      scope: "bulkman",
    });
  });

  it("of acquire ends when the permit is settled", async () => {
    const bulkhead = api();
    const permit = await bulkhead.acquire();
    await started();
    expect(spans()).toEqual([]);
    permit.fail(Object.assign(new Error("a secret"), { code: "ECONNRESET" }));
    await started();
    expect(onlySpan()).toMatchObject({
      status: { code: SpanStatusCode.ERROR },
      attributes: { "error.type": "ECONNRESET" },
    });
  });

  it("has the wait as an event, in the span of the call that waited alone", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"], now: 1_700_000_000_000 });
    const bulkhead = api({ maxConcurrentCalls: 1 });
    const active: Array<string | undefined> = [];
    const first = bulkhead.call(() => busy.promise);
    const second = tracer.startActiveSpan("request", (request) =>
      bulkhead
        .call(() => {
          active.push(activeSpanId());
          vi.advanceTimersByTime(500);
        })
        .finally(() => request.end()),
    );
    vi.advanceTimersByTime(1500);
    busy.open();
    await Promise.all([first, second]);
    const [one, other, request] = spans();
    expect(one?.events).toEqual([]);
    expect(active).toEqual([other?.spanContext().spanId]);
    expect(other?.parentSpanContext?.spanId).toBe(request?.spanContext().spanId);
    expect(other?.events).toMatchObject([
      { name: "bulkman.wait", attributes: { "bulkman.wait.duration": 1.5 } },
    ]);
    const times = [other?.startTime, other?.events[0]?.time, other?.endTime];
    expect(times.map((time) => time && millis(time) - 1_700_000_000_000)).toEqual([0, 1500, 2000]);
  });

  it("of a call that is rejected while it waits has the wait, too", async () => {
    vi.useFakeTimers();
    vi.advanceTimersByTime(1);
    const bulkhead = api({ maxConcurrentCalls: 1, timeoutSeconds: 2 });
    const first = bulkhead.run(() => busy.promise, { timeoutSeconds: null });
    const second = bulkhead.call(() => 1);
    const rejected = expect(second).rejects.toThrow("still waiting");
    await vi.advanceTimersByTimeAsync(2000);
    await rejected;
    expect(onlySpan().events).toMatchObject([
      { name: "bulkman.wait", attributes: { "bulkman.wait.duration": 2 } },
    ]);
    busy.open();
    await first;
  });

  const rejections: ReadonlyArray<[string, string, () => Promise<unknown>]> = [
    ["ERR_BULKHEAD_FULL", "is full", () => full().call(() => 1)],
    ["ERR_BULKHEAD_ISOLATION", "is isolated", () => isolated().execute(() => 1)],
    ["ERR_BULKHEAD_CIRCUIT_OPEN", "is open", () => opened().run(() => 1)],
    ["ERR_BULKHEAD_SHUTDOWN", "is shut down", () => shutDown().acquire()],
    [
      "ERR_BULKHEAD_TIMEOUT",
      "its function was still running",
      () => api().run(() => new Promise(() => {}), { timeoutSeconds: 0.001 }),
    ],
  ];

  it.each(rejections)("has %s of the bulkhead as its status", async (code, message, make) => {
    await expect(make()).rejects.toMatchObject({ code });
    const span = spans().at(-1);
    expect(span?.status.code).toBe(SpanStatusCode.ERROR);
    expect(span?.status.message).toContain(message);
    expect(span?.attributes).toMatchObject({
      "bulkman.bulkhead.name": "api",
      "error.type": code,
    });
    expect(span?.events).toEqual([]);
  });

  it.each([
    ["a code", Object.assign(new TypeError("a secret"), { code: "ECONNRESET" }), "ECONNRESET"],
    ["a number as its code", Object.assign(new Error("a secret"), { code: 14 }), "14"],
    ["an error without a code", new RangeError("a secret"), "RangeError"],
    ["no error", "a secret", "string"],
    ["nothing", undefined, "undefined"],
  ])("has the type and not the message when the function throws %s", async (_, thrown, type) => {
    const fail = () => Promise.reject(thrown);
    await api()
      .call(fail)
      .catch(() => {});
    await api().execute(fail);
    await withBulkhead(api())(fail)().catch(() => {});
    const types = spans().map(({ attributes, status }) => [attributes["error.type"], status.code]);
    const [first] = types;
    expect(first).toEqual([type, SpanStatusCode.ERROR]);
    if (thrown !== undefined) expect(types).toEqual([first, first, first]);
    expect(JSON.stringify(spans().map(({ status, events }) => [status, events]))).not.toContain(
      "secret",
    );
  });

  it("of a call that its caller aborts has the reason's name", async () => {
    const caller = new AbortController();
    const call = api().run(() => new Promise(() => {}), { signal: caller.signal });
    caller.abort();
    await expect(call).rejects.toThrow("aborted");
    expect(onlySpan().attributes).toMatchObject({ "error.type": "AbortError" });
  });
});

describe("traceBulkheads", () => {
  it("costs nothing before it is used and after it was stopped", async () => {
    expect(channel.hasSubscribers).toBe(true);
    stop();
    expect(channel.hasSubscribers).toBe(false);
    await api().call(() => 1);
    expect(spans()).toEqual([]);
  });

  it("gives a call one span, however often it is used, until the last use is stopped", async () => {
    const stopAgain = traceBulkheads({ tracerProvider });
    await api().call(() => 1);
    stop();
    stop();
    await api().call(() => 1);
    expect(spans()).toHaveLength(2);
    stopAgain();
    await api().call(() => 1);
    expect(spans()).toHaveLength(2);
  });

  it("ends the spans of calls that are under way when it is stopped, and when it is used again", async () => {
    const [one, two] = [gate(), gate()];
    const first = api().call(() => one.promise);
    stop();
    const second = api().call(() => two.promise);
    one.open();
    await first;
    expect(spans()).toHaveLength(1);
    two.open();
    await second;
    expect(spans()).toHaveLength(1);

    const three = gate();
    stop = traceBulkheads({ tracerProvider });
    const third = api().call(() => three.promise);
    stop();
    stop = traceBulkheads({ tracerProvider });
    three.open();
    await third;
    await api().call(() => 1);
    expect(spans()).toHaveLength(3);
  });

  it("gives each of several providers its span, each the child of the one before", async () => {
    const other = new InMemorySpanExporter();
    const spanProcessors = [new SimpleSpanProcessor(other)];
    const stopOther = traceBulkheads({
      tracerProvider: new BasicTracerProvider({ spanProcessors }),
    });
    let active: string | undefined;
    await api().call(() => {
      active = activeSpanId();
    });
    const ids = [onlySpan(), other.getFinishedSpans()[0]].map((span) => span?.spanContext().spanId);
    expect(ids).toContain(active);
    expect(other.getFinishedSpans()).toHaveLength(1);
    stopOther();
  });

  it("leaves the context of the caller's own AsyncLocalStorage as it is", async () => {
    const own = new AsyncLocalStorage<string>();
    const seen = await own.run("request 7", () => api().call(async () => own.getStore()));
    expect(seen).toBe("request 7");
  });

  it("uses the global tracer provider unless it is given one", async () => {
    stop();
    trace.setGlobalTracerProvider(tracerProvider);
    stop = traceBulkheads();
    await api().call(() => 1);
    expect(onlySpan().name).toBe("bulkhead api");
  });

  it("does nothing without an SDK", async () => {
    stop();
    stop = traceBulkheads();
    expect(await api().call(() => 7)).toBe(7);
  });

  it("throws for invalid options", () => {
    for (const options of [null, { tracerProvider: {} }, { tracer: 1 }]) {
      expect(() => traceBulkheads(options as never)).toThrow(TypeError);
    }
  });
});

function full(): Bulkhead {
  const bulkhead = api({ maxConcurrentCalls: 1, maxQueueSize: 0 });
  void bulkhead.call(() => busy.promise);
  return bulkhead;
}

function isolated(): Bulkhead {
  const bulkhead = api();
  bulkhead.isolate();
  return bulkhead;
}

function opened(): Bulkhead {
  const bulkhead = api();
  bulkhead.breaker?.open();
  return bulkhead;
}

function shutDown(): Bulkhead {
  const bulkhead = api();
  void bulkhead.shutdown();
  return bulkhead;
}
