import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadFullError,
  BulkheadTimeoutError,
  type Permit,
} from "../../src/index.js";
import { gate, started } from "../helpers/gate.js";

const of = (config: Partial<BulkheadConfig> = {}) =>
  new Bulkhead({ name: "files", maxConcurrentCalls: 1, ...config });

/** Takes as many permits as its limit allows, so that the next call waits. */
const held = (bulkhead: Bulkhead) => bulkhead.acquire();

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("acquire()", () => {
  it("resolves with a permit that names its call and its bulkhead", async () => {
    const bulkhead = of();
    const permit = await bulkhead.acquire();
    expect(permit.bulkheadName).toBe("files");
    expect(permit.executionId).toMatch(/^[\da-f]{8}-[\da-f-]{27}$/);
    expect(permit.signal.aborted).toBe(false);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, totalExecutions: 1 });
    permit.succeed();
  });

  it("keeps other calls waiting until the permit is settled, and serves them in their order", async () => {
    const bulkhead = of();
    const permit = await held(bulkhead);
    const order: string[] = [];
    const second = bulkhead.acquire().then((next) => {
      order.push("permit");
      next.succeed();
    });
    const third = bulkhead.call(() => order.push("call"));
    await started();
    expect(order).toEqual([]);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, queuedTasks: 2 });
    permit.succeed();
    await Promise.all([second, third]);
    expect(order).toEqual(["permit", "call"]);
  });

  it.each([
    ["succeed", { successfulExecutions: 1, failedExecutions: 0, ignoredExecutions: 0 }],
    ["fail", { successfulExecutions: 0, failedExecutions: 1, ignoredExecutions: 0 }],
    ["drop", { successfulExecutions: 0, failedExecutions: 1, ignoredExecutions: 1 }],
  ] as const)("counts %s() at once, and later settlings not at all", async (how, counted) => {
    const bulkhead = of();
    const permit = await bulkhead.acquire();
    permit[how](new Error("down"));
    const settled = { ...counted, activeTasks: 0, totalExecutions: 1 };
    expect(bulkhead.getStats()).toMatchObject(settled);
    permit.fail(new Error("late"));
    permit.succeed();
    permit.drop();
    permit[Symbol.dispose]();
    permit.judge("failure");
    expect(bulkhead.getStats()).toMatchObject(settled);
  });

  it("never settles the call that has the lane by then", async () => {
    const bulkhead = of();
    const first = await bulkhead.acquire();
    first.succeed();
    const second = await bulkhead.acquire();
    first.fail(new Error("late"));
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, failedExecutions: 0 });
    second.succeed();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, successfulExecutions: 2 });
  });

  it("rejects like every call: full, isolated, shut down, and with the reason of an aborted signal", async () => {
    const bulkhead = of({ maxQueueSize: 0 });
    const permit = await held(bulkhead);
    await expect(bulkhead.acquire()).rejects.toBeInstanceOf(BulkheadFullError);
    await expect(bulkhead.acquire({ signal: AbortSignal.abort("gone") })).rejects.toBe("gone");
    bulkhead.isolate("by hand");
    await expect(bulkhead.acquire()).rejects.toMatchObject({ code: "ERR_BULKHEAD_ISOLATION" });
    bulkhead.release();
    await bulkhead.shutdown();
    await expect(bulkhead.acquire()).rejects.toMatchObject({ code: "ERR_BULKHEAD_SHUTDOWN" });
    permit.succeed();
    expect(bulkhead.getStats().rejections).toMatchObject({ full: 1, aborted: 1, isolated: 1 });
  });

  it.each([
    [{ timeoutSeconds: -1 }, RangeError],
    [{ signal: "none" }, TypeError],
    [{ timeout: 1 }, TypeError],
  ])("rejects the options %o", async (options, type) => {
    await expect(of().acquire(options as object)).rejects.toBeInstanceOf(type);
  });

  it("drops the permit at the end of a block that declares it with `using`", async () => {
    const bulkhead = of();
    {
      using permit = await bulkhead.acquire();
      expect(permit.signal.aborted).toBe(false);
      expect(bulkhead.getStats().activeTasks).toBe(1);
    }
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, ignoredExecutions: 1 });
    {
      using permit = await bulkhead.acquire();
      permit.succeed();
    }
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 1, ignoredExecutions: 1 });
  });

  it("emits success and failure with the times of the permit", async () => {
    const bulkhead = of();
    const seen: unknown[] = [];
    bulkhead.on("success", (event) => seen.push(event));
    bulkhead.on("failure", (event) => seen.push({ ...event, outcome: event.outcome }));
    const first = await bulkhead.acquire();
    vi.advanceTimersByTime(2000);
    first.succeed();
    const error = new Error("cut short");
    const second = await bulkhead.acquire();
    second.fail(error);
    const third = await bulkhead.acquire();
    third.drop();
    expect(seen).toEqual([
      { executionId: first.executionId, executionTime: 2, queuedTime: 0 },
      expect.objectContaining({
        executionId: second.executionId,
        error: expect.objectContaining({
          message: "Execution failed: cut short",
          cause: error,
        }),
        outcome: "failure",
      }),
      expect.objectContaining({
        error: expect.objectContaining({
          message: 'A permit of bulkhead "files" was dropped without a verdict',
        }),
        outcome: "ignored",
      }),
    ]);
  });
});

