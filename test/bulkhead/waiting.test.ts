import { AsyncLocalStorage } from "node:async_hooks";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadCircuitOpenError, BulkheadTimeoutError } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { gate, started } from "../helpers/gate.js";

describe("waiting (rule 2)", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  it("is first in, first out", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2 });
    const order: number[] = [];
    const gates = Array.from({ length: 6 }, () => gate());
    const calls = gates.map(({ promise }, n) =>
      bulkhead.execute(() => {
        order.push(n);
        return promise;
      }),
    );
    for (const n of [1, 0, 3, 2, 5, 4]) {
      gates[n]?.open();
      await vi.advanceTimersByTimeAsync(0);
    }
    await Promise.all(calls);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it("ends at the deadline: the call leaves the queue at once and never starts", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      maxQueueSize: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: null,
    });
    const busy = gate();
    const running = bulkhead.run(() => busy.promise, { timeoutSeconds: null });
    const late = vi.fn();
    await started();
    const waiting = bulkhead.execute(late);
    const told = expect(waiting).rejects.toThrow(/timed out after 1\.\d+ s: it was still waiting/);
    expect(bulkhead.getStats().queuedTasks).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    await told;
    expect(bulkhead.getStats()).toMatchObject({
      queuedTasks: 0,
      rejectedExecutions: 1,
      failedExecutions: 0,
      timedOutExecutions: 0,
      rejections: { timeout: 1 },
    });
    const next = bulkhead.execute(() => "has the place");
    busy.open();
    await running;
    expect((await next).result).toBe("has the place");
    expect(late).not.toHaveBeenCalled();
  });

  it("is no wait when a permit is free: the call starts, also when a faked clock has gone on already", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    const work = vi.fn(() => new Promise(() => {}));
    const call = bulkhead.execute(work).catch((error: unknown) => error);
    vi.advanceTimersByTime(1000);
    expect(await call).toMatchObject({ message: expect.stringContaining("still running") });
    expect(work).toHaveBeenCalledOnce();
    expect(bulkhead.getStats()).toMatchObject({ timedOutExecutions: 1, rejectedExecutions: 0 });
  });

  it("ends when the caller aborts, with the caller's reason", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await started();
    const controller = new AbortController();
    const late = vi.fn();
    const waiting = bulkhead.run(late, { signal: controller.signal });
    const reason = { why: "the client went away" };
    const told = expect(waiting).rejects.toBe(reason);
    controller.abort(reason);
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, rejections: { aborted: 1 } });
    await told;
    busy.open();
    await running;
    expect(late).not.toHaveBeenCalled();
  });

  it("ends when the caller aborts, also when another call with the same signal has ended before", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const controller = new AbortController();
    const { signal } = controller;
    const [first, second] = [gate(), gate()];
    const running = bulkhead.run(() => first.promise, { signal });
    const next = bulkhead.run(() => second.promise, { signal });
    const queued = bulkhead.run(() => 1, { signal });
    first.open();
    await running;
    const outcomes = Promise.allSettled([next, queued]);
    controller.abort("gone");
    expect(await outcomes).toEqual([
      { status: "rejected", reason: "gone" },
      { status: "rejected", reason: "gone" },
    ]);
    second.open();
    await vi.advanceTimersByTimeAsync(0);
  });

  it("ends for all queued calls when the circuit opens", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, failureThreshold: 1 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const late = vi.fn();
    const waiting = [1, 2, 3].map(() => bulkhead.execute(late).catch((error: unknown) => error));
    busy.fail(new Error("down"));
    await running;
    for (const outcome of await Promise.all(waiting)) {
      expect(outcome).toBeInstanceOf(BulkheadCircuitOpenError);
    }
    expect(late).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, rejections: { circuitOpen: 3 } });
  });

  it("counts waiting and running together towards the deadline", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, timeoutSeconds: 1 });
    const first = gate();
    const second = gate();
    const one = bulkhead.execute(() => first.promise);
    const two = bulkhead.execute(() => second.promise);
    const told = expect(two).rejects.toThrow(/its function was still running/);
    await vi.advanceTimersByTimeAsync(600);
    first.open();
    await one;
    await vi.advanceTimersByTimeAsync(399);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, failedExecutions: 0 });
    await vi.advanceTimersByTimeAsync(1);
    await told;
    second.open();
    await vi.advanceTimersByTimeAsync(0);
  });

  it("does not start a call whose time ran out while the event loop was blocked", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, timeoutSeconds: 1 });
    const first = bulkhead.execute(async () => {
      await Promise.resolve();
      // The clock moves on, and no timer has had its turn.
      vi.spyOn(performance, "now").mockReturnValue(performance.now() + 1500);
    });
    const started = vi.fn();
    const second = expect(bulkhead.execute(started)).rejects.toThrow("still waiting for a permit");
    expect((await first).success).toBe(true);
    await second;
    expect(started).not.toHaveBeenCalled();
    vi.restoreAllMocks();
  });

  it("lets a per-call timeout differ from the configured one, in both directions", async () => {
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    const never = new Promise(() => {});
    const ended: string[] = [];
    const call = (name: string, timeoutSeconds?: number | null) =>
      bulkhead
        .run(() => never, { timeoutSeconds })
        .catch((error: unknown) => {
          expect(error).toBeInstanceOf(BulkheadTimeoutError);
          ended.push(name);
        });
    const calls = [call("long", 2), call("configured"), call("short", 0.5)];
    await vi.advanceTimersByTimeAsync(2000);
    await Promise.all(calls);
    expect(ended).toEqual(["short", "configured", "long"]);
  });

  it("times 10,000 waiting calls out together, on one timer", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      maxQueueSize: 10_000,
      timeoutSeconds: 1,
      circuitBreakerEnabled: false,
    });
    const busy = gate();
    const running = bulkhead.run(() => busy.promise, { timeoutSeconds: null });
    const waiting = Array.from({ length: 10_000 }, (_, n) =>
      bulkhead.execute(() => n).catch((error: unknown) => error),
    );
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    const outcomes = await Promise.all(waiting);
    expect(outcomes.every((outcome) => outcome instanceof BulkheadTimeoutError)).toBe(true);
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, rejections: { timeout: 10_000 } });
    busy.open();
    await running;
  });

  it("runs 10,000 waiting synchronous functions without growing the stack", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 10_000 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const calls = Array.from({ length: 10_000 }, (_, n) => bulkhead.execute(() => n));
    busy.open();
    await running;
    const results = await Promise.all(calls);
    expect(results.map(({ result }) => result)).toEqual(
      Array.from({ length: 10_000 }, (_, n) => n),
    );
  });

  it("rejects without a timer and without a place in the queue", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1, timeoutSeconds: 5 });
    await failCalls(bulkhead, 1);
    const refused = bulkhead.execute(() => 1);
    expect(vi.getTimerCount()).toBe(0);
    expect(bulkhead.getStats().queuedTasks).toBe(0);
    await expect(refused).rejects.toBeInstanceOf(BulkheadCircuitOpenError);
  });
});

describe("a call that waited", () => {
  it("runs in the async context of its caller, not of the call that freed the permit", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const request = new AsyncLocalStorage<string>();
    const busy = gate();
    const seen: unknown[] = [];
    const see = async () => {
      seen.push(request.getStore());
      await busy.promise;
      seen.push(request.getStore());
    };
    const calls = ["first", "second", "third"].map((id) =>
      request.run(id, () => bulkhead.execute(see)),
    );
    busy.open();
    await Promise.all(calls);
    expect(seen).toEqual(["first", "first", "second", "second", "third", "third"]);
  });
});
