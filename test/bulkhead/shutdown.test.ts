import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadShutdownError } from "../../src/index.js";
import { gate } from "../helpers/gate.js";

describe("shutdown", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  it("rejects new and queued calls, lets running calls end, and does not wait for them", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const told = vi.fn();
    bulkhead.on("shutdown", told);
    const busy = gate<string>();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = expect(bulkhead.execute(() => 1)).rejects.toBeInstanceOf(BulkheadShutdownError);
    await bulkhead.shutdown();
    await waiting;
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_SHUTDOWN",
      message: 'Bulkhead "api" is shut down',
    });
    expect(bulkhead.getState()).toBe("failed");
    expect(bulkhead.isHealthy()).toBe(false);
    busy.open("done");
    expect((await running).result).toBe("done");
    expect(told.mock.calls).toEqual([[{ drained: false }]]);
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 1, rejectedExecutions: 2 });
  });

  it("with drainSeconds lets running and waiting calls end, and then resolves", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const told = vi.fn();
    bulkhead.on("shutdown", told);
    const order: string[] = [];
    const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const calls = [1, 2].map((n) =>
      bulkhead.execute(sleep, 1000).then(({ success }) => order.push(`${n} ${success}`)),
    );
    const down = bulkhead.shutdown({ drainSeconds: 10 }).then(() => order.push("down"));
    await expect(bulkhead.execute(() => 1)).rejects.toBeInstanceOf(BulkheadShutdownError);
    await vi.advanceTimersByTimeAsync(2000);
    await Promise.all([...calls, down]);
    expect(order).toEqual(["1 true", "2 true", "down"]);
    expect(told.mock.calls).toEqual([[{ drained: true }]]);
  });

  it("aborts the calls that are not over after drainSeconds: callers are rejected, signals aborted", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    let signal: AbortSignal | undefined;
    const running = bulkhead.run((context) => {
      signal = context.signal;
      return new Promise(() => {});
    });
    const waiting = bulkhead.execute(() => 1);
    const outcomes = Promise.allSettled([running, waiting]);
    const down = bulkhead.shutdown({ drainSeconds: 1 });
    await vi.advanceTimersByTimeAsync(999);
    expect(signal?.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await down;
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({
        status: "rejected",
        reason: expect.any(BulkheadShutdownError),
      });
    }
    expect(signal?.reason).toBeInstanceOf(BulkheadShutdownError);
    expect(bulkhead.getStats()).toMatchObject({
      activeTasks: 0,
      abandonedTasks: 1,
      failedExecutions: 1,
      rejections: { shutdown: 1 },
    });
    await vi.advanceTimersByTimeAsync(30_000);
  });

  it("does not move the circuit when it cuts calls", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1 });
    const cut = bulkhead.execute(() => new Promise(() => {})).catch(() => "cut");
    await bulkhead.shutdown({ drainSeconds: 0 });
    expect(await cut).toBe("cut");
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    await vi.advanceTimersByTimeAsync(30_000);
  });

  it("may be called twice, also to shorten a drain", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const told = vi.fn();
    bulkhead.on("shutdown", told);
    const cut = bulkhead.execute(() => new Promise(() => {})).catch((error: unknown) => error);
    const down = [bulkhead.shutdown({ drainSeconds: 60 }), bulkhead.shutdown()];
    await vi.advanceTimersByTimeAsync(10);
    expect(told).not.toHaveBeenCalled();
    await bulkhead.shutdown({ drainSeconds: 0 });
    await Promise.all(down);
    await bulkhead.shutdown();
    expect(await cut).toBeInstanceOf(BulkheadShutdownError);
    expect(told).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(30_000);
  });

  it("without options leaves the queued calls to the drain that is under way", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const busy = gate();
    const calls = [bulkhead.execute(() => busy.promise), bulkhead.execute(() => "queued")];
    const down = [bulkhead.shutdown({ drainSeconds: 60 }), bulkhead.shutdown()];
    busy.open();
    expect(await Promise.all(calls)).toMatchObject([{ success: true }, { result: "queued" }]);
    await Promise.all(down);
  });

  it("with drainSeconds waits for an active call also beside an abandoned one", async () => {
    const bulkhead = new Bulkhead({ name: "api", reclaimAfterSeconds: null });
    const [active, abandoned] = [gate(), gate()];
    const timedOut = bulkhead.run(() => abandoned.promise, { timeoutSeconds: 1 }).catch(() => {});
    const running = bulkhead.execute(() => active.promise);
    await vi.advanceTimersByTimeAsync(1000);
    await timedOut;
    const ended = vi.fn();
    const down = bulkhead.shutdown({ drainSeconds: 60 }).then(ended);
    await vi.advanceTimersByTimeAsync(1000);
    expect(ended).not.toHaveBeenCalled();
    active.open();
    await running;
    expect(ended).not.toHaveBeenCalled();
    abandoned.open();
    await down;
  });

  it("rejects a call that is about to start when no time is left to drain", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const reasons: string[] = [];
    bulkhead.on("rejected", ({ reason }) => reasons.push(reason));
    const fn = vi.fn();
    const call = expect(bulkhead.execute(fn)).rejects.toBeInstanceOf(BulkheadShutdownError);
    await bulkhead.shutdown({ drainSeconds: 0 });
    await call;
    expect(fn).not.toHaveBeenCalled();
    expect(reasons).toEqual(["shutdown"]);
    expect(bulkhead.getStats()).toMatchObject({ rejections: { shutdown: 1 } });
  });

  it("without time to drain ends at once right after the answer of a call", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const told = vi.fn();
    bulkhead.on("shutdown", told);
    await bulkhead.execute(async () => 1);
    await bulkhead.shutdown({ drainSeconds: 0 });
    expect(told.mock.calls).toEqual([[{ drained: true }]]);
  });

  it("is emitted by the bulkhead first, and then by the breaker", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const order: string[] = [];
    bulkhead.breaker?.on("shutdown", () => order.push("breaker"));
    bulkhead.on("shutdown", () => order.push("bulkhead"));
    await bulkhead.shutdown();
    expect(order).toEqual(["bulkhead", "breaker"]);
  });

  it("shuts the breaker down when the last call is over", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await bulkhead.shutdown();
    expect(bulkhead.breaker?.isShutdown).toBe(false);
    busy.open();
    await running;
    expect(bulkhead.breaker?.isShutdown).toBe(true);
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 1, successes: 1 });
  });

  it.each([{ drainSeconds: -1 }, { drainSeconds: "5" }, { drain: 5 }, null])(
    "rejects %o and stays in use",
    async (options) => {
      const bulkhead = new Bulkhead({ name: "api" });
      await expect(bulkhead.shutdown(options as never)).rejects.toThrow(/drainSeconds|options/);
      expect((await bulkhead.execute(() => 1)).result).toBe(1);
    },
  );

  it("is what await using does at the end of a scope", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    await bulkhead[Symbol.asyncDispose]();
    expect(bulkhead.getState()).toBe("failed");
  });

  it("is not what context does: the bulkhead stays in use", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const value = await bulkhead.context(async (b) => (await b.execute(() => 2)).result);
    expect(value).toBe(2);
    await expect(
      bulkhead.context(() => {
        throw new Error("body");
      }),
    ).rejects.toThrow("body");
    expect(bulkhead.getState()).toBe("healthy");
  });
});
