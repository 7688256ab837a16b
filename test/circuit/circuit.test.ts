import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadTimeoutError,
  type StateChangeEvent,
} from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { gate, started } from "../helpers/gate.js";
import { CIRCUIT_OPEN } from "../helpers/rejections.js";

function bulkheadWith(config: Omit<BulkheadConfig, "name">) {
  const bulkhead = new Bulkhead({ name: "api", ...config });
  const changes: string[] = [];
  bulkhead.on("stateChange", ({ from, to, reason }: StateChangeEvent) => {
    changes.push(`${from} → ${to}: ${reason}`);
  });
  return { bulkhead, changes };
}

/** Opens the circuit and lets its isolation pass. */
async function halfOpened(config: Omit<BulkheadConfig, "name"> = {}) {
  const { bulkhead, changes } = bulkheadWith({
    failureThreshold: 1,
    isolationDuration: 10,
    ...config,
  });
  await failCalls(bulkhead, 1);
  vi.advanceTimersByTime(10_000);
  expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
  changes.length = 0;
  return { bulkhead, changes };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("what opens the circuit (rule 5)", () => {
  it("failureThreshold consecutive failures, and not one fewer", async () => {
    const { bulkhead, changes } = bulkheadWith({ failureThreshold: 3 });
    await failCalls(bulkhead, 2);
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 2);
    expect(bulkhead.getState()).toBe("healthy");
    await failCalls(bulkhead, 1);
    expect(bulkhead.getState()).toBe("isolated");
    expect(changes).toEqual(["CLOSED → OPEN: 3 consecutive failures"]);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
  });

  it("no number of consecutive failures with failureThreshold: null, only the other rules", async () => {
    const { bulkhead, changes } = bulkheadWith({
      failureThreshold: null,
      failureRateThreshold: 50,
      minimumCalls: 20,
    });
    await failCalls(bulkhead, 19);
    expect(bulkhead.getState()).toBe("healthy");
    await failCalls(bulkhead, 1);
    expect(changes).toEqual(["CLOSED → OPEN: 20 of 20 calls failed within 10 s"]);
  });

  it("timeouts of calls that started", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 2,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    for (let n = 0; n < 2; n++) {
      const call = expect(bulkhead.execute(() => new Promise(() => {}))).rejects.toBeInstanceOf(
        BulkheadTimeoutError,
      );
      await vi.advanceTimersByTimeAsync(1000);
      await call;
    }
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("not waits that timed out, not rejections, not a caller's abort", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 1,
      maxConcurrentCalls: 1,
      maxQueueSize: 1,
      reclaimAfterSeconds: null,
    });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = expect(bulkhead.run(() => 1, { timeoutSeconds: 1 })).rejects.toThrow("waiting");
    await expect(bulkhead.execute(() => 1)).rejects.toThrow("full");
    await vi.advanceTimersByTimeAsync(1000);
    await waiting;
    busy.open();
    await running;
    const controller = new AbortController();
    const stopped = gate();
    const aborted = bulkhead.run(() => stopped.promise, { signal: controller.signal });
    controller.abort("enough");
    await expect(aborted).rejects.toBe("enough");
    stopped.fail(new Error("stopped"));
    await vi.advanceTimersByTimeAsync(0);
    expect(bulkhead.getState()).toBe("healthy");
  });

  it("not what errorFilter excuses, which is called with the error and the arguments", async () => {
    const excused: unknown[] = [];
    const { bulkhead } = bulkheadWith({
      failureThreshold: 2,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
      errorFilter: (error, ...args) => {
        excused.push([error, ...args]);
        return error === "not found" || error instanceof BulkheadTimeoutError;
      },
    });
    const find = (_id: number, _kind: string) => Promise.reject("not found");
    for (let n = 0; n < 3; n++) {
      expect((await bulkhead.execute(find, n, "user")).success).toBe(false);
    }
    const timedOut = bulkhead.execute(() => new Promise(() => {})).catch(() => "told");
    await vi.advanceTimersByTimeAsync(1000);
    expect(await timedOut).toBe("told");
    expect(excused).toEqual([
      ["not found", 0, "user"],
      ["not found", 1, "user"],
      ["not found", 2, "user"],
      [expect.any(BulkheadTimeoutError)],
    ]);
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 4, circuitStatus: "CLOSED" });
    await failCalls(bulkhead, 2);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("also what an errorFilter that throws could not judge, which is reported once", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const { bulkhead } = bulkheadWith({
      failureThreshold: 1,
      errorFilter: () => {
        throw new Error("filter down");
      },
    });
    await failCalls(bulkhead, 1);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    expect(warn.mock.calls).toEqual([
      ['The errorFilter of bulkhead "api" threw: filter down', "BulkheadWarning"],
    ]);
    warn.mockRestore();
  });

  it.each([true, false, new Error("filter down")])(
    "also what an asynchronous errorFilter could not judge in time: %o",
    async (answer) => {
      const errorFilter = async () => {
        if (answer instanceof Error) throw answer;
        return answer;
      };
      const { bulkhead } = bulkheadWith({
        failureThreshold: 1,
        errorFilter: errorFilter as unknown as () => boolean,
      });
      await failCalls(bulkhead, 1);
      expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
    },
  );

  it("not a result of a call that was admitted before the circuit's last change", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 2,
      isolationDuration: 10,
      successThreshold: 1,
    });
    const old = gate();
    const calls = [1, 2, 3].map(() => bulkhead.execute(() => old.promise));
    await failCalls(bulkhead, 2);
    vi.advanceTimersByTime(10_000);
    await passCalls(bulkhead, 1);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    old.fail(new Error("from before"));
    await Promise.all(calls);
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "CLOSED", failedExecutions: 5 });
  });

  it("a share of failures over the window, once minimumCalls have ended", async () => {
    const { bulkhead, changes } = bulkheadWith({
      failureThreshold: 100,
      failureRateThreshold: 50,
      minimumCalls: 4,
      windowSeconds: 10,
    });
    await failCalls(bulkhead, 1);
    await passCalls(bulkhead, 3);
    expect(bulkhead.getState()).toBe("healthy");
    await failCalls(bulkhead, 1);
    expect(bulkhead.getState()).toBe("healthy");
    await failCalls(bulkhead, 1);
    expect(changes).toEqual(["CLOSED → OPEN: 3 of 6 calls failed within 10 s"]);
  });

  it("a share of failures also when a success completes minimumCalls", async () => {
    const { bulkhead, changes } = bulkheadWith({
      failureThreshold: 100,
      failureRateThreshold: 50,
      minimumCalls: 4,
    });
    await failCalls(bulkhead, 3);
    expect(bulkhead.getState()).toBe("healthy");
    await passCalls(bulkhead, 1);
    expect(changes).toEqual(["CLOSED → OPEN: 3 of 4 calls failed within 10 s"]);
  });

  it("no failure that has left the window", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 100,
      failureRateThreshold: 50,
      minimumCalls: 2,
      windowSeconds: 10,
    });
    await failCalls(bulkhead, 1);
    vi.advanceTimersByTime(11_000);
    await passCalls(bulkhead, 2);
    await failCalls(bulkhead, 1);
    expect(bulkhead.getState()).toBe("healthy");
  });

  it("no failure of the window from before the circuit closed", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 100,
      failureRateThreshold: 60,
      minimumCalls: 2,
      windowSeconds: 100,
      isolationDuration: 1,
      successThreshold: 1,
    });
    await failCalls(bulkhead, 2);
    expect(bulkhead.getState()).toBe("isolated");
    vi.advanceTimersByTime(1000);
    await passCalls(bulkhead, 2);
    await failCalls(bulkhead, 1);
    expect(bulkhead.getState()).toBe("healthy");
  });
});

