import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadTimeoutError } from "../../src/index.js";
import { gate, started, turn } from "../helpers/gate.js";

describe("a permit is held until the function settles (rule 3)", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  it("is held after a timeout: the caller gets its error, the next call waits for the function to settle", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, timeoutSeconds: 1 });
    const slow = gate();
    const events: unknown[] = [];
    for (const event of ["timeout", "failure", "abandoned", "reclaimed"] as const) {
      bulkhead.on(event, ({ executionId: _, ...rest }: { executionId: string }) => {
        events.push([event, rest]);
      });
    }
    const first = bulkhead.execute(() => slow.promise);
    const told = expect(first).rejects.toBeInstanceOf(BulkheadTimeoutError);
    await vi.advanceTimersByTimeAsync(1000);
    await told;
    expect(bulkhead.getStats()).toMatchObject({
      activeTasks: 0,
      abandonedTasks: 1,
      failedExecutions: 1,
      timedOutExecutions: 1,
      rejectedExecutions: 0,
    });
    const started = vi.fn();
    const second = bulkhead.run(started, { timeoutSeconds: null });
    await vi.advanceTimersByTimeAsync(5000);
    expect(started).not.toHaveBeenCalled();
    slow.open();
    await second;
    expect(started).toHaveBeenCalledOnce();
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0, successfulExecutions: 1 });
    expect(events).toEqual([
      ["timeout", { phase: "running" }],
      ["failure", expect.objectContaining({ error: expect.any(BulkheadTimeoutError) })],
      ["abandoned", {}],
      ["reclaimed", { settled: true }],
    ]);
  });

  it("aborts the task's signal with the error that the caller gets", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const reasons: unknown[] = [];
    const task = ({ signal }: { signal: AbortSignal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          reasons.push(signal.reason);
          reject(signal.reason);
        });
      });
    const timedOut = bulkhead.run(task, { timeoutSeconds: 1 }).catch((error: unknown) => error);
    const controller = new AbortController();
    const aborted = bulkhead
      .run(task, { signal: controller.signal })
      .catch((error: unknown) => error);
    await started();
    controller.abort("enough");
    await vi.advanceTimersByTimeAsync(1000);
    expect(await aborted).toBe("enough");
    expect(reasons).toEqual(["enough", await timedOut]);
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0, failedExecutions: 2 });
  });

  it("does not abort the signal of a task that settled in time", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 1 });
    const controller = new AbortController();
    let given: AbortSignal | undefined;
    await bulkhead.run(
      async ({ signal }) => {
        given = signal;
      },
      { signal: controller.signal },
    );
    controller.abort();
    await vi.advanceTimersByTimeAsync(2000);
    expect(given?.aborted).toBe(false);
  });

  it("reclaims the permit after reclaimAfterSeconds when the function never settles", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 10,
    });
    const reclaimed = vi.fn();
    bulkhead.on("reclaimed", reclaimed);
    const late = gate();
    const stuck = bulkhead.execute(() => late.promise).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await stuck).toBeInstanceOf(BulkheadTimeoutError);
    const next = bulkhead.run(() => "at last", { timeoutSeconds: null });
    await vi.advanceTimersByTimeAsync(9999);
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 1, queuedTasks: 1 });
    await vi.advanceTimersByTimeAsync(1);
    expect((await next).result).toBe("at last");
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
    late.fail(new Error("much too late"));
    await vi.advanceTimersByTimeAsync(0);
    expect(reclaimed.mock.calls).toEqual([[expect.objectContaining({ settled: false })]]);
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0, activeTasks: 0 });
  });

  it("never reclaims the permit when reclaimAfterSeconds is null", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: null,
    });
    const stuck = bulkhead.execute(() => new Promise(() => {})).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1000);
    await stuck;
    expect(vi.getTimerCount()).toBe(0);
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
  });

  it("reclaims the permit at the timeout when reclaimAfterSeconds is 0", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    const stuck = bulkhead.execute(() => new Promise(() => {})).catch((error: unknown) => error);
    const next = bulkhead.run(() => "now", { timeoutSeconds: null });
    await vi.advanceTimersByTimeAsync(1000);
    await stuck;
    expect((await next).result).toBe("now");
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  });

  it("is taken while an abandoned function holds it: the next call waits, or is rejected when the queue is full", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 2,
      maxQueueSize: 1,
      reclaimAfterSeconds: null,
    });
    const [abandoned, running] = [gate(), gate()];
    const options = { timeoutSeconds: 1 };
    const first = bulkhead.run(() => abandoned.promise, options).catch((error: unknown) => error);
    const second = bulkhead.execute(() => running.promise);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await first).toBeInstanceOf(BulkheadTimeoutError);
    const third = bulkhead.run(() => 3, options).catch((error: unknown) => error);
    await expect(bulkhead.execute(() => 4)).rejects.toMatchObject({ code: "ERR_BULKHEAD_FULL" });
    await vi.advanceTimersByTimeAsync(1000);
    expect(await third).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "waiting" });
    abandoned.open();
    running.open();
    await second;
  });

  it("is back with the answer: a call right after it starts at once, and has its time limit", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    await bulkhead.execute(async () => 1);
    const call = bulkhead.execute(() => new Promise(() => {})).catch((error: unknown) => error);
    expect(bulkhead.getStats().activeTasks).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await call).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "running" });
  });

  it("never lets more than maxConcurrentCalls functions run, also when listeners of success make calls", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2, maxQueueSize: 100 });
    let running = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++running);
      await Promise.resolve();
      running--;
    };
    const more: Promise<unknown>[] = [];
    bulkhead.on("success", () => {
      if (more.length < 40) more.push(bulkhead.execute(work), bulkhead.execute(work));
    });
    await Promise.all(Array.from({ length: 20 }, () => bulkhead.execute(work)));
    while (bulkhead.getStats().activeTasks + bulkhead.getStats().queuedTasks > 0) {
      await Promise.resolve();
    }
    await Promise.all(more);
    expect(most).toBe(2);
  });
});

