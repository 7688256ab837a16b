import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadTimeoutError,
  InMemoryStorage,
} from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { gate, started } from "../helpers/gate.js";

/** A bulkhead that only watches, and what it would have rejected. */
function watching(config: Partial<BulkheadConfig> = {}, circuitStorage?: InMemoryStorage) {
  const bulkhead = new Bulkhead({ name: "api", enforce: false, ...config }, { circuitStorage });
  const rejected: unknown[] = [];
  bulkhead.on("rejected", (event) => rejected.push(event));
  return { bulkhead, rejected };
}

const would = (bulkhead: Bulkhead) =>
  Object.fromEntries(
    Object.entries(bulkhead.getStats().wouldReject).filter(([, count]) => count > 0),
  );

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("enforce: false", () => {
  it("runs every call at once, however many there are, and counts those that are too many", async () => {
    const { bulkhead, rejected } = watching({ maxConcurrentCalls: 2, maxQueueSize: 1 });
    const work = gate<string>();
    const calls = Array.from({ length: 5 }, () => bulkhead.call(() => work.promise));
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 5, queuedTasks: 0 });
    expect(would(bulkhead)).toEqual({ full: 2 });
    expect(rejected).toEqual([
      expect.objectContaining({ reason: "full", enforced: false }),
      expect.objectContaining({
        error: expect.objectContaining({ code: "ERR_BULKHEAD_FULL" }),
      }),
    ]);
    work.open("done");
    expect(await Promise.all(calls)).toEqual(Array(5).fill("done"));
    expect(bulkhead.getStats()).toMatchObject({
      successfulExecutions: 5,
      rejectedExecutions: 0,
      activeTasks: 0,
    });
  });

  it("counts no call as running that would not have been started", async () => {
    const { bulkhead } = watching({ maxConcurrentCalls: 1, maxQueueSize: 0 });
    const first = gate();
    const others = gate();
    const calls = [bulkhead.call(() => first.promise)];
    for (let n = 0; n < 3; n++) calls.push(bulkhead.call(() => others.promise));
    expect(would(bulkhead)).toEqual({ full: 3 });
    first.open();
    await calls[0];
    // The three others would not run: there is room.
    calls.push(bulkhead.call(() => {}));
    await calls[4];
    expect(would(bulkhead)).toEqual({ full: 3 });
    others.open();
    await Promise.all(calls);
  });

  it("opens, probes and closes the circuit by what it sees, while every call runs", async () => {
    const { bulkhead, rejected } = watching({
      failureThreshold: 2,
      isolationDuration: 1,
      successThreshold: 1,
    });
    await failCalls(bulkhead, 2);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    expect(await bulkhead.call(() => "runs")).toBe("runs");
    await failCalls(bulkhead, 3);
    expect(would(bulkhead)).toEqual({ circuitOpen: 4 });
    expect(rejected[0]).toMatchObject({
      reason: "circuitOpen",
      error: { code: "ERR_BULKHEAD_CIRCUIT_OPEN" },
      enforced: false,
    });
    await vi.advanceTimersByTimeAsync(1000);
    const probe = gate();
    const probing = bulkhead.call(() => probe.promise);
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    await bulkhead.call(() => "beside the probe");
    expect(would(bulkhead)).toEqual({ circuitOpen: 5 });
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    probe.open();
    await probing;
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("cuts no call at its time limit: it counts the timeout, for the circuit too, and gives the value", async () => {
    const { bulkhead, rejected } = watching({ timeoutSeconds: 1, failureThreshold: 1 });
    const work = gate<string>();
    let signal: AbortSignal | undefined;
    const call = bulkhead.run((context) => {
      signal = context.signal;
      return work.promise;
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(would(bulkhead)).toEqual({ timeout: 1 });
    expect(rejected).toEqual([
      { reason: "timeout", error: expect.any(BulkheadTimeoutError), enforced: false },
    ]);
    expect(signal?.aborted).toBe(false);
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "OPEN", activeTasks: 1 });
    work.open("late");
    expect((await call).result).toBe("late");
    expect(bulkhead.getStats()).toMatchObject({
      successfulExecutions: 1,
      timedOutExecutions: 0,
      circuitStatus: "OPEN",
    });
  });

  it("counts a call once that would have been rejected, and then runs too long", async () => {
    const { bulkhead } = watching({ maxConcurrentCalls: 1, maxQueueSize: 0, timeoutSeconds: 1 });
    const work = gate();
    const calls = [bulkhead.call(() => work.promise), bulkhead.call(() => work.promise)];
    await vi.advanceTimersByTimeAsync(1000);
    expect(would(bulkhead)).toEqual({ full: 1, timeout: 1 });
    work.open();
    await Promise.all(calls);
  });

  it("counts what isolate() would reject", async () => {
    const { bulkhead } = watching();
    bulkhead.isolate();
    expect(await bulkhead.call(() => 1)).toBe(1);
    expect(would(bulkhead)).toEqual({ isolated: 1 });
  });

  it("still ends calls for their caller's signal and for a shutdown", async () => {
    const { bulkhead } = watching();
    const caller = new AbortController();
    const call = bulkhead.run(() => new Promise(() => {}), { signal: caller.signal });
    caller.abort("left");
    await expect(call).rejects.toBe("left");
    const other = bulkhead.call(() => new Promise(() => {}));
    const cut = expect(other).rejects.toMatchObject({ code: "ERR_BULKHEAD_SHUTDOWN" });
    await bulkhead.shutdown({ drainSeconds: 0 });
    await cut;
    await expect(bulkhead.call(() => 1)).rejects.toMatchObject({ code: "ERR_BULKHEAD_SHUTDOWN" });
    expect(would(bulkhead)).toEqual({});
    await vi.advanceTimersByTimeAsync(30_000);
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0, abortedExecutions: 1 });
  });

  it("gives permits by acquire() beyond the limit", async () => {
    const { bulkhead } = watching({ maxConcurrentCalls: 1, maxQueueSize: 0 });
    const permits = [await bulkhead.acquire(), await bulkhead.acquire()];
    expect(would(bulkhead)).toEqual({ full: 1 });
    for (const permit of permits) permit.succeed();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, successfulExecutions: 2 });
  });

  it("neither loads nor changes the circuit of its storage", async () => {
    const storage = new InMemoryStorage();
    const load = vi.spyOn(storage, "load");
    const change = vi.spyOn(storage, "change");
    const { bulkhead } = watching({ failureThreshold: 1 }, storage);
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    for (const method of [load, change]) expect(method).not.toHaveBeenCalled();
    expect(await storage.getState("api")).toBeNull();
    await bulkhead.shutdown();
  });

  it("forgets what it would have rejected with resetStats()", async () => {
    const { bulkhead } = watching();
    bulkhead.isolate();
    await bulkhead.call(() => 1);
    bulkhead.resetStats();
    expect(would(bulkhead)).toEqual({});
  });
});

