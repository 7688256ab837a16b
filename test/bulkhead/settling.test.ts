import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadError, BulkheadFullError } from "../../src/index.js";
import { gate, started, turn } from "../helpers/gate.js";

/** Every unhandled rejection and uncaught exception. */
function watchProcess() {
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", note);
  process.on("uncaughtException", note);
  return {
    unhandled,
    stop() {
      process.off("unhandledRejection", note);
      process.off("uncaughtException", note);
    },
  };
}

describe("functions of every kind (rule 7)", () => {
  it.each<[string, () => unknown, unknown]>([
    ["a value", () => 42, 42],
    ["nothing", () => undefined, undefined],
    ["null", () => null, null],
    ["an object", () => ({ a: 1 }), { a: 1 }],
    ["a promise", async () => "async", "async"],
    ["a thenable", () => ({ then: (ok: (v: string) => void) => ok("then") }), "then"],
    [
      "a thenable that calls back twice",
      () => ({
        then(ok: (v: string) => void, bad: (e: unknown) => void) {
          ok("first");
          ok("second");
          bad(new Error("third"));
        },
      }),
      "first",
    ],
    [
      "a function with a then method",
      () => Object.assign(() => {}, { then: (ok: (v: string) => void) => ok("callable") }),
      "callable",
    ],
  ])("resolves with %s", async (_, fn, expected) => {
    const bulkhead = new Bulkhead({ name: "api" });
    const outcome = await bulkhead.execute(fn);
    expect(outcome).toMatchObject({ success: true, error: null });
    expect(outcome.result).toEqual(expected);
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 1, activeTasks: 0 });
  });

  it("calls the function without a `this`, as a plain call does, whether it waited or not", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    function receiver(this: unknown): unknown {
      return this;
    }
    const holder = gate();
    const held = bulkhead.execute(() => holder.promise);
    const waiting = [bulkhead.execute(receiver), bulkhead.run(receiver)];
    holder.open();
    await held;
    const outcomes = await Promise.all([
      ...waiting,
      bulkhead.execute(receiver),
      bulkhead.run(receiver),
    ]);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ success: true });
    expect(outcomes.map(({ result }) => result)).toEqual(Array(4).fill(undefined));
  });

  const bare: object = Object.create(null);
  it.each<[string, unknown, string]>([
    ["an error", new Error("down"), "Execution failed: down"],
    ["a string", "down", "Execution failed: down"],
    ["null", null, "Execution failed: null"],
    ["undefined", undefined, "Execution failed: undefined"],
    ["a symbol", Symbol("down"), "Execution failed: Symbol(down)"],
    ["an object without a prototype", bare, "Execution failed: [Object: null prototype] {}"],
  ])("resolves with success false when %s is thrown or rejected", async (_, thrown, message) => {
    const bulkhead = new Bulkhead({ name: "api" });
    const failing: Array<() => unknown> = [
      () => {
        throw thrown;
      },
      () => Promise.reject(thrown),
      () => ({
        get then() {
          throw thrown;
        },
      }),
    ];
    for (const fn of failing) {
      const outcome = await bulkhead.execute(fn);
      expect(outcome.success).toBe(false);
      expect(outcome.result).toBeNull();
      expect(outcome.error).toBeInstanceOf(BulkheadError);
      expect(outcome.error?.message).toBe(message);
      expect(outcome.error?.cause).toBe(thrown);
      expect(outcome.error?.bulkheadName).toBe("api");
    }
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 3, activeTasks: 0 });
  });

  it("fails when reading the constructor of a returned promise throws", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const lying = Promise.resolve(1);
    Object.defineProperty(lying, "constructor", {
      get() {
        throw new Error("no constructor");
      },
    });
    const outcome = await bulkhead.execute(() => lying);
    expect(outcome.error?.message).toBe("Execution failed: no constructor");
  });

  it("does not wrap a BulkheadError, as of a bulkhead within", async () => {
    const outer = new Bulkhead({ name: "outer" });
    const inner = new Bulkhead({ name: "inner", maxConcurrentCalls: 1, maxQueueSize: 0 });
    const busy = gate();
    const running = inner.execute(() => busy.promise);
    const outcome = await outer.execute(() => inner.execute(() => 1));
    expect(outcome.error).toBeInstanceOf(BulkheadFullError);
    expect(outcome.error?.bulkheadName).toBe("inner");
    busy.open();
    await running;
  });

  it("passes the arguments on and resolves with times and ids", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const outcome = await bulkhead.execute((a: number, b: string) => `${a}${b}`, 1, "x");
    expect(outcome).toEqual({
      success: true,
      result: "1x",
      error: null,
      bulkheadName: "api",
      executionId: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4/),
      executionTime: expect.any(Number),
      queuedTime: 0,
    });
    const ids = await Promise.all([1, 2].map(() => bulkhead.run(({ executionId }) => executionId)));
    expect(ids.map(({ result }) => result)).toEqual(ids.map(({ executionId }) => executionId));
    expect(ids[0]?.executionId).not.toBe(ids[1]?.executionId);
  });

  it("measures waiting and running apart, in seconds", async () => {
    vi.useFakeTimers();
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const first = bulkhead.execute(sleep, 2000);
    const second = bulkhead.execute(sleep, 500);
    await vi.advanceTimersByTimeAsync(2500);
    expect(await first).toMatchObject({ queuedTime: 0, executionTime: 2 });
    expect(await second).toMatchObject({ queuedTime: 2, executionTime: 0.5 });
    vi.useRealTimers();
  });
});