describe("a permit whose time is over", () => {
  it("aborts the signal with the timeout, holds the permit until it is settled, and counts one failure", async () => {
    const bulkhead = of({ timeoutSeconds: 1, failureThreshold: 2 });
    const permit = await bulkhead.acquire();
    const { signal } = permit;
    const next = expect(bulkhead.call(() => "next")).rejects.toMatchObject({ phase: "waiting" });
    await vi.advanceTimersByTimeAsync(1000);
    await next;
    expect(signal.reason).toBeInstanceOf(BulkheadTimeoutError);
    expect(signal.reason).toMatchObject({ phase: "running" });
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, abandonedTasks: 1 });
    permit.succeed();
    expect(bulkhead.getStats()).toMatchObject({
      abandonedTasks: 0,
      failedExecutions: 1,
      timedOutExecutions: 1,
      successfulExecutions: 0,
      circuitStatus: "CLOSED",
    });
  });

  it("gives an aborted signal to a holder who asks for it only then", async () => {
    const bulkhead = of({ timeoutSeconds: 1 });
    const permit = await bulkhead.acquire();
    await vi.advanceTimersByTimeAsync(1000);
    expect(permit.signal.aborted).toBe(true);
    expect(permit.signal.reason).toBeInstanceOf(BulkheadTimeoutError);
    permit.drop();
  });

  it("is reclaimed after reclaimAfterSeconds, and a later settling changes nothing", async () => {
    const bulkhead = of({ timeoutSeconds: 1, reclaimAfterSeconds: 2 });
    const reclaimed = vi.fn();
    bulkhead.on("reclaimed", reclaimed);
    const permit = await bulkhead.acquire();
    await vi.advanceTimersByTimeAsync(3000);
    expect(reclaimed.mock.calls).toEqual([[{ executionId: permit.executionId, settled: false }]]);
    const next = await bulkhead.acquire();
    permit.fail(new Error("late"));
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, failedExecutions: 1 });
    next.succeed();
  });

  it("keeps the permit without a limit after endTimeLimit()", async () => {
    const bulkhead = of({ timeoutSeconds: 1 });
    const permit = await bulkhead.acquire();
    permit.endTimeLimit();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(permit.signal.aborted).toBe(false);
    permit.succeed();
    permit.endTimeLimit();
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 1, timedOutExecutions: 0 });
  });

  it("leaves the reclaim alone when endTimeLimit() comes too late", async () => {
    const bulkhead = of({ timeoutSeconds: 1, reclaimAfterSeconds: 1 });
    const permit = await bulkhead.acquire();
    await vi.advanceTimersByTimeAsync(1000);
    permit.endTimeLimit();
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  });

  it("takes timeoutSeconds of acquire() instead of the configured one", async () => {
    const bulkhead = of({ timeoutSeconds: 100 });
    const permit = await bulkhead.acquire({ timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(500);
    expect(permit.signal.aborted).toBe(true);
    permit.drop();
  });
});

