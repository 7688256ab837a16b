import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig, type BulkheadConfigChanges } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { type Gate, gate, started } from "../helpers/gate.js";

const of = (config: Partial<BulkheadConfig> = {}) =>
  new Bulkhead({ name: "api", maxConcurrentCalls: 2, ...config });

/** Calls that run until they are opened, and how many of them run. */
function busy(bulkhead: Bulkhead, count: number) {
  const gates: Gate<void>[] = [];
  const calls = Array.from({ length: count }, () =>
    bulkhead.call(() => {
      const work = gate();
      gates.push(work);
      return work.promise;
    }),
  );
  for (const call of calls) call.catch(() => {});
  return { gates, calls };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("configure()", () => {
  it("replaces bulkhead.config by a frozen object with the changes", () => {
    const bulkhead = of();
    const before = bulkhead.config;
    bulkhead.configure({ maxConcurrentCalls: 5, timeoutSeconds: 1 });
    expect(bulkhead.config).toEqual({ ...before, maxConcurrentCalls: 5, timeoutSeconds: 1 });
    expect(bulkhead.config).not.toBe(before);
    expect(before.maxConcurrentCalls).toBe(2);
    expect(Object.isFrozen(bulkhead.config)).toBe(true);
    expect(bulkhead.getStats().maxConcurrentCalls).toBe(5);
  });

  it.each<[unknown, new (message: string) => Error, string]>([
    [{ maxConcurrentCalls: 0 }, RangeError, "maxConcurrentCalls must be an integer of at least 1"],
    [{ timeoutSeconds: "1" }, TypeError, "timeoutSeconds must be a number of seconds"],
    [{ name: "other" }, TypeError, "name cannot be changed; got 'other'"],
    [{ circuitBreakerEnabled: false }, TypeError, "circuitBreakerEnabled cannot be changed"],
    [{ timeout: 5 }, TypeError, 'did you mean "timeoutSeconds"'],
    [{ failureThreshold: null }, RangeError, "Nothing could open the circuit"],
    [null, TypeError, "changes must be an object; got null"],
  ])("throws for %o, and changes nothing, not even the valid fields", (changes, type, message) => {
    const bulkhead = of();
    const configured = vi.fn();
    bulkhead.on("configured", configured);
    const before = bulkhead.config;
    const given = changes === null ? changes : { maxQueueSize: 1, ...(changes as object) };
    const configure = () => bulkhead.configure(given as BulkheadConfigChanges);
    expect(configure).toThrow(type);
    expect(configure).toThrow(message);
    expect(bulkhead.config).toBe(before);
    expect(configured).not.toHaveBeenCalled();
  });

  it("emits configured with the fields that have other values now, and not without one", () => {
    const bulkhead = of({ isolationDuration: { min: 1, max: 2 } });
    const configured = vi.fn();
    bulkhead.on("configured", configured);
    bulkhead.configure({ maxConcurrentCalls: 2, isolationDuration: { min: 1, max: 2, factor: 2 } });
    bulkhead.configure({});
    expect(configured).not.toHaveBeenCalled();
    bulkhead.configure({ maxConcurrentCalls: 3, maxQueueSize: 100, timeoutSeconds: 1 });
    expect(configured.mock.calls).toEqual([
      [
        {
          config: bulkhead.config,
          changed: ["maxConcurrentCalls", "timeoutSeconds"],
          by: "program",
        },
      ],
    ]);
  });

  it("gives a field its default when it is undefined", () => {
    const bulkhead = of({ errorFilter: () => true, timeoutSeconds: 1 });
    bulkhead.configure({ errorFilter: undefined, classify: () => "success" });
    expect(bulkhead.config).toMatchObject({ errorFilter: undefined, timeoutSeconds: 1 });
  });
});

describe("a limit that changes", () => {
  it("serves the queue at once when it is raised", async () => {
    const bulkhead = of();
    const { gates, calls } = busy(bulkhead, 5);
    await started();
    expect(gates).toHaveLength(2);
    bulkhead.configure({ maxConcurrentCalls: 4 });
    await started();
    expect(gates).toHaveLength(4);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 4, queuedTasks: 1 });
    for (const work of gates) work.open();
    await started();
    gates[4]?.open();
    await Promise.all(calls);
  });

  it("cuts no call when it is lowered, and starts none until fewer run", async () => {
    const bulkhead = of({ maxConcurrentCalls: 4 });
    const { gates, calls } = busy(bulkhead, 6);
    await started();
    bulkhead.configure({ maxConcurrentCalls: 2 });
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 4, queuedTasks: 2 });
    for (const [ended, running] of [3, 2, 2, 2].entries()) {
      gates[ended]?.open();
      await started();
      expect(bulkhead.getStats().activeTasks).toBe(running);
    }
    for (const work of gates) work.open();
    await Promise.all(calls);
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 6, activeTasks: 0 });
    const later = busy(bulkhead, 3);
    await started();
    expect(later.gates).toHaveLength(2);
    for (const work of later.gates) work.open();
    await started();
    later.gates[2]?.open();
    await Promise.all(later.calls);
  });

  it("keeps the whole queue open to calls while more functions run than the lowered limit allows", async () => {
    const bulkhead = of({ maxConcurrentCalls: 3, maxQueueSize: 1 });
    const { gates, calls } = busy(bulkhead, 3);
    await started();
    bulkhead.configure({ maxConcurrentCalls: 1 });
    const queued = bulkhead.call(() => "queued");
    await expect(bulkhead.call(() => 1)).rejects.toMatchObject({ code: "ERR_BULKHEAD_FULL" });
    for (const work of gates) work.open();
    expect(await queued).toBe("queued");
    await Promise.all(calls);
  });

  it("holds when it is lowered and raised again in one turn, before its lanes are open", async () => {
    const bulkhead = of({ maxConcurrentCalls: 5 });
    const { gates, calls } = busy(bulkhead, 5);
    bulkhead.configure({ maxConcurrentCalls: 1 });
    await started();
    expect(gates).toHaveLength(1);
    bulkhead.configure({ maxConcurrentCalls: 3 });
    bulkhead.configure({ maxConcurrentCalls: 2 });
    await started();
    expect(gates).toHaveLength(2);
    for (let n = 0; n < 5; n++) {
      gates[n]?.open();
      await started();
    }
    await Promise.all(calls);
  });

  it("takes the permits of reclaimed functions back when it is lowered", async () => {
    const bulkhead = of({ timeoutSeconds: 1, reclaimAfterSeconds: 1 });
    const { calls } = busy(bulkhead, 2);
    await started();
    await vi.advanceTimersByTimeAsync(1000);
    bulkhead.configure({ maxConcurrentCalls: 1, timeoutSeconds: null });
    await vi.advanceTimersByTimeAsync(1000);
    await Promise.allSettled(calls);
    const later = busy(bulkhead, 2);
    await started();
    expect(later.gates).toHaveLength(1);
    later.gates[0]?.open();
    await started();
    later.gates[1]?.open();
    await Promise.all(later.calls);
  });

  it("rejects the next call when the queue's limit is lowered, and keeps the calls that wait", async () => {
    const bulkhead = of({ maxConcurrentCalls: 1, maxQueueSize: 3 });
    const { gates, calls } = busy(bulkhead, 4);
    await started();
    bulkhead.configure({ maxQueueSize: 1 });
    await expect(bulkhead.call(() => 1)).rejects.toMatchObject({ code: "ERR_BULKHEAD_FULL" });
    for (let n = 0; n < 4; n++) {
      gates[n]?.open();
      await started();
    }
    await Promise.all(calls);
  });
});

