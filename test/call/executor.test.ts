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
  it("is over when execute returns if its function is synchronous", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    await bulkhead.execute(() => 1);
    const second = bulkhead.execute(() => 2);
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 2, activeTasks: 0 });
    expect(await second).toMatchObject({ result: 2 });
  });

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