describe("the caller's signal", () => {
  it("takes a waiting acquire() out of the queue with its reason", async () => {
    const bulkhead = of();
    const permit = await held(bulkhead);
    const caller = new AbortController();
    const waiting = bulkhead.acquire({ signal: caller.signal });
    caller.abort("left");
    await expect(waiting).rejects.toBe("left");
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, rejections: { aborted: 1 } });
    permit.succeed();
  });

  it("aborts the permit's signal, neutrally for the circuit, and leaves no listener behind", async () => {
    const bulkhead = of({ failureThreshold: 1 });
    const caller = new AbortController();
    const permit = await bulkhead.acquire({ signal: caller.signal });
    const seen: unknown[] = [];
    permit.signal.addEventListener("abort", () => {
      seen.push(permit.signal.reason);
      permit.drop();
    });
    caller.abort("left");
    expect(seen).toEqual(["left"]);
    expect(bulkhead.getStats()).toMatchObject({
      abortedExecutions: 1,
      abandonedTasks: 0,
      circuitStatus: "CLOSED",
    });
    expect(getEventListeners(caller.signal, "abort")).toEqual([]);
  });

  it("is a timeout for the circuit when it is a deadline", async () => {
    const bulkhead = of({ failureThreshold: 1 });
    const caller = new AbortController();
    const permit = await bulkhead.acquire({ signal: caller.signal });
    caller.abort(new DOMException("too late", "TimeoutError"));
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    permit.drop();
  });
});

