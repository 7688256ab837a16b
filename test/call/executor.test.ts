import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { gate, started } from "../helpers/gate.js";
import { UnreliableStorage } from "../helpers/unreliable-storage.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("a call right after the answer of the one before it", () => {
  it.each([2, "text", null, undefined])(
    "is over when execute returns if its function returns %s and no promise",
    async (value) => {
      const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
      await bulkhead.execute(() => 1);
      const second = bulkhead.execute(() => value);
      expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 2, activeTasks: 0 });
      expect(await second).toMatchObject({ result: value });
    },
  );

  it("waits for the lease when the call before it opened the circuit, though a permit is free", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = new Bulkhead(
      { name: "api", failureThreshold: 1, successThreshold: 1, isolationDuration: 0 },
      { circuitStorage: storage },
    );
    await bulkhead.ready();
    storage.mood = "hanging";
    const probe = vi.fn();
    await bulkhead.execute(() => Promise.reject(new Error("down")));
    const probing = bulkhead.execute(probe);
    await started();
    expect(probe).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 1, activeTasks: 0 });
    await pass(1000);
    await probing;
    expect(probe).toHaveBeenCalledTimes(1);
    await Promise.all([bulkhead.shutdown(), pass(1000)]);
  });
});

describe("a call that a listener makes", () => {
  it("comes after the queued ones, also when a permit has just been reclaimed", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, reclaimAfterSeconds: 1 });
    const order: string[] = [];
    bulkhead.once("reclaimed", () => void bulkhead.execute(() => order.push("of the listener")));
    const stuck = bulkhead.run(() => new Promise(() => {}), { timeoutSeconds: 1 }).catch(() => {});
    await started();
    void bulkhead.execute(() => order.push("queued"));
    await pass(2000);
    await stuck;
    expect(order).toEqual(["queued", "of the listener"]);
  });

  it("comes after the queued ones, also when a call before them was rejected for its long wait", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, queueTargetSeconds: 0.05 });
    const order: string[] = [];
    bulkhead.once("rejected", () => void bulkhead.execute(() => order.push("of the listener")));
    void bulkhead.execute(sleep, 200);
    await started();
    const overdue = bulkhead.execute(() => order.push("overdue")).catch(() => {});
    await pass(170);
    void bulkhead.execute(() => order.push("queued"));
    await pass(30);
    await overdue;
    expect(order).toEqual(["queued", "of the listener"]);
  });
});

describe("the time limit of a call", () => {
  it("has no timer left when its synchronous function is over at once", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 60 });
    await bulkhead.execute(() => 1);
    const second = bulkhead.execute(() => 2);
    await second;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("has no timer left when the call ended its own caller's wait while it started", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 60, reclaimAfterSeconds: null });
    await bulkhead.execute(() => 1);
    const controller = new AbortController();
    const work = gate();
    const call = bulkhead.run(
      () => {
        controller.abort("from within");
        return work.promise;
      },
      { signal: controller.signal },
    );
    await expect(call).rejects.toBe("from within");
    expect(vi.getTimerCount()).toBe(0);
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 1 });
    work.open();
    await started();
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0 });
  });
});

describe("a call that found a permit free", () => {
  it("starts also when a faked clock passes its time limit before its lane is open", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    const fn = vi.fn(() => new Promise(() => {}));
    const call = bulkhead.execute(fn).catch((error: unknown) => error);
    vi.advanceTimersByTime(1000);
    expect(fn).not.toHaveBeenCalled();
    await started();
    expect(fn).toHaveBeenCalledTimes(1);
    expect(await call).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "running" });
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 1, rejectedExecutions: 0 });
  });

  it("times out when it waits for the storage for the whole of its time", async () => {
    const storage = new UnreliableStorage();
    storage.mood = "hanging";
    const bulkhead = new Bulkhead(
      { name: "api", timeoutSeconds: 0.5 },
      { circuitStorage: storage },
    );
    const fn = vi.fn();
    const call = bulkhead.execute(fn).catch((error: unknown) => error);
    await pass(500);
    expect(await call).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "waiting" });
    await Promise.all([bulkhead.shutdown(), pass(1000)]);
    expect(fn).not.toHaveBeenCalled();
  });
});

describe("the result of a function whose permit was reclaimed", () => {
  it("does not settle the call that has the permit by then", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    const [old, young] = [gate<string>(), gate<string>()];
    const first = bulkhead.execute(() => old.promise).catch(() => "timed out");
    await started();
    const second = bulkhead.run(() => young.promise, { timeoutSeconds: null });
    await pass(1000);
    expect(await first).toBe("timed out");
    old.open("old");
    await started();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, successfulExecutions: 0 });
    young.open("young");
    expect(await second).toMatchObject({ result: "young" });
  });
});

describe("what a function throws", () => {
  it("is not looked at for call() while no listener gets the failure", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const look = vi.fn(() => "down");
    const thrown = Object.defineProperty(new Error(), "message", { get: look });
    await expect(bulkhead.call(() => Promise.reject(thrown))).rejects.toBe(thrown);
    expect(look).not.toHaveBeenCalled();
    const failed = vi.fn();
    bulkhead.on("failure", failed);
    await expect(bulkhead.call(() => Promise.reject(thrown))).rejects.toBe(thrown);
    expect(failed.mock.calls).toMatchObject([[{ error: { message: "Execution failed: down" } }]]);
    expect(look).toHaveBeenCalled();
  });
});
