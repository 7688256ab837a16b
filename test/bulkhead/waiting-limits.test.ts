import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig, BulkheadFullError } from "../../src/index.js";
import { started } from "../helpers/gate.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "served",
    (error: { code?: string; phase?: string }) => [error.code, error.phase].join(" ").trim(),
  );

function small(config: Partial<BulkheadConfig> = {}) {
  return new Bulkhead({ name: "api", maxConcurrentCalls: 1, failureThreshold: 1, ...config });
}

describe("maxWaitSeconds", () => {
  it("rejects a call that waits longer, as a timeout of the phase waiting, and moves no circuit", async () => {
    const bulkhead = small({ maxWaitSeconds: 1 });
    const events: unknown[] = [];
    bulkhead.on("timeout", ({ phase }) => events.push(phase));
    const running = bulkhead.execute(sleep, 5000);
    await started();
    const fn = vi.fn();
    const waiting = bulkhead.execute(fn);
    const outcome = expect(waiting).rejects.toMatchObject({
      code: "ERR_BULKHEAD_TIMEOUT",
      phase: "waiting",
      queuedSeconds: 1,
      message:
        'A call of bulkhead "api" timed out after 1.000 s: it was still waiting for a permit',
    });
    await pass(999);
    expect(bulkhead.getStats().queuedTasks).toBe(1);
    await pass(1);
    await outcome;
    expect(bulkhead.getStats()).toMatchObject({
      queuedTasks: 0,
      rejections: { timeout: 1 },
      circuitStatus: "CLOSED",
    });
    expect(events).toEqual(["waiting"]);
    await pass(4000);
    await running;
    expect(fn).not.toHaveBeenCalled();
  });

  it("does not limit a call that runs, nor one that finds a permit free", async () => {
    const bulkhead = small({ maxWaitSeconds: 1 });
    const first = bulkhead.execute(sleep, 900);
    await started();
    const second = bulkhead.execute(sleep, 3000);
    await pass(900);
    await pass(3000);
    expect(await first).toMatchObject({ success: true });
    expect(await second).toMatchObject({ success: true, queuedTime: 0.9, executionTime: 3 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("leaves the rest of timeoutSeconds to the function once the call has started", async () => {
    const bulkhead = small({ maxWaitSeconds: 1, timeoutSeconds: 2 });
    const running = bulkhead.execute(sleep, 500);
    await started();
    const call = code(bulkhead.execute(sleep, 5000));
    await pass(1999);
    expect(bulkhead.getStats().activeTasks).toBe(1);
    await pass(1);
    expect(await call).toBe("ERR_BULKHEAD_TIMEOUT running");
    await running;
  });

  it("ends the wait of a call that has a longer timeoutSeconds, too", async () => {
    const bulkhead = small({ maxWaitSeconds: 1, timeoutSeconds: 5 });
    const running = bulkhead.execute(sleep, 3000);
    await started();
    const call = code(bulkhead.execute(sleep, 1));
    await pass(1000);
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, rejections: { timeout: 1 } });
    expect(await call).toBe("ERR_BULKHEAD_TIMEOUT waiting");
    await pass(2000);
    await running;
  });

  it("gives way to a shorter timeoutSeconds", async () => {
    const bulkhead = small({ maxWaitSeconds: 5, timeoutSeconds: 1 });
    const running = bulkhead.run(() => sleep(3000), { timeoutSeconds: null });
    await started();
    const call = code(bulkhead.execute(sleep, 1));
    await pass(1000);
    expect(await call).toBe("ERR_BULKHEAD_TIMEOUT waiting");
    await pass(2000);
    await running;
  });

  it("starts a call whose rest of maxWaitSeconds is shorter than the typical run time, which only timeoutSeconds has to cover", async () => {
    const bulkhead = small({ maxWaitSeconds: 1 });
    for (let n = 0; n < 10; n++) {
      const call = bulkhead.execute(sleep, 900);
      await pass(900);
      await call;
    }
    const running = bulkhead.execute(sleep, 900);
    await started();
    const waiting = code(bulkhead.execute(sleep, 900));
    await pass(1800);
    await running;
    expect(await waiting).toBe("served");
  });
});

describe("queueTargetSeconds", () => {
  /** Ten calls, each of 100 ms, come at once: one after the other they would wait up to 0.9 s. */
  async function burst(bulkhead: Bulkhead): Promise<string[]> {
    const calls = Array.from({ length: 10 }, () => code(bulkhead.execute(sleep, 100)));
    await pass(2000);
    return Promise.all(calls);
  }

  it("rejects calls that have waited longer than it when the queue was not empty for twice that time", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.25 });
    const reasons: string[] = [];
    bulkhead.on("rejected", ({ reason }) => reasons.push(reason));
    const outcomes = await burst(bulkhead);
    expect(reasons).toEqual(Array(5).fill("full"));
    // The turns come after 0.1, 0.2, … s; from 0.5 s on everyone has waited too long.
    expect(outcomes.slice(0, 5)).toEqual(Array(5).fill("served"));
    expect(outcomes.slice(5)).toEqual(Array(5).fill("ERR_BULKHEAD_FULL"));
    expect(bulkhead.getStats()).toMatchObject({
      successfulExecutions: 5,
      rejections: { full: 5 },
      queuedTasks: 0,
      circuitStatus: "CLOSED",
    });
  });

  it("rejects them also while more calls keep coming", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.25 });
    const calls: Promise<string>[] = [];
    for (let n = 0; n < 14; n++) {
      calls.push(code(bulkhead.execute(sleep, 100)));
      await pass(50);
    }
    expect(bulkhead.getStats().rejections.full).toBeGreaterThan(0);
    await pass(2000);
    await Promise.all(calls);
  });

  it("says in the error that the call waited too long", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.05 });
    const calls = [1, 2, 3].map(() =>
      bulkhead.execute(sleep, 100).catch((error: unknown) => error),
    );
    await pass(1000);
    expect((await Promise.all(calls))[2]).toMatchObject({
      code: "ERR_BULKHEAD_FULL",
      message:
        'Bulkhead "api" is full: the call waited longer than 0.05 s (queueTargetSeconds) in a queue that does not get empty',
    });
  });

  it("serves a burst that is over before that", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.5 });
    expect(await burst(bulkhead)).toEqual(Array(10).fill("served"));
  });

  it("begins anew when the queue was empty", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.25 });
    for (let n = 0; n < 3; n++) {
      const calls = [1, 2, 3, 4].map(() => code(bulkhead.execute(sleep, 100)));
      await pass(400);
      expect(await Promise.all(calls)).toEqual(Array(4).fill("served"));
    }
  });

  it("serves first in, first out also while it rejects", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.05 });
    const order: number[] = [];
    const calls: Promise<unknown>[] = [];
    const waitsOfRejected: number[] = [];
    const waitsOfServed: number[] = [];
    for (let n = 0; n < 40; n++) {
      const cameAt = Date.now();
      const task = () => {
        order.push(n);
        waitsOfServed.push(Date.now() - cameAt);
        return sleep(100);
      };
      calls.push(
        bulkhead.execute(task).catch(() => {
          waitsOfRejected.push(Date.now() - cameAt);
        }),
      );
      await pass(20);
    }
    await pass(5000);
    await Promise.all(calls);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    const { rejections, totalExecutions } = bulkhead.getStats();
    expect(rejections.full + totalExecutions).toBe(40);
    expect(rejections.full).toBeGreaterThan(0);
    // The target is 50 ms; at first a burst is let through.
    expect(waitsOfRejected.every((ms) => ms > 50)).toBe(true);
    expect(waitsOfServed.slice(3).every((ms) => ms <= 50)).toBe(true);
  });

  it("is to opossum's listeners a locked semaphore, in the context of the rejected call", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.1 });
    const locked = vi.fn();
    bulkhead.breaker?.on("semaphoreLocked", locked);
    await burst(bulkhead);
    expect(locked).toHaveBeenCalledTimes(bulkhead.getStats().rejections.full);
    expect(bulkhead.breaker?.stats.semaphoreRejections).toBe(bulkhead.getStats().rejections.full);
  });

  it("gives back the place of a probe that it rejects", async () => {
    const bulkhead = small({ queueTargetSeconds: 0.1, successThreshold: 2, isolationDuration: 1 });
    const slow = bulkhead.execute(sleep, 1500);
    await started();
    bulkhead.breaker?.open();
    await pass(1000);
    const probes = [1, 2].map(() => code(bulkhead.execute(sleep, 1)));
    await pass(500);
    await slow;
    expect(await Promise.all(probes)).toEqual(Array(2).fill("ERR_BULKHEAD_FULL"));
    for (let n = 0; n < 2; n++) {
      const call = bulkhead.execute(sleep, 1);
      await pass(1);
      await call;
    }
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });
});