describe("the circuit", () => {
  it("opens on failed permits, and closes on succeeded ones", async () => {
    const bulkhead = of({ failureThreshold: 2, successThreshold: 1, isolationDuration: 1 });
    for (let n = 0; n < 2; n++) (await bulkhead.acquire()).fail(new Error("down"));
    await expect(bulkhead.acquire()).rejects.toMatchObject({ code: "ERR_BULKHEAD_CIRCUIT_OPEN" });
    await vi.advanceTimersByTimeAsync(1000);
    const probe = await bulkhead.acquire();
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    probe.succeed();
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("gives the place of a dropped probe to the next call", async () => {
    const bulkhead = of({ failureThreshold: 1, successThreshold: 1, isolationDuration: 0 });
    (await bulkhead.acquire()).fail(new Error("down"));
    (await bulkhead.acquire()).drop();
    (await bulkhead.acquire()).succeed();
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("lets classify judge what succeed() and fail() are given", async () => {
    const classify = vi.fn<NonNullable<BulkheadConfig["classify"]>>(({ result }) =>
      result === 503 ? "failure" : "success",
    );
    const bulkhead = of({ failureThreshold: 1, classify });
    const error = new Error("404");
    (await bulkhead.acquire()).fail(error);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    (await bulkhead.acquire()).succeed(503);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    expect(classify.mock.calls).toEqual([[{ error }], [{ result: 503 }]]);
  });

  it("takes a refusal of another bulkhead as neutral", async () => {
    const bulkhead = of({ failureThreshold: 1 });
    (await bulkhead.acquire()).fail(new BulkheadFullError("full"));
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "CLOSED", ignoredExecutions: 1 });
  });
});

describe("judge()", () => {
  it("opens the circuit at once, and keeps the permit", async () => {
    const bulkhead = of({ failureThreshold: 1 });
    const error = new Error("status 500");
    const permit = await bulkhead.acquire();
    permit.judge("failure", error);
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "OPEN", activeTasks: 1 });
    const failure = vi.fn();
    bulkhead.on("failure", failure);
    permit.succeed();
    expect(bulkhead.getStats()).toMatchObject({
      activeTasks: 0,
      failedExecutions: 1,
      successfulExecutions: 0,
    });
    expect(failure.mock.calls[0]?.[0].error.cause).toBe(error);
    await expect(bulkhead.acquire()).rejects.toHaveProperty("cause", error);
  });

  it("closes the circuit at once, and a failure after it says nothing", async () => {
    const bulkhead = of({ failureThreshold: 1, successThreshold: 1, isolationDuration: 0 });
    (await bulkhead.acquire()).fail(new Error("down"));
    const probe = await bulkhead.acquire();
    probe.judge("success");
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    probe.fail(new Error("late"));
    expect(bulkhead.getStats()).toMatchObject({
      circuitStatus: "CLOSED",
      successfulExecutions: 1,
      failedExecutions: 1,
    });
  });

  it("counts the first verdict only", async () => {
    const bulkhead = of({ failureThreshold: 1 });
    const permit = await bulkhead.acquire();
    permit.judge("ignore");
    permit.judge("failure");
    permit.fail(new Error("down"));
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "CLOSED", ignoredExecutions: 1 });
  });

  it("opens for retryAfterSeconds", async () => {
    const bulkhead = of({ failureThreshold: 9 });
    const permit = await bulkhead.acquire();
    permit.judge({ outcome: "failure", retryAfterSeconds: 7 });
    permit.drop();
    await expect(bulkhead.acquire()).rejects.toHaveProperty("retryAfterSeconds", 7);
  });

  it("does not ask classify or errorFilter again", async () => {
    const errorFilter = vi.fn(() => true);
    const bulkhead = of({ failureThreshold: 1, errorFilter });
    const permit = await bulkhead.acquire();
    permit.judge("failure");
    permit.drop();
    expect(errorFilter).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "OPEN", failedExecutions: 1 });
  });

  it("leaves a later timeout to the counters alone", async () => {
    const bulkhead = of({ failureThreshold: 2, timeoutSeconds: 1 });
    const permit = await bulkhead.acquire();
    permit.judge("failure");
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "CLOSED", timedOutExecutions: 1 });
    permit.drop();
  });

  it("does nothing after the time limit has passed", async () => {
    const bulkhead = of({ failureThreshold: 2, timeoutSeconds: 1 });
    const permit = await bulkhead.acquire();
    await vi.advanceTimersByTimeAsync(1000);
    permit.judge("failure");
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    permit.drop();
  });

  it.each([
    undefined,
    "bad",
    { outcome: "success" },
    { outcome: "failure", retryAfterSeconds: -1 },
  ])("throws a TypeError for the verdict %o, and leaves the permit as it is", async (verdict) => {
    const bulkhead = of();
    const permit = await bulkhead.acquire();
    expect(() => permit.judge(verdict as "failure")).toThrow(
      /^verdict must be "success", "failure", "ignore" or \{ outcome: "failure", retryAfterSeconds \} .*; got /,
    );
    permit.succeed();
    expect(bulkhead.getStats().successfulExecutions).toBe(1);
  });
});