describe("a permit that is to be reclaimed", () => {
  /** Whether a timer of at least a minute keeps the process alive. */
  function watchLongTimers() {
    const setTimer = vi.spyOn(globalThis, "setTimeout");
    return () => {
      const timers = setTimer.mock.results.filter(
        (_, n) => (setTimer.mock.calls[n]?.[1] ?? 0) > 60_000,
      );
      expect(timers).not.toEqual([]);
      return timers.some(({ value }) => value.hasRef());
    };
  }

  it("keeps the process alive only while a queued call waits for it", async () => {
    const keepsAlive = watchLongTimers();
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, reclaimAfterSeconds: 100 });
    const slow = gate();
    const abandoned = bulkhead.run(() => slow.promise, { timeoutSeconds: 0.001 });
    await expect(abandoned).rejects.toBeInstanceOf(BulkheadTimeoutError);
    expect(keepsAlive()).toBe(false);
    const caller = new AbortController();
    const queued = bulkhead.run(() => 1, { signal: caller.signal });
    expect(keepsAlive()).toBe(true);
    caller.abort("gone");
    await expect(queued).rejects.toBe("gone");
    expect(keepsAlive()).toBe(false);
    slow.open();
    await turn();
    vi.restoreAllMocks();
  });
});

describe("the time limit of a running call", () => {
  it("keeps the process alive", async () => {
    const setTimer = vi.spyOn(globalThis, "setTimeout");
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 100 });
    const work = gate();
    const call = bulkhead.execute(() => work.promise);
    await turn();
    const limits = setTimer.mock.results.filter((_, n) => setTimer.mock.calls[n]?.[1] === 100_000);
    expect(new Set(limits.map(({ value }) => value.hasRef()))).toEqual(new Set([true]));
    work.open();
    await call;
    vi.restoreAllMocks();
  });
});
