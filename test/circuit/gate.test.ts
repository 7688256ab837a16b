import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { gate, started } from "../helpers/gate.js";
import { UnreliableStorage } from "../helpers/unreliable-storage.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("a bulkhead without a circuit", () => {
  it("rejects calls when it is full, isolated or shut down, and its health checks move nothing", async () => {
    let healthy = true;
    const bulkhead = new Bulkhead({
      name: "api",
      circuitBreakerEnabled: false,
      maxConcurrentCalls: 1,
      maxQueueSize: 0,
      healthCheck: () => healthy,
    });
    const verdicts: boolean[] = [];
    bulkhead.on("healthCheck", (event) => verdicts.push(event.healthy));
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({ code: "ERR_BULKHEAD_FULL" });
    busy.open();
    await running;
    await failCalls(bulkhead, 10);
    await pass(5000);
    healthy = false;
    await pass(5000);
    expect(verdicts).toEqual([true, false]);
    expect(bulkhead.getState()).toBe("healthy");
    bulkhead.isolate();
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_ISOLATION",
    });
    bulkhead.release();
    await passCalls(bulkhead, 1);
    expect(bulkhead.breaker).toBeUndefined();
    expect(bulkhead.getStats()).not.toHaveProperty("circuitStatus");
    await bulkhead.ready();
    await bulkhead.shutdown();
    expect(bulkhead.breaker).toBeUndefined();
  });
});

describe("a call that was admitted before opossum's breaker was disabled", () => {
  it("is a plain failure of the ledger: its error is not judged", async () => {
    const errorFilter = vi.fn(() => true);
    const bulkhead = new Bulkhead({ name: "api", errorFilter });
    const work = gate();
    const call = bulkhead.execute(() => work.promise);
    await started();
    bulkhead.breaker?.disable();
    work.fail(new Error("down"));
    expect(await call).toMatchObject({ success: false });
    expect(errorFilter).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 1, ignoredExecutions: 0 });
    bulkhead.breaker?.enable();
    await failCalls(bulkhead, 1);
    expect(errorFilter).toHaveBeenCalledTimes(1);
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 2, ignoredExecutions: 1 });
  });
});

describe("the circuit of a queued call", () => {
  it("counts it among the rejections by the circuit when it opens", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const queued = expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
    });
    await started();
    bulkhead.breaker?.open();
    await queued;
    expect(bulkhead.getStats()).toMatchObject({
      rejectedExecutions: 1,
      rejections: { circuitOpen: 1 },
    });
    busy.open();
    await running;
  });
});

describe("a manual isolation", () => {
  it("is counted for queued and new calls, and its reason is in their errors", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const reasons: unknown[] = [];
    bulkhead.on("isolated", ({ reason }) => reasons.push(reason));
    bulkhead.on("released", () => reasons.push("released"));
    bulkhead.on("rejected", ({ reason }) => reasons.push(reason));
    const message = 'Bulkhead "api" is isolated by hand: maintenance';
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await started();
    const queued = expect(bulkhead.execute(() => 1)).rejects.toThrow(message);
    bulkhead.isolate("maintenance");
    await queued;
    await expect(bulkhead.execute(() => 1)).rejects.toThrow(message);
    expect(bulkhead.getStats()).toMatchObject({
      rejectedExecutions: 2,
      rejections: { isolated: 2 },
    });
    bulkhead.release();
    bulkhead.release();
    expect(reasons).toEqual(["maintenance", "isolated", "isolated", "released"]);
    busy.open();
    await running;
  });
});

describe("a shared circuit", () => {
  const config = { name: "api", failureThreshold: 1, successThreshold: 2, isolationDuration: 10 };

  it("emits no change when only its lease changes hands", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = new Bulkhead(config, { circuitStorage: storage });
    const changes: string[] = [];
    bulkhead.on("stateChange", ({ from, to }) => changes.push(`${from} → ${to}`));
    const events: string[] = [];
    bulkhead.breaker?.on("halfOpen", () => events.push("halfOpen"));
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await pass(10_000);
    await passCalls(bulkhead, 2);
    expect(changes).toEqual(["CLOSED → OPEN", "OPEN → HALF_OPEN", "HALF_OPEN → CLOSED"]);
    expect(events).toEqual(["halfOpen"]);
    await bulkhead.shutdown();
  });

  it("keeps its lease with each probe that succeeds", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = new Bulkhead(config, { circuitStorage: storage });
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await pass(10_000);
    await passCalls(bulkhead, 1);
    await pass(1);
    expect(storage.asked).toEqual([
      "load",
      "change to OPEN",
      "change to HALF_OPEN",
      "change to HALF_OPEN",
    ]);
    await bulkhead.shutdown();
  });
});