describe("shutdown with a permit that is held", () => {
  it("aborts its signal at the end of the drain", async () => {
    const bulkhead = of();
    const permit = await bulkhead.acquire();
    const down = bulkhead.shutdown({ drainSeconds: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    await down;
    expect(permit.signal.reason).toMatchObject({ code: "ERR_BULKHEAD_SHUTDOWN" });
    permit.drop();
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  });

  it("drains when the permit is settled", async () => {
    const bulkhead = of();
    const shutdown = vi.fn();
    bulkhead.on("shutdown", shutdown);
    const permit = await bulkhead.acquire();
    const down = bulkhead.shutdown({ drainSeconds: 10 });
    permit.succeed();
    await down;
    expect(shutdown.mock.calls).toEqual([[{ drained: true }]]);
  });
});

describe("the AsyncLocalStorage context of a permit", () => {
  const requests = new AsyncLocalStorage<string>();

  it("is that of acquire(), for the holder, the signal's listeners and the events", async () => {
    const bulkhead = of({ timeoutSeconds: 1 });
    const seen: string[] = [];
    const note = (what: string) => () => seen.push(`${requests.getStore()}: ${what}`);
    bulkhead.on("success", note("success"));
    bulkhead.on("timeout", note("timeout"));
    const take = (request: string) => requests.run(request, () => bulkhead.acquire());
    const first = await take("a");
    const second = requests.run("b", async () => {
      const permit = await bulkhead.acquire();
      note("granted")();
      permit.signal.addEventListener("abort", note("abort"));
      return permit;
    });
    requests.run("c", () => first.succeed());
    const permit = await second;
    await vi.advanceTimersByTimeAsync(1000);
    permit.drop();
    expect(seen).toEqual(["a: success", "b: granted", "b: timeout", "b: abort"]);
  });
});

describe("settling inside a listener", () => {
  it("settles a permit of the same bulkhead while another call ends", async () => {
    const bulkhead = of({ maxConcurrentCalls: 2 });
    const permit = await bulkhead.acquire();
    bulkhead.once("success", () => permit.fail(new Error("from a listener")));
    await bulkhead.call(() => 1);
    expect(bulkhead.getStats()).toMatchObject({
      successfulExecutions: 1,
      failedExecutions: 1,
      activeTasks: 0,
    });
  });

  it("settles a permit whose own timeout is being emitted", async () => {
    const bulkhead = of({ timeoutSeconds: 1, reclaimAfterSeconds: 5 });
    const permit = await bulkhead.acquire();
    bulkhead.on("timeout", () => permit.drop());
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0, timedOutExecutions: 1 });
    expect(await bulkhead.call(() => "free again")).toBe("free again");
  });
});

describe("idle()", () => {
  it("resolves at once when nothing runs and nothing waits", async () => {
    const bulkhead = of();
    await expect(bulkhead.idle()).resolves.toBeUndefined();
  });

  it("resolves when the last running, waiting and abandoned call has ended, and shuts nothing down", async () => {
    const bulkhead = of({ timeoutSeconds: 1, reclaimAfterSeconds: null });
    const order: string[] = [];
    const work = gate();
    const calls = [bulkhead.call(() => work.promise), bulkhead.call(() => {})];
    const outcomes = Promise.allSettled(calls).then(() => order.push("answered"));
    const idle = Promise.all([bulkhead.idle(), bulkhead.idle()]).then(() => order.push("idle"));
    await vi.advanceTimersByTimeAsync(1000);
    await outcomes;
    expect(order).toEqual(["answered"]);
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
    work.open();
    await idle;
    expect(order).toEqual(["answered", "idle"]);
    expect(await bulkhead.call(() => "open")).toBe("open");
    await bulkhead.idle();
  });

  it("resolves when a permit is settled", async () => {
    const bulkhead = of();
    const permit = await bulkhead.acquire();
    const resolved = vi.fn();
    const idle = bulkhead.idle().then(resolved);
    await started();
    expect(resolved).not.toHaveBeenCalled();
    permit.drop();
    await idle;
  });

  it("resolves for a shutdown that ends the last call, not when a drain's time is over", async () => {
    const bulkhead = of({ reclaimAfterSeconds: null });
    const permit = await bulkhead.acquire();
    const resolved = vi.fn();
    const idle = bulkhead.idle().then(resolved);
    const down = bulkhead.shutdown({ drainSeconds: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    await down;
    expect(resolved).not.toHaveBeenCalled();
    permit.drop();
    await idle;
  });

  it("resolves when the last waiting call leaves the queue", async () => {
    const bulkhead = of({ circuitBreakerEnabled: false });
    const permit: Permit = await bulkhead.acquire();
    const waiting = bulkhead.acquire();
    const idle = bulkhead.idle();
    permit.succeed();
    (await waiting).succeed();
    await idle;
    expect(bulkhead.getStats().successfulExecutions).toBe(2);
  });
});
