import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { started } from "../helpers/gate.js";

const TIMEOUT = { code: "ERR_BULKHEAD_TIMEOUT" };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const hang = () => new Promise(() => {});
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** One permit, and a limit of one second. */
function small(config: Partial<BulkheadConfig> = {}) {
  return new Bulkhead({
    name: "api",
    maxConcurrentCalls: 1,
    timeoutSeconds: 1,
    failureThreshold: 1,
    reclaimAfterSeconds: null,
    ...config,
  });
}

/** The same with a circuit that a few failures do not open. */
const patient = () => small({ failureThreshold: 1000 });

/** Lets calls of `ms` succeed, so that the bulkhead knows how long they usually take. */
async function learn(bulkhead: Bulkhead, ms: number, count = 10): Promise<void> {
  for (let n = 0; n < count; n++) {
    const call = bulkhead.execute(sleep, ms);
    await pass(ms);
    await call;
  }
}

/**
 * Takes the only permit for `ms`, has a call wait behind it, and says whether that was started. The first one
 * fails: its time is not that of a success.
 */
async function isStartedAfter(bulkhead: Bulkhead, ms: number): Promise<boolean> {
  const fn = vi.fn();
  const fail = () => sleep(ms).then(() => Promise.reject(new Error("down")));
  const running = bulkhead.run(fail, { timeoutSeconds: null });
  await started();
  const waiting = bulkhead.execute(fn).catch((error: unknown) => error);
  await pass(ms);
  await running;
  await pass(0);
  const outcome = await waiting;
  if (fn.mock.calls.length === 0) expect(outcome).toMatchObject({ ...TIMEOUT, phase: "waiting" });
  return fn.mock.calls.length === 1;
}

describe("no hopeless start (rule 2b)", () => {
  it("does not start a waiting call that has less than twice the typical run time left", async () => {
    const bulkhead = patient();
    await learn(bulkhead, 100);
    expect(await isStartedAfter(bulkhead, 801)).toBe(false);
    expect(await isStartedAfter(bulkhead, 800)).toBe(true);
    expect(bulkhead.getStats()).toMatchObject({
      rejections: { timeout: 1 },
      timedOutExecutions: 0,
      circuitStatus: "CLOSED",
    });
  });

  it("starts the next call that has enough time instead", async () => {
    const bulkhead = small();
    await learn(bulkhead, 100);
    const running = bulkhead.execute(sleep, 900);
    await started();
    const hopeless = expect(bulkhead.execute(sleep, 100)).rejects.toMatchObject(TIMEOUT);
    await pass(500);
    const next = bulkhead.execute(async () => "in time");
    await pass(400);
    await running;
    await hopeless;
    expect((await next).result).toBe("in time");
  });

  it("starts it as long as fewer than 10 calls have succeeded", async () => {
    const bulkhead = patient();
    await learn(bulkhead, 100, 9);
    expect(await isStartedAfter(bulkhead, 999)).toBe(true);
  });

  it("needs no more than half of the limit, however long calls take", async () => {
    const bulkhead = patient();
    await learn(bulkhead, 600);
    expect(await isStartedAfter(bulkhead, 501)).toBe(false);
    expect(await isStartedAfter(bulkhead, 500)).toBe(true);
  });

  it("follows the run times by a twentieth for each success", async () => {
    const bulkhead = patient();
    await learn(bulkhead, 100);
    await learn(bulkhead, 0, 20);
    // 100 ms × 0.95^20 are 35.8 ms.
    expect(await isStartedAfter(bulkhead, 929)).toBe(false);
    expect(await isStartedAfter(bulkhead, 928)).toBe(true);
  });

  it("starts a call that finds a permit free, also with less time than that", async () => {
    const bulkhead = small();
    await learn(bulkhead, 600);
    const fn = vi.fn(async () => "started");
    expect((await bulkhead.run(fn, { timeoutSeconds: 0.001 })).result).toBe("started");
  });
});