describe("late results and lost callers (rule 8)", () => {
  let guard: ReturnType<typeof watchProcess>;
  beforeEach(() => {
    guard = watchProcess();
  });
  afterEach(async () => {
    await turn();
    await turn();
    guard.stop();
    expect(guard.unhandled).toEqual([]);
  });

  it.each(["timeout", "abort", "drained shutdown"])(
    "a rejection that comes after the %s is no unhandled rejection",
    async (end) => {
      const bulkhead = new Bulkhead({
        name: "api",
        timeoutSeconds: end === "timeout" ? 0.001 : 60,
      });
      const late = gate();
      const controller = new AbortController();
      const call = bulkhead
        .run(() => late.promise, { signal: controller.signal })
        .catch((error: unknown) => error);
      await started();
      if (end === "abort") controller.abort();
      if (end === "drained shutdown") await bulkhead.shutdown({ drainSeconds: 0 });
      expect(await call).toBeInstanceOf(Error);
      late.fail(new Error("late"));
      await turn();
      expect(bulkhead.getStats()).toMatchObject({
        abandonedTasks: 0,
        failedExecutions: 1,
        totalExecutions: 1,
      });
    },
  );

  it("a listener that throws changes no outcome and loses no permit", async () => {
    const warnings: string[] = [];
    const note = (warning: Error) => warnings.push(warning.message);
    process.on("warning", note);
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 0 });
    const events = ["success", "failure", "rejected", "stateChange"] as const;
    const throwing = () => {
      throw new Error("listener down");
    };
    for (const event of events) {
      bulkhead.on(event, throwing);
      bulkhead.breaker?.on(event as "success", throwing);
    }
    bulkhead.breaker?.on("fire", throwing).on("open", throwing);
    expect((await bulkhead.execute(() => 1)).result).toBe(1);
    expect((await bulkhead.execute(async () => 2)).result).toBe(2);
    for (let n = 0; n < 5; n++) {
      expect((await bulkhead.execute(() => Promise.reject(new Error("x")))).success).toBe(false);
    }
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
    });
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, failedExecutions: 5 });
    await turn();
    process.off("warning", note);
    expect(warnings).toEqual(['The listener of "fire" threw: listener down']);
  });

  it("puts one listener on a signal that many calls share", async () => {
    const bulkheads = [1, 2].map((n) => new Bulkhead({ name: `api ${n}`, maxConcurrentCalls: 10 }));
    const controller = new AbortController();
    const { signal } = controller;
    const calls = Array.from({ length: 40 }, (_, n) =>
      bulkheads[n % 2]?.run(() => new Promise(() => {}), { signal }).catch((reason) => reason),
    );
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    controller.abort("all of them");
    expect(await Promise.all(calls)).toEqual(Array(40).fill("all of them"));
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  it("keeps no listener on the caller's signal, however the call ends", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 1 });
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await bulkhead.run(async () => 1, { signal });
    await bulkhead.run(() => 1, { signal });
    await bulkhead.run(() => Promise.reject(new Error("x")), { signal });
    const busy = gate();
    const running = bulkhead.run(() => busy.promise, { signal });
    const timesOut = bulkhead.run(() => 1, { signal, timeoutSeconds: 0.001 });
    await expect(timesOut).rejects.toThrow("timed out");
    const isolated = bulkhead.run(() => 1, { signal });
    bulkhead.isolate();
    await expect(isolated).rejects.toThrow("isolated");
    busy.open();
    await running;
    expect(listeners).toBe(0);
  });
});

describe("aborting (run)", () => {
  it("rejects and counts a call whose signal is aborted already", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const task = vi.fn();
    await expect(bulkhead.run(task, { signal: AbortSignal.abort("before") })).rejects.toBe(
      "before",
    );
    expect(task).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({
      rejectedExecutions: 1,
      rejections: { aborted: 1 },
      totalExecutions: 0,
    });
  });

  it("ends a running call with the reason, and counts it as failed and abandoned", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const controller = new AbortController();
    const late = gate();
    const call = bulkhead.run(() => late.promise, { signal: controller.signal });
    await started();
    controller.abort();
    await expect(call).rejects.toMatchObject({ name: "AbortError" });
    expect(bulkhead.getStats()).toMatchObject({
      failedExecutions: 1,
      timedOutExecutions: 0,
      abandonedTasks: 1,
      rejectedExecutions: 0,
    });
    late.open();
    await turn();
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  });

  it("ends a call that aborts its own caller's signal while it starts", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const controller = new AbortController();
    const call = bulkhead.run(() => controller.abort("from within"), { signal: controller.signal });
    await expect(call).rejects.toBe("from within");
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 1, abandonedTasks: 0 });
  });

  it("does nothing to a call that is over", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const controller = new AbortController();
    const outcome = await bulkhead.run(async () => "done", { signal: controller.signal });
    controller.abort();
    expect(outcome.result).toBe("done");
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 1, failedExecutions: 0 });
  });
});

describe("the ledger (rule 4)", () => {
  it("starts anew with resetStats, and stays exact for calls under way", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    await bulkhead.execute(() => 1);
    await bulkhead.execute(() => Promise.reject(new Error("x")));
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    bulkhead.resetStats();
    expect(bulkhead.getStats()).toMatchObject({
      totalExecutions: 1,
      activeTasks: 1,
      successfulExecutions: 0,
      failedExecutions: 0,
    });
    busy.open();
    await running;
    expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 1, successfulExecutions: 1 });
  });

  it("can be awaited, and leaves circuitStatus out without a circuit", async () => {
    const bulkhead = new Bulkhead({ name: "api", circuitBreakerEnabled: false });
    const stats = await bulkhead.getStats();
    expect(stats).toMatchObject({ circuitBreakerEnabled: false, state: "healthy" });
    expect("circuitStatus" in stats).toBe(false);
    expect(bulkhead.breaker).toBeUndefined();
  });
});