describe("half-open (rule 6)", () => {
  it("is reached when the isolation is over, without a timer", async () => {
    const { bulkhead, changes } = bulkheadWith({ failureThreshold: 1, isolationDuration: 10 });
    await failCalls(bulkhead, 1);
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(9_999);
    expect(bulkhead.getState()).toBe("isolated");
    vi.advanceTimersByTime(1);
    expect(bulkhead.getState()).toBe("degraded");
    expect(bulkhead.isHealthy()).toBe(true);
    expect(changes.at(-1)).toBe("OPEN → HALF_OPEN: the isolation is over");
  });

  it("admits at most successThreshold probes, and closes on the last success", async () => {
    const { bulkhead, changes } = await halfOpened({ successThreshold: 3 });
    const probes = [gate(), gate(), gate()];
    const calls = probes.map(({ promise }) => bulkhead.execute(() => promise));
    await expect(bulkhead.execute(() => 4)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 30,
    });
    for (const [n, probe] of probes.entries()) {
      expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
      probe.open();
      await calls[n];
    }
    expect(changes).toEqual(["HALF_OPEN → CLOSED: 3 of 3 probes succeeded"]);
  });

  it("counts each success: no other call gets the place of a probe after its verdict", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 2 });
    await passCalls(bulkhead, 1);
    const last = gate();
    const probe = bulkhead.execute(() => last.promise);
    await expect(bulkhead.execute(() => 3)).rejects.toMatchObject(CIRCUIT_OPEN);
    last.open();
    await probe;
    expect(bulkhead.getState()).toBe("healthy");
  });

  it("opens again at the first failure, for a whole isolation", async () => {
    const { bulkhead, changes } = await halfOpened({ successThreshold: 3 });
    await passCalls(bulkhead, 2);
    await failCalls(bulkhead, 1);
    expect(changes).toEqual(["HALF_OPEN → OPEN: a probe failed"]);
    vi.advanceTimersByTime(9_999);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    vi.advanceTimersByTime(1);
    expect(bulkhead.getState()).toBe("degraded");
  });

  it("admits the next calls as probes when probes have not settled for 30 s", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 2 });
    for (let n = 0; n < 2; n++) bulkhead.execute(() => new Promise(() => {})).catch(() => {});
    vi.advanceTimersByTime(29_999);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    vi.advanceTimersByTime(1);
    await passCalls(bulkhead, 2);
    expect(bulkhead.getState()).toBe("healthy");
  });

  it("counts 30 s from the first probe, and again from each success", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 2 });
    vi.advanceTimersByTime(100_000);
    await passCalls(bulkhead, 1);
    bulkhead.execute(() => new Promise(() => {})).catch(() => {});
    vi.advanceTimersByTime(29_999);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    vi.advanceTimersByTime(1);
    await passCalls(bulkhead, 1);
    expect(bulkhead.getState()).toBe("healthy");
  });

  it("is closed by probes that take longer than 30 s, also when others have followed them", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 2 });
    const slow = [gate(), gate()];
    const probing = slow.map(({ promise }) => bulkhead.execute(() => promise));
    vi.advanceTimersByTime(30_000);
    bulkhead.execute(() => new Promise(() => {})).catch(() => {});
    for (const probe of slow) probe.open();
    await Promise.all(probing);
    expect(bulkhead.getState()).toBe("healthy");
  });

  it("admits no more probes than are needed when probes end without a verdict after their lease", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 2, reclaimAfterSeconds: null });
    const caller = new AbortController();
    for (let n = 0; n < 2; n++) {
      bulkhead.run(() => new Promise(() => {}), { signal: caller.signal }).catch(() => {});
    }
    vi.advanceTimersByTime(30_000);
    for (let n = 0; n < 2; n++) bulkhead.execute(() => new Promise(() => {})).catch(() => {});
    caller.abort();
    const running = [1, 2, 3].map((n) => bulkhead.execute(async () => n));
    expect((await Promise.allSettled(running)).map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
    ]);
  });

  it("is not closed by the success of a call from before it opened", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 2,
      successThreshold: 1,
      isolationDuration: 10,
    });
    const old = gate();
    const call = bulkhead.execute(() => old.promise);
    await failCalls(bulkhead, 2);
    vi.advanceTimersByTime(10_000);
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    old.open();
    expect((await call).success).toBe(true);
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
  });

  it("rejects queued probes when another probe fails", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 2, maxConcurrentCalls: 1 });
    const probe = gate();
    const running = bulkhead.execute(() => probe.promise);
    const waiting = expect(bulkhead.execute(() => 2)).rejects.toMatchObject(CIRCUIT_OPEN);
    probe.fail(new Error("still down"));
    await running;
    await waiting;
  });

  it.each([
    "abort while running",
    "abort while waiting",
    "timeout while waiting",
    "isolation",
    "full",
  ])("admits the next call as a probe when a probe ended without a verdict: %s", async (end) => {
    const { bulkhead } = await halfOpened({
      successThreshold: 1,
      maxConcurrentCalls: 1,
      maxQueueSize: end === "full" ? 0 : 1,
      reclaimAfterSeconds: null,
    });
    // A function from before holds the only permit, so that the probe has to wait.
    const old = gate();
    const other = new AbortController();
    if (end !== "abort while running") {
      bulkhead.breaker?.close();
      const abandoned = bulkhead.run(() => old.promise, { signal: other.signal });
      await started();
      other.abort("gone");
      await expect(abandoned).rejects.toBe("gone");
      bulkhead.breaker?.open();
      vi.advanceTimersByTime(10_000);
    }
    const controller = new AbortController();
    const options = {
      signal: controller.signal,
      timeoutSeconds: end === "timeout while waiting" ? 1 : null,
    };
    const probe = bulkhead.run(() => old.promise, options).catch((error: unknown) => error);
    await started();
    if (end.startsWith("abort")) controller.abort("enough");
    if (end.startsWith("timeout")) await vi.advanceTimersByTimeAsync(1000);
    if (end === "isolation") {
      bulkhead.isolate();
      bulkhead.release();
    }
    await probe;
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    old.open();
    await vi.advanceTimersByTimeAsync(0);
    await passCalls(bulkhead, 1);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("is left at once with an isolationDuration of 0", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 1,
      isolationDuration: 0,
      successThreshold: 1,
    });
    await failCalls(bulkhead, 1);
    expect((await bulkhead.execute(() => "probe")).result).toBe("probe");
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("counts an excused error as a success, as opossum does", async () => {
    const { bulkhead } = await halfOpened({
      successThreshold: 1,
      errorFilter: (error) => error === "not found",
    });
    await bulkhead.execute(() => Promise.reject("not found"));
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("opens on a probe that times out", async () => {
    const { bulkhead } = await halfOpened({ timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    const probe = expect(bulkhead.execute(() => new Promise(() => {}))).rejects.toThrow(
      "timed out",
    );
    await vi.advanceTimersByTimeAsync(1000);
    await probe;
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });
});

describe("the opossum breaker", () => {
  it("is fired by every call, and its events and stats are true", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 2,
      isolationDuration: 10,
      successThreshold: 2,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    const { breaker } = bulkhead;
    if (breaker === undefined) throw new Error("no breaker");
    const events: string[] = [];
    for (const event of [
      "fire",
      "success",
      "failure",
      "timeout",
      "reject",
      "open",
      "halfOpen",
      "close",
    ]) {
      breaker.on(event as "fire", () => events.push(event));
    }
    const fired = vi.fn();
    breaker.on("fire", fired);
    await bulkhead.execute((a: number) => a, 1);
    await failCalls(bulkhead, 1);
    const timedOut = expect(bulkhead.execute(() => new Promise(() => {}))).rejects.toThrow();
    await vi.advanceTimersByTimeAsync(1000);
    await timedOut;
    expect([breaker.opened, breaker.closed, breaker.halfOpen]).toEqual([true, false, false]);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    expect(breaker.stats).toMatchObject({
      ...{ fires: 4, successes: 1, failures: 2, timeouts: 1, rejects: 1 },
    });
    vi.advanceTimersByTime(10_000);
    expect([breaker.opened, breaker.closed, breaker.halfOpen]).toEqual([false, false, true]);
    await passCalls(bulkhead, 2);
    expect([breaker.opened, breaker.closed, breaker.halfOpen]).toEqual([false, true, false]);
    expect(events).toEqual([
      ...["fire", "success"],
      ...["fire", "failure"],
      ...["fire", "timeout", "failure", "open"],
      ...["fire", "reject"],
      ...["halfOpen", "fire", "success", "fire", "success", "close"],
    ]);
    expect(fired.mock.calls[0]).toEqual([[1]]);
    expect(breaker.name).toBe("api");
    expect(breaker.toJSON().state).toMatchObject({ name: "api", closed: true, open: false });
  });

  it("counts in a rolling window, and keeps no latencies and no timers", async () => {
    const { bulkhead } = bulkheadWith({ windowSeconds: 10, failureThreshold: 1000 });
    await passCalls(bulkhead, 50);
    await failCalls(bulkhead, 20);
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 70, successes: 50, failures: 20 });
    const latencies = () => bulkhead.breaker?.status.window.map((b) => b.latencyTimes.length);
    expect(latencies()).toEqual(Array(10).fill(0));
    vi.advanceTimersByTime(5000);
    await passCalls(bulkhead, 1);
    vi.advanceTimersByTime(5000);
    expect(latencies()).toEqual(Array(10).fill(0));
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 1, successes: 1, failures: 0 });
    vi.advanceTimersByTime(1_000_000);
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 0 });
  });

  it("counts a call at its start and its end, each in the bucket of that moment", async () => {
    const { bulkhead } = bulkheadWith({ windowSeconds: 10 });
    vi.advanceTimersByTime(1000);
    const work = gate();
    const call = bulkhead.execute(() => work.promise);
    await started();
    vi.advanceTimersByTime(6000);
    work.open();
    await call;
    vi.advanceTimersByTime(4000);
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 0, successes: 1 });
    vi.advanceTimersByTime(6000);
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 0, successes: 0 });
  });

  it("has the options that opossum's users look at, and none that makes it own a timer", () => {
    const { bulkhead } = bulkheadWith({
      windowSeconds: 20,
      isolationDuration: { min: 5, max: 60 },
    });
    expect(bulkhead.breaker?.toJSON().state).toMatchObject({ name: "api", enabled: true });
    expect(Reflect.get(bulkhead.breaker ?? {}, "options")).toMatchObject({
      name: "api",
      timeout: false,
      resetTimeout: 5000,
      rollingCountTimeout: 20_000,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
    });
  });

  it("opens and closes by its open() and close()", async () => {
    const { bulkhead, changes } = bulkheadWith({ isolationDuration: 10 });
    bulkhead.breaker?.open();
    bulkhead.breaker?.open();
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 10,
    });
    bulkhead.breaker?.close();
    bulkhead.breaker?.close();
    expect((await bulkhead.execute(() => 1)).result).toBe(1);
    expect(changes).toEqual(["CLOSED → OPEN: opened by hand", "OPEN → CLOSED: closed by hand"]);
  });

  it("lets everything through while it is disabled, and counts nothing towards opening", async () => {
    const { bulkhead } = bulkheadWith({ failureThreshold: 1 });
    bulkhead.breaker?.disable();
    await failCalls(bulkhead, 3);
    expect((await bulkhead.execute(() => "through")).result).toBe("through");
    bulkhead.breaker?.enable();
    expect(bulkhead.getState()).toBe("healthy");
    await failCalls(bulkhead, 1);
    expect(bulkhead.getState()).toBe("isolated");
  });

  it("counts calls that came while it was disabled neither as probes nor as ended probes", async () => {
    const { bulkhead } = await halfOpened({ successThreshold: 1 });
    bulkhead.breaker?.disable();
    const controller = new AbortController();
    const calls = Array.from({ length: 3 }, () =>
      bulkhead.run(() => new Promise(() => {}), { signal: controller.signal }),
    );
    const late = gate();
    const failing = bulkhead.execute(() => late.promise);
    bulkhead.breaker?.enable();
    controller.abort("enough");
    expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual(
      Array(3).fill("rejected"),
    );
    late.fail(new Error("down"));
    await failing;
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    const probe = bulkhead.execute(async () => "up");
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    await probe;
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    await vi.advanceTimersByTimeAsync(30_000);
  });

  it("records no end of a call that was admitted before it was disabled, or while it was", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    const { breaker } = bulkhead;
    for (const switchBreaker of [() => breaker?.disable(), () => breaker?.enable()]) {
      const [good, bad] = [gate(), gate()];
      const calls = [good.promise, bad.promise, new Promise(() => {})].map((promise) =>
        bulkhead.execute(() => promise).catch(() => "timed out"),
      );
      await started();
      switchBreaker();
      good.open();
      bad.fail(new Error("down"));
      await vi.advanceTimersByTimeAsync(1000);
      await Promise.all(calls);
    }
    expect(bulkhead.getState()).toBe("healthy");
    expect(breaker?.stats).toMatchObject({ fires: 6, successes: 0, failures: 0, timeouts: 0 });
  });

  it("leaves queued calls in the queue when the circuit opens while it is disabled", async () => {
    const { bulkhead } = bulkheadWith({ maxConcurrentCalls: 1 });
    bulkhead.breaker?.disable();
    const holder = gate();
    const running = bulkhead.execute(() => holder.promise);
    const waiting = bulkhead.execute(() => "served");
    bulkhead.breaker?.open();
    holder.open();
    await running;
    expect((await waiting).result).toBe("served");
  });

  it("has the wall-clock time of its opening in toJSON()", async () => {
    const { bulkhead } = bulkheadWith({ failureThreshold: 1 });
    const { breaker } = bulkhead;
    vi.advanceTimersByTime(5000);
    const openedAt = Date.now();
    await failCalls(bulkhead, 1);
    vi.advanceTimersByTime(5000);
    expect(breaker?.toJSON().state).toMatchObject({ open: true, lastTimerAt: openedAt });
  });

  it("emits a rejection that is counted already", async () => {
    const { bulkhead } = bulkheadWith({ failureThreshold: 1 });
    const counted: number[] = [];
    const look = () => counted.push(bulkhead.getStats().rejections.circuitOpen);
    await failCalls(bulkhead, 1);
    bulkhead.breaker?.on("fire", look).on("reject", look);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    expect(counted).toEqual([1, 1]);
  });

  it("shuts the bulkhead down with shutdown()", async () => {
    const { bulkhead } = bulkheadWith({});
    const ended = vi.fn();
    bulkhead.on("shutdown", ended);
    bulkhead.breaker?.shutdown();
    expect(bulkhead.breaker?.isShutdown).toBe(true);
    expect(bulkhead.getState()).toBe("failed");
    expect(ended.mock.calls).toEqual([[{ drained: true }]]);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_SHUTDOWN",
    });
  });

  it("emits semaphoreLocked when the bulkhead is full, which counts as no failure", async () => {
    const { bulkhead } = bulkheadWith({ maxConcurrentCalls: 1, maxQueueSize: 0 });
    const events: unknown[] = [];
    for (const event of ["fire", "semaphoreLocked", "failure", "reject"]) {
      bulkhead.breaker?.on(event as "fire", (first) => events.push([event, first]));
    }
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await started();
    events.length = 0;
    const full = await bulkhead.execute((a: number) => a, 1).catch((error: unknown) => error);
    expect(events).toEqual([
      ["fire", [1]],
      ["semaphoreLocked", full],
    ]);
    busy.open();
    await running;
    expect(bulkhead.breaker?.stats).toMatchObject({
      fires: 2,
      semaphoreRejections: 1,
      successes: 1,
      failures: 0,
    });
  });

  it("emits healthCheckFailed with the error of a failed health check", async () => {
    const error = new Error("no pong");
    const { bulkhead } = bulkheadWith({ healthCheck: () => Promise.reject(error) });
    const failed = vi.fn();
    bulkhead.breaker?.on("healthCheckFailed", failed);
    await vi.advanceTimersByTimeAsync(5000);
    expect(failed.mock.calls).toEqual([[error]]);
    await bulkhead.shutdown();
  });

  it("emits how long each function ran, in milliseconds", async () => {
    const { bulkhead } = bulkheadWith({ timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    vi.advanceTimersByTime(1000);
    const latencies: unknown[] = [];
    bulkhead.breaker
      ?.on("success", (_result, latency) => latencies.push(["success", latency]))
      .on("failure", (_error, latency) => latencies.push(["failure", latency]))
      .on("timeout" as "failure", (_error, latency) => latencies.push(["timeout", latency]));
    const [good, bad] = [gate(), gate()];
    const calls = [good.promise, bad.promise, new Promise(() => {})].map((promise) =>
      bulkhead.execute(() => promise).catch(() => "timed out"),
    );
    await vi.advanceTimersByTimeAsync(250);
    good.open();
    await vi.advanceTimersByTimeAsync(250);
    bad.fail(new Error("down"));
    await vi.advanceTimersByTimeAsync(500);
    await Promise.all(calls);
    expect(latencies).toEqual([
      ["success", 250],
      ["failure", 500],
      ["timeout", 1000],
      ["failure", 1000],
    ]);
  });

  it("counts an error that errorFilter excuses as a success", async () => {
    const { bulkhead } = bulkheadWith({ errorFilter: () => true });
    await failCalls(bulkhead, 2);
    expect(bulkhead.breaker?.stats).toMatchObject({ fires: 2, successes: 2, failures: 0 });
  });

  it("is shut down when it is first read after the shutdown, and once when it was read before", async () => {
    const early = bulkheadWith({}).bulkhead;
    const shutDown = vi.fn();
    early.breaker?.on("shutdown", shutDown);
    expect(early.breaker?.isShutdown).toBe(false);
    await early.shutdown();
    await early.shutdown();
    expect(early.breaker?.isShutdown).toBe(true);
    expect(shutDown).toHaveBeenCalledTimes(1);

    const late = bulkheadWith({}).bulkhead;
    await late.shutdown();
    expect(late.breaker?.isShutdown).toBe(true);
  });

  it("never calls a fallback", async () => {
    const { bulkhead } = bulkheadWith({});
    const fallback = vi.fn();
    bulkhead.breaker?.fallback(fallback);
    await failCalls(bulkhead, 5);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    expect(fallback).not.toHaveBeenCalled();
  });

  it("rejects calls of its own fire()", async () => {
    const { bulkhead } = bulkheadWith({});
    await expect(bulkhead.breaker?.fire()).rejects.toThrow(
      "call the bulkhead's execute() or run()",
    );
  });

  it("owns no timers, however many there are and whatever state they are in", async () => {
    const bulkheads = Array.from({ length: 1000 }, (_, n) => new Bulkhead({ name: `b${n}` }));
    for (const bulkhead of bulkheads) await bulkhead.execute(async () => 1);
    for (const bulkhead of bulkheads.slice(0, 500)) bulkhead.breaker?.open();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a deadline that comes as a signal (rule 5d)", () => {
  const hang = () => new Promise(() => {});
  const aborted = async (bulkhead: Bulkhead, reason: unknown) => {
    const controller = new AbortController();
    const call = bulkhead.run(hang, { signal: controller.signal }).catch((error: unknown) => error);
    await started();
    controller.abort(reason);
    return call;
  };

  it("counts as a timeout of the dependency, which errorFilter may excuse", async () => {
    const errorFilter = vi.fn(() => false);
    const { bulkhead } = bulkheadWith({
      failureThreshold: 2,
      reclaimAfterSeconds: 0,
      errorFilter,
    });
    const deadline = new DOMException("too late", "TimeoutError");
    expect(await aborted(bulkhead, deadline)).toBe(deadline);
    expect(await aborted(bulkhead, { name: "TimeoutError" })).toEqual({ name: "TimeoutError" });
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "OPEN", failedExecutions: 2 });
    expect(bulkhead.breaker?.stats).toMatchObject({ timeouts: 2, failures: 2 });
    expect(errorFilter).toHaveBeenCalledTimes(2);
  });

  it.each([
    new DOMException("gone", "AbortError"),
    new Error("gone"),
    "TimeoutError",
    null,
    new Proxy({}, { get: () => Promise.reject(new Error("hostile")).catch(() => {}) }),
  ])("is no verdict when the reason is another one: %o", async (reason) => {
    const { bulkhead } = bulkheadWith({ failureThreshold: 1, reclaimAfterSeconds: 0 });
    await aborted(bulkhead, reason);
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "CLOSED", failedExecutions: 1 });
  });

  it("ends a probe as a failure", async () => {
    const { bulkhead } = await halfOpened({ reclaimAfterSeconds: 0 });
    await aborted(bulkhead, new DOMException("too late", "TimeoutError"));
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("is an abort when the call still waits", async () => {
    const { bulkhead } = bulkheadWith({ failureThreshold: 1, maxConcurrentCalls: 1 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await aborted(bulkhead, new DOMException("too late", "TimeoutError"));
    expect(bulkhead.getStats()).toMatchObject({
      circuitStatus: "CLOSED",
      rejections: { aborted: 1 },
    });
    busy.open();
    await running;
  });
});

describe("a rejection one level down (rule 5e)", () => {
  const REJECTING: ReadonlyArray<[string, (inner: Bulkhead) => unknown]> = [
    ["full", (inner) => void inner.execute(() => new Promise(() => {}))],
    ["open", (inner) => inner.breaker?.open()],
    ["isolated", (inner) => inner.isolate()],
    ["shut down", (inner) => inner.shutdown()],
  ];

  it.each(REJECTING)("is neutral: the inner bulkhead is %s", async (_, reject) => {
    const inner = new Bulkhead({ name: "inner", maxConcurrentCalls: 1, maxQueueSize: 0 });
    const { bulkhead: outer } = bulkheadWith({ failureThreshold: 2 });
    await failCalls(outer, 1);
    await reject(inner);
    for (let n = 0; n < 3; n++) {
      expect((await outer.execute(() => inner.execute(() => 1))).success).toBe(false);
    }
    expect(outer.getStats()).toMatchObject({ circuitStatus: "CLOSED", failedExecutions: 4 });
    expect(outer.breaker?.stats).toMatchObject({ fires: 4, failures: 1, successes: 0 });
    await failCalls(outer, 1);
    expect(outer.getStats().circuitStatus).toBe("OPEN");
  });

  it("admits the next call as a probe", async () => {
    const inner = new Bulkhead({ name: "inner" });
    inner.isolate();
    const { bulkhead: outer } = await halfOpened({ successThreshold: 1 });
    await outer.execute(() => inner.execute(() => 1));
    expect(outer.getStats().circuitStatus).toBe("HALF_OPEN");
    await passCalls(outer, 1);
    expect(outer.getStats().circuitStatus).toBe("CLOSED");
  });

  it("is neutral when the call waited in the inner bulkhead until its time was over", async () => {
    const inner = new Bulkhead({ name: "inner", maxConcurrentCalls: 1, timeoutSeconds: 1 });
    const { bulkhead: outer } = bulkheadWith({ failureThreshold: 1 });
    const busy = gate();
    const running = inner.run(() => busy.promise, { timeoutSeconds: null });
    const call = outer.execute(() => inner.execute(() => 1));
    await vi.advanceTimersByTimeAsync(1000);
    expect((await call).error).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "waiting" });
    expect(outer.getStats().circuitStatus).toBe("CLOSED");
    busy.open();
    await running;
  });

  it("is neutral as the cause of another error, as fetch rejects when its dispatcher is guarded", async () => {
    const inner = new Bulkhead({ name: "inner" });
    inner.isolate();
    const fetching = () =>
      inner.call(() => 1).catch((cause) => Promise.reject(new TypeError("failed", { cause })));
    const wrapping = async () => {
      const { error } = await new Bulkhead({ name: "between" }).execute(fetching);
      throw error;
    };
    const { bulkhead: outer } = bulkheadWith({ failureThreshold: 1 });
    for (const fn of [fetching, wrapping]) {
      expect((await outer.execute(fn)).success).toBe(false);
      expect(outer.getStats()).toMatchObject({ circuitStatus: "CLOSED" });
    }
    const looped = new Error("looped");
    looped.cause = looped;
    await outer.execute(() => Promise.reject(looped));
    expect(outer.getStats().circuitStatus).toBe("OPEN");
  });

  it("is neutral when every error of an AggregateError is one, as of Promise.any", async () => {
    const [first, second] = [new Bulkhead({ name: "first" }), new Bulkhead({ name: "second" })];
    first.isolate();
    second.isolate();
    const any = () => Promise.any([first.call(() => 1), second.call(() => 1)]);
    const wrapped = async () => {
      const { error } = await new Bulkhead({ name: "between" }).execute(any);
      throw error;
    };
    const nested = () => Promise.any([any(), first.call(() => 1)]);
    const { bulkhead: outer } = bulkheadWith({ failureThreshold: 1 });
    for (const fn of [any, wrapped, nested]) {
      expect((await outer.execute(fn)).success).toBe(false);
      expect(outer.getStats()).toMatchObject({ circuitStatus: "CLOSED" });
    }
    expect(outer.getStats()).toMatchObject({ failedExecutions: 3, ignoredExecutions: 3 });
  });

  const looped = new AggregateError([]);
  looped.errors.push(looped);

  it.each<[string, (rejection: unknown) => unknown[]]>([
    ["another one is a failure", (rejection) => [rejection, new Error("down")]],
    ["it has none", () => []],
    ["it contains itself", () => looped.errors],
  ])("is a failure in an AggregateError when %s", async (_, errorsWith) => {
    const inner = new Bulkhead({ name: "inner" });
    inner.isolate();
    const { bulkhead: outer } = bulkheadWith({ failureThreshold: 1 });
    const failing = () =>
      inner.call(() => 1).catch((error) => Promise.reject(new AggregateError(errorsWith(error))));
    await outer.execute(failing);
    expect(outer.getStats().circuitStatus).toBe("OPEN");
  });

  it("a time limit of the inner bulkhead that passed while its function ran is a failure", async () => {
    const inner = new Bulkhead({ name: "inner", timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    const { bulkhead: outer } = bulkheadWith({ failureThreshold: 1 });
    const call = outer.execute(() => inner.execute(() => new Promise(() => {})));
    await vi.advanceTimersByTimeAsync(1000);
    expect((await call).success).toBe(false);
    expect(outer.getStats().circuitStatus).toBe("OPEN");
  });
});

describe("the cause of an open circuit", () => {
  const causeOf = (bulkhead: Bulkhead) =>
    bulkhead
      .execute(() => 1)
      .then(
        () => "admitted",
        (error: Error) => error.cause,
      );

  it("is the failure that opened it, in the error and in the event, until it closes", async () => {
    const { bulkhead } = bulkheadWith({
      failureThreshold: 1,
      successThreshold: 1,
      isolationDuration: 10,
    });
    const causes: unknown[] = [];
    bulkhead.on("stateChange", (event) => causes.push("cause" in event ? event.cause : "none"));
    const down = new Error("down");
    await bulkhead.execute(() => Promise.reject(down));
    expect(await causeOf(bulkhead)).toBe(down);
    vi.advanceTimersByTime(10_000);
    const probe = gate();
    const probing = bulkhead.execute(() => probe.promise);
    expect(await causeOf(bulkhead)).toBe(down);
    const stillDown = new Error("still down");
    probe.fail(stillDown);
    await probing;
    expect(await causeOf(bulkhead)).toBe(stillDown);
    bulkhead.breaker?.close();
    bulkhead.breaker?.open();
    expect(await causeOf(bulkhead)).toBeUndefined();
    expect(causes).toEqual([down, "none", stillDown, "none", "none"]);
  });

  it("is the newest failure when a rate opened it, and the error of a failed health check", async () => {
    const { bulkhead } = bulkheadWith({ failureRateThreshold: 50, minimumCalls: 3 });
    const errors = [new Error("first"), new Error("second")];
    for (const error of errors) await bulkhead.execute(() => Promise.reject(error));
    await passCalls(bulkhead, 1);
    expect(await causeOf(bulkhead)).toBe(errors[1]);

    const noPong = new Error("no pong");
    const checked = bulkheadWith({ healthCheck: () => Promise.reject(noPong) }).bulkhead;
    await vi.advanceTimersByTimeAsync(5000);
    expect(await causeOf(checked)).toBe(noPong);
    await checked.shutdown();
  });
});