describe("a fair verdict (rule 5a)", () => {
  /** A call waits for `waitMs`, and runs into its limit of a second. */
  async function timesOutAfterWaiting(bulkhead: Bulkhead, waitMs: number) {
    const running = bulkhead.run(() => sleep(waitMs), { timeoutSeconds: null });
    await started();
    const late = expect(bulkhead.execute(hang)).rejects.toMatchObject({
      ...TIMEOUT,
      phase: "running",
    });
    await pass(waitMs);
    await running;
    await pass(1000 - waitMs);
    await late;
  }

  it("does not blame the dependency when less than half of the limit was left to run in", async () => {
    const bulkhead = small();
    await timesOutAfterWaiting(bulkhead, 501);
    expect(bulkhead.getStats()).toMatchObject({
      circuitStatus: "CLOSED",
      failedExecutions: 1,
      timedOutExecutions: 1,
      abandonedTasks: 1,
    });
    expect(bulkhead.breaker?.stats).toMatchObject({ timeouts: 0, failures: 0 });
  });

  it("blames it when at least half of the limit was left", async () => {
    const bulkhead = small();
    await timesOutAfterWaiting(bulkhead, 500);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("blames it when the call has not waited, whatever its own limit is", async () => {
    const bulkhead = small();
    const call = bulkhead.run(hang, { timeoutSeconds: 0.01 }).catch(() => {});
    await pass(10);
    await call;
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });

  it("holds for a deadline that comes as a signal: by the time that has passed", async () => {
    const verdictAfter = async (waitMs: number, runMs: number) => {
      const bulkhead = small({ timeoutSeconds: null });
      const running = bulkhead.execute(sleep, waitMs);
      await started();
      const controller = new AbortController();
      const call = bulkhead.run(hang, { signal: controller.signal }).catch(() => {});
      await pass(waitMs + runMs);
      await running;
      controller.abort(new DOMException("too late", "TimeoutError"));
      await call;
      return bulkhead.getStats().circuitStatus;
    };
    expect(await verdictAfter(501, 499)).toBe("CLOSED");
    expect(await verdictAfter(500, 500)).toBe("OPEN");
  });

  it("admits the next call as a probe", async () => {
    const bulkhead = small({ isolationDuration: 10, successThreshold: 1, reclaimAfterSeconds: 0 });
    const running = bulkhead.run(() => sleep(10_600), { timeoutSeconds: null });
    await started();
    bulkhead.breaker?.open();
    await pass(10_000);
    const probe = bulkhead.execute(hang).catch(() => {});
    await pass(1000);
    await running;
    await probe;
    expect(bulkhead.getStats().circuitStatus).toBe("HALF_OPEN");
    await bulkhead.execute(async () => "up");
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });
});

describe("a deadline that comes as a signal", () => {
  it("is judged by itself, whatever timeoutSeconds is", async () => {
    const bulkhead = small({ timeoutSeconds: 30 });
    const running = bulkhead.execute(sleep, 20);
    await started();
    const controller = new AbortController();
    const call = bulkhead.run(hang, { signal: controller.signal }).catch(() => {});
    await pass(300);
    await running;
    controller.abort(new DOMException("too late", "TimeoutError"));
    await call;
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });
});

describe("under twice the load that it lets through", () => {
  /** Four calls every 10 ms, for two seconds, over 10 permits: each takes `ms`. */
  async function overload(ms: number) {
    const bulkhead = small({
      maxConcurrentCalls: 10,
      timeoutSeconds: 0.5,
      failureThreshold: 5,
      reclaimAfterSeconds: 0,
    });
    const openedAt: number[] = [];
    const begin = performance.now();
    bulkhead.on("stateChange", () => openedAt.push(performance.now() - begin));
    for (let time = 0; time < 2000; time += 10) {
      for (let n = 0; n < 4; n++) bulkhead.execute(sleep, ms).catch(() => {});
      await pass(10);
    }
    const stats = bulkhead.getStats();
    await pass(100_000);
    return { stats, openedAt };
  }

  it("serves what is possible of a healthy dependency, whose circuit stays closed", async () => {
    const { stats, openedAt } = await overload(50);
    expect(openedAt).toEqual([]);
    expect(stats.successfulExecutions).toBeGreaterThanOrEqual(0.9 * 400);
    expect(stats.timedOutExecutions).toBeLessThanOrEqual(0.05 * stats.totalExecutions);
  });

  it("opens the circuit of a dependency that hangs within one time limit", async () => {
    const { openedAt } = await overload(60_000);
    expect(openedAt[0]).toBeLessThanOrEqual(510);
  });

  it("still opens it for failures of calls that have waited", async () => {
    const bulkhead = small();
    const running = bulkhead.execute(sleep, 700);
    await started();
    const failing = failCalls(bulkhead, 1);
    await pass(700);
    await Promise.all([running, failing]);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });
});