describe("BulkheadFullError.retryAfterSeconds", () => {
  const rejection = (bulkhead: Bulkhead) =>
    bulkhead
      .execute(() => 1)
      .then(
        () => expect.unreachable("it was served"),
        (error: unknown) => error,
      );

  it("is the queue's length times the typical run time, over the permits", async () => {
    const bulkhead = small({ maxConcurrentCalls: 2, maxQueueSize: 3 });
    for (let n = 0; n < 10; n++) {
      const call = bulkhead.execute(sleep, 200);
      await pass(200);
      await call;
    }
    const calls = Array.from({ length: 5 }, () => bulkhead.execute(sleep, 200));
    await started();
    const error = await rejection(bulkhead);
    expect(error).toBeInstanceOf(BulkheadFullError);
    expect(error).toMatchObject({ retryAfterSeconds: expect.closeTo((3 * 0.2) / 2, 9) });
    await pass(1000);
    await Promise.all(calls);
  });

  it("is 0 until ten calls have succeeded", async () => {
    const bulkhead = small({ maxQueueSize: 1 });
    const calls = [1, 2].map(() => bulkhead.execute(sleep, 200));
    await started();
    expect(await rejection(bulkhead)).toMatchObject({ retryAfterSeconds: 0 });
    await pass(400);
    await Promise.all(calls);
  });
});