describe("a time limit that changes", () => {
  it("holds for the calls that come from then on", async () => {
    const bulkhead = of({ timeoutSeconds: 10 });
    const { gates, calls } = busy(bulkhead, 1);
    bulkhead.configure({ timeoutSeconds: 1 });
    const late = expect(bulkhead.call(() => new Promise(() => {}))).rejects.toThrow(
      "timed out after 1.000 s",
    );
    await vi.advanceTimersByTimeAsync(1000);
    await late;
    gates[0]?.open();
    await Promise.all(calls);
    bulkhead.configure({ timeoutSeconds: null, reclaimAfterSeconds: 0 });
    await vi.advanceTimersByTimeAsync(30_000);
  });

  it("limits the wait, and the delay of the queue, from then on", async () => {
    const bulkhead = of({ maxConcurrentCalls: 1 });
    const { gates } = busy(bulkhead, 1);
    bulkhead.configure({ maxWaitSeconds: 1 });
    const late = expect(bulkhead.call(() => 1)).rejects.toMatchObject({ phase: "waiting" });
    await vi.advanceTimersByTimeAsync(1000);
    await late;
    bulkhead.configure({ maxWaitSeconds: null, queueTargetSeconds: 1 });
    const overdue = expect(bulkhead.call(() => 1)).rejects.toThrow("queueTargetSeconds");
    await vi.advanceTimersByTimeAsync(2000);
    gates[0]?.open();
    await overdue;
  });
});

