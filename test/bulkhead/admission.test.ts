import { describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadShutdownError,
} from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { gate, started } from "../helpers/gate.js";

/** A bulkhead for which every reason to reject holds at once. */
async function refusingForEveryReason() {
  const bulkhead = new Bulkhead({
    name: "api",
    maxConcurrentCalls: 1,
    maxQueueSize: 0,
    failureThreshold: 1,
  });
  const busy = gate();
  const running = bulkhead.execute(() => busy.promise);
  bulkhead.breaker?.open();
  bulkhead.isolate("maintenance");
  await bulkhead.shutdown();
  return { bulkhead, busy, running };
}

describe("admission (rule 1)", () => {
  it("rejects in the order shut down, isolated, circuit open, full", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 0 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const attempt = () => bulkhead.execute(() => 1).catch((error: unknown) => error);

    expect(await attempt()).toBeInstanceOf(BulkheadFullError);
    bulkhead.breaker?.open();
    expect(await attempt()).toBeInstanceOf(BulkheadCircuitOpenError);
    bulkhead.isolate();
    expect(await attempt()).toBeInstanceOf(BulkheadIsolationError);
    await bulkhead.shutdown();
    expect(await attempt()).toBeInstanceOf(BulkheadShutdownError);

    busy.open();
    expect((await running).success).toBe(true);
    expect(bulkhead.getStats().rejections).toEqual({
      full: 1,
      circuitOpen: 1,
      isolated: 1,
      shutdown: 1,
      timeout: 0,
      aborted: 0,
    });
  });

  it.each([
    ["shuts down", "ERR_BULKHEAD_SHUTDOWN", (bulkhead: Bulkhead) => bulkhead.shutdown()],
    ["isolates", "ERR_BULKHEAD_ISOLATION", (bulkhead: Bulkhead) => bulkhead.isolate()],
  ] as const)(
    "rejects the call whose own admission %s the bulkhead, in a listener",
    async (_, code, end) => {
      const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1, isolationDuration: 0 });
      bulkhead.on("stateChange", ({ to }) => {
        if (to === "HALF_OPEN") void end(bulkhead);
      });
      await failCalls(bulkhead, 1);
      await expect(bulkhead.execute(() => "late")).rejects.toMatchObject({ code });
      expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 1, activeTasks: 0 });
    },
  );

  it("never calls the function of a rejected call", async () => {
    const { bulkhead, busy, running } = await refusingForEveryReason();
    let calls = 0;
    await expect(bulkhead.execute(() => calls++)).rejects.toBeInstanceOf(BulkheadShutdownError);
    expect(calls).toBe(0);
    busy.open();
    await running;
  });

  it("rejects the 3rd call when 2 run and none may wait", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2, maxQueueSize: 0 });
    const busy = gate();
    const running = [1, 2].map(() => bulkhead.execute(() => busy.promise));
    await expect(bulkhead.execute(() => 3)).rejects.toThrow(
      'Bulkhead "api" is full: 2 of 2 permits and 0 of 0 queue places are taken',
    );
    busy.open();
    await Promise.all(running);
    expect((await bulkhead.execute(() => 4)).result).toBe(4);
  });

  it("lets maxQueueSize calls wait and rejects the next", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 2 });
    const busy = gate();
    const accepted = [1, 2, 3].map((n) => bulkhead.execute(() => busy.promise.then(() => n)));
    await started();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, queuedTasks: 2 });
    await expect(bulkhead.execute(() => 4)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_FULL",
      bulkheadName: "api",
    });
    busy.open();
    expect((await Promise.all(accepted)).map(({ result }) => result)).toEqual([1, 2, 3]);
  });

  it("never rejects calls one after another, also without a queue", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 0 });
    for (let n = 0; n < 100; n++) {
      expect((await bulkhead.execute(async () => n)).result).toBe(n);
      expect((await bulkhead.execute(() => n)).result).toBe(n);
    }
  });

  it("rejects with the seconds until a call is admitted when the circuit is open", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1, isolationDuration: 30 });
    await failCalls(bulkhead, 1);
    const error = await bulkhead.execute(() => 1).catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(BulkheadCircuitOpenError);
    const { retryAfterSeconds } = error as BulkheadCircuitOpenError;
    expect(retryAfterSeconds).toBeGreaterThan(0);
    expect(retryAfterSeconds).toBeLessThanOrEqual(30);
  });

  it.each([undefined, null, 1, "fn", {}, [], Symbol("fn")])(
    "rejects %o instead of a function with a TypeError, and does not count it",
    async (given) => {
      const bulkhead = new Bulkhead({ name: "api" });
      const rejected = (call: Promise<unknown>) => call.catch((error: unknown) => error);
      for (const [what, error] of [
        ["fn", await rejected(bulkhead.call(given as never))],
        ["fn", await rejected(bulkhead.execute(given as never))],
        ["task", await rejected(bulkhead.run(given as never))],
      ]) {
        expect(error).toBeInstanceOf(TypeError);
        expect(String(error)).toMatch(`TypeError: ${what} must be a function; got `);
      }
      expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 0, rejectedExecutions: 0 });
    },
  );
});

describe("isHealthy", () => {
  it("is true while the bulkhead is healthy or degraded, and false otherwise", async () => {
    vi.useFakeTimers();
    const bulkhead = new Bulkhead({ name: "api", isolationDuration: 10 });
    const look = () => [bulkhead.getState(), bulkhead.isHealthy()];
    expect(look()).toEqual(["healthy", true]);
    bulkhead.breaker?.open();
    expect(look()).toEqual(["isolated", false]);
    vi.advanceTimersByTime(10_000);
    expect(look()).toEqual(["degraded", true]);
    await bulkhead.shutdown();
    expect(look()).toEqual(["failed", false]);
    vi.useRealTimers();
  });
});

describe("manual isolation", () => {
  it("rejects new and queued calls until it is released, and lets running calls end", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const busy = gate<string>();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = bulkhead.execute(() => "never");
    bulkhead.isolate("the vendor asked for it");
    await expect(waiting).rejects.toThrow(
      'Bulkhead "api" is isolated by hand: the vendor asked for it',
    );
    expect(bulkhead.getState()).toBe("isolated");
    expect(bulkhead.isHealthy()).toBe(false);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    busy.open("done");
    expect((await running).result).toBe("done");
    bulkhead.release();
    expect(bulkhead.getState()).toBe("healthy");
    expect((await bulkhead.execute(() => "again")).result).toBe("again");
  });

  it.each([Symbol("why"), 1, {}])(
    "throws TypeError when the reason is no string: %o",
    async (reason) => {
      const bulkhead = new Bulkhead({ name: "api" });
      expect(() => bulkhead.isolate(reason as string)).toThrow(/^reason must be a string; got /);
      expect(bulkhead.getState()).toBe("healthy");
    },
  );

  it("works without a circuit too, and a release without an isolation does nothing", async () => {
    const bulkhead = new Bulkhead({ name: "api", circuitBreakerEnabled: false });
    bulkhead.release();
    bulkhead.isolate();
    await expect(bulkhead.execute(() => 1)).rejects.toThrow('Bulkhead "api" is isolated by hand');
    bulkhead.release();
    expect((await bulkhead.execute(() => 1)).success).toBe(true);
  });
});