describe("enforce that changes", () => {
  it("starts the calls that wait when it becomes false", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const work = gate<number>();
    const calls = [1, 2, 3].map(() => bulkhead.call(() => work.promise));
    await started();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, queuedTasks: 2 });
    bulkhead.configure({ enforce: false });
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 3, queuedTasks: 0 });
    work.open(1);
    expect(await Promise.all(calls)).toEqual([1, 1, 1]);
  });

  it("enforces the limit when it becomes true", async () => {
    const { bulkhead } = watching({ maxConcurrentCalls: 1, maxQueueSize: 0 });
    const work = gate();
    const calls = [1, 2].map(() => bulkhead.call(() => work.promise));
    bulkhead.configure({ enforce: true });
    await expect(bulkhead.call(() => 1)).rejects.toMatchObject({ code: "ERR_BULKHEAD_FULL" });
    work.open();
    await Promise.all(calls);
    expect(await bulkhead.call(() => 1)).toBe(1);
  });

  it("connects the circuit with its storage, and disconnects it", async () => {
    const storage = new InMemoryStorage();
    const { bulkhead } = watching({ failureThreshold: 1, isolationDuration: 60 }, storage);
    bulkhead.configure({ enforce: true });
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect((await storage.getState("api"))?.state).toBe("OPEN");
    bulkhead.configure({ enforce: false });
    bulkhead.breaker?.close();
    await vi.advanceTimersByTimeAsync(1000);
    expect((await storage.getState("api"))?.state).toBe("OPEN");
    expect(await bulkhead.call(() => 1)).toBe(1);
    bulkhead.configure({ enforce: true });
    await bulkhead.ready();
    await vi.advanceTimersByTimeAsync(0);
    await expect(bulkhead.call(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
    });
    await bulkhead.shutdown();
  });

  it("starts the calls that wait for the storage when it becomes false", async () => {
    const storage = new InMemoryStorage();
    vi.spyOn(storage, "load").mockReturnValue(new Promise(() => {}));
    const bulkhead = new Bulkhead({ name: "api" }, { circuitStorage: storage });
    const call = bulkhead.call(() => "runs");
    await started();
    expect(bulkhead.getStats().queuedTasks).toBe(1);
    bulkhead.configure({ enforce: false });
    expect(await call).toBe("runs");
    await vi.advanceTimersByTimeAsync(2000);
  });
});