describe("a circuit whose rules change", () => {
  it("opens by the new failureThreshold", async () => {
    const bulkhead = of();
    await failCalls(bulkhead, 2);
    bulkhead.configure({ failureThreshold: 3 });
    await failCalls(bulkhead, 1);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("keeps the end of an isolation that is under way", async () => {
    const bulkhead = of({ failureThreshold: 1, isolationDuration: 10, successThreshold: 1 });
    await failCalls(bulkhead, 1);
    bulkhead.configure({ isolationDuration: 1 });
    await vi.advanceTimersByTimeAsync(9000);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    await vi.advanceTimersByTimeAsync(1000);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
  });

  it("switches a rate of failures on, and off again", async () => {
    const bulkhead = of({ failureThreshold: null, failureRateThreshold: 100, minimumCalls: 2 });
    bulkhead.configure({ failureRateThreshold: null, failureThreshold: 9 });
    await failCalls(bulkhead, 4);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    bulkhead.configure({ failureRateThreshold: 50 });
    await failCalls(bulkhead, 2);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("switches slow calls on, and off again", async () => {
    const bulkhead = of({ minimumCalls: 1 });
    bulkhead.configure({ slowCallSeconds: 1 });
    const first = busy(bulkhead, 1);
    await started();
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    first.gates[0]?.open();
    bulkhead.breaker?.close();
    const second = busy(bulkhead, 1);
    await started();
    bulkhead.configure({ slowCallSeconds: null });
    await vi.advanceTimersByTimeAsync(1000);
    second.gates[0]?.open();
    await second.calls[0];
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("shortens the window: what it has counted leaves sooner", async () => {
    const bulkhead = of({
      failureThreshold: null,
      failureRateThreshold: 100,
      minimumCalls: 3,
      windowSeconds: 1000,
    });
    await failCalls(bulkhead, 2);
    bulkhead.configure({ windowSeconds: 1 });
    await vi.advanceTimersByTimeAsync(2000);
    await failCalls(bulkhead, 1);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    expect(bulkhead.breaker?.stats.failures).toBe(1);
    expect(Reflect.get(bulkhead.breaker ?? {}, "options")).toMatchObject({
      rollingCountTimeout: 1000,
    });
  });

  it.each([
    [3, 1, 1],
    [1, 3, 3],
    [2, 2, 2],
  ])(
    "closes after %i, then %i needed probes that succeed, while it is half-open",
    async (before, after, needed) => {
      const bulkhead = of({ failureThreshold: 1, isolationDuration: 0, successThreshold: before });
      await failCalls(bulkhead, 1);
      expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
      bulkhead.configure({ successThreshold: after });
      for (let probe = 1; probe <= needed; probe++) {
        expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
        await bulkhead.call(() => 1);
      }
      expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    },
  );

  it("closes with the next success when fewer are needed than have succeeded", async () => {
    const bulkhead = of({ failureThreshold: 1, isolationDuration: 0, successThreshold: 4 });
    await failCalls(bulkhead, 1);
    await bulkhead.call(() => 1);
    await bulkhead.call(() => 1);
    bulkhead.configure({ successThreshold: 1 });
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    await vi.advanceTimersByTimeAsync(30_000);
    await bulkhead.call(() => 1);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("judges by the new classify", async () => {
    const bulkhead = of({ failureThreshold: 1 });
    bulkhead.configure({ classify: ({ result }) => (result === "bad" ? "failure" : "success") });
    await bulkhead.call(() => "bad");
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });
});

describe("a health check that changes", () => {
  it("runs at the new interval, and not after it is taken away", async () => {
    const first = vi.fn();
    const second = vi.fn();
    const bulkhead = of({ healthCheck: first, healthCheckInterval: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    bulkhead.configure({ healthCheck: second, healthCheckInterval: 2 });
    await vi.advanceTimersByTimeAsync(4000);
    expect([first, second].map((check) => check.mock.calls.length)).toEqual([1, 2]);
    bulkhead.configure({ healthCheck: undefined });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("does not start after a shutdown", async () => {
    const bulkhead = of();
    await bulkhead.shutdown();
    bulkhead.configure({ healthCheck: () => true });
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a change in the middle of something", () => {
  it("takes effect as a whole before a listener of configured looks", () => {
    const bulkhead = of();
    const seen: number[] = [];
    bulkhead.on("configured", ({ config }) => {
      seen.push(config.maxConcurrentCalls, bulkhead.getStats().maxConcurrentCalls);
      if (seen.length < 4) bulkhead.configure({ maxConcurrentCalls: 9 });
    });
    bulkhead.configure({ maxConcurrentCalls: 7 });
    expect(seen).toEqual([7, 7, 9, 9]);
  });
});
