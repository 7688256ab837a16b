import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig } from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";
import { type Gate, gate, started } from "../helpers/gate.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const statusOf = (bulkhead: Bulkhead) => bulkhead.getStats().circuitStatus;

/** Calls of a second and more are slow; four of them are enough to judge. */
function watchful(config: Partial<BulkheadConfig> = {}) {
  const bulkhead = new Bulkhead({
    name: "api",
    slowCallSeconds: 1,
    slowCallRateThreshold: 50,
    minimumCalls: 4,
    failureThreshold: null,
    isolationDuration: 10,
    successThreshold: 1,
    ...config,
  });
  const reasons: string[] = [];
  bulkhead.on("stateChange", ({ reason }) => reasons.push(reason));
  return { bulkhead, reasons };
}

async function take(bulkhead: Bulkhead, ...runTimesMs: number[]): Promise<void> {
  const calls = runTimesMs.map((ms) => bulkhead.execute(sleep, ms).catch(() => {}));
  await started();
  await pass(Math.max(...runTimesMs));
  await Promise.all(calls);
}

describe("slow calls", () => {
  it("open the circuit at slowCallRateThreshold percent, from minimumCalls on", async () => {
    const { bulkhead, reasons } = watchful();
    await take(bulkhead, 10, 20, 1000);
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await take(bulkhead, 1000);
    expect(statusOf(bulkhead)).toBe("OPEN");
    expect(reasons).toEqual(["2 of 4 calls ran for 1 s or longer within 10 s"]);
  });

  it("are those that run for slowCallSeconds, and not a moment less", async () => {
    const { bulkhead } = watchful();
    await take(bulkhead, 999, 999, 999, 999, 999, 999);
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("are seen while they still run, by the next call that comes", async () => {
    const { bulkhead } = watchful();
    const work = Array.from({ length: 4 }, () => gate());
    const calls = work.map(({ promise }) => bulkhead.execute(() => promise));
    await started();
    await pass(999);
    expect(await bulkhead.execute(() => "up")).toMatchObject({ success: true });
    await pass(1);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
    });
    for (const { open } of work) open();
    await Promise.all(calls);
    expect(statusOf(bulkhead)).toBe("OPEN");
  });

  it("are seen by who reads the state, and with no timer", async () => {
    const { bulkhead } = watchful();
    const work = gate();
    const calls = [1, 2, 3, 4].map(() => bulkhead.execute(() => work.promise));
    await started();
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(1000);
    expect(bulkhead.isHealthy()).toBe(false);
    work.open();
    await Promise.all(calls);
  });

  it("leave the window with time", async () => {
    const { bulkhead } = watchful({ windowSeconds: 10 });
    await take(bulkhead, 1000, 1000, 1000);
    await pass(11_000);
    await take(bulkhead, 10, 10, 10, 1000);
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("count once, also when they fail or time out later", async () => {
    const { bulkhead } = watchful({ timeoutSeconds: 2, reclaimAfterSeconds: 0 });
    await take(bulkhead, 10, 10, 10);
    const call = bulkhead.execute(sleep, 5000).catch(() => {});
    await started();
    await pass(5000);
    await call;
    // 1 of 4: a second count of the same call would make it 2 of 5, and then 50 percent with the next slow one.
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await take(bulkhead, 1000, 10);
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("do not count when their caller leaves before they are slow, nor when they are neutral", async () => {
    const { bulkhead } = watchful({
      classify: ({ result }) => (result ? undefined : "ignore"),
      reclaimAfterSeconds: 0,
    });
    const controller = new AbortController();
    const calls = Array.from({ length: 9 }, () =>
      bulkhead.run(() => sleep(5000), { signal: controller.signal }).catch(() => {}),
    );
    await started();
    await pass(900);
    controller.abort();
    await Promise.all(calls);
    await take(bulkhead, 10, 10, 10, 10);
    await pass(5000);
    const slow = [1, 2, 3].map(() => bulkhead.execute(() => sleep(1000).then(() => "up")));
    await started();
    await pass(1000);
    await Promise.all(slow);
    expect(statusOf(bulkhead)).toBe("CLOSED"); // 3 of 3, and minimumCalls is 4
  });

  it("fail the probing: a slow probe opens the circuit again, while it runs", async () => {
    const { bulkhead, reasons } = watchful({ successThreshold: 2 });
    bulkhead.breaker?.open();
    await pass(10_000);
    const work = gate();
    const probe = bulkhead.execute(() => work.promise);
    await started();
    await pass(999);
    expect(statusOf(bulkhead)).toBe("HALF_OPEN");
    await pass(1);
    expect(statusOf(bulkhead)).toBe("OPEN");
    expect(reasons.at(-1)).toBe("a probe was slow");
    work.open();
    await probe;
    expect(statusOf(bulkhead)).toBe("OPEN");
  });

  it("of before the circuit's last change move nothing", async () => {
    const { bulkhead } = watchful();
    const work = gate();
    const old = [1, 2, 3, 4].map(() => bulkhead.execute(() => work.promise));
    await started();
    await pass(500);
    bulkhead.breaker?.open();
    bulkhead.breaker?.close();
    await pass(5000);
    expect(statusOf(bulkhead)).toBe("CLOSED");
    work.open();
    await Promise.all(old);
    await take(bulkhead, 10, 10, 10, 1000);
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("are counted anew after a change of the circuit", async () => {
    const { bulkhead } = watchful();
    await take(bulkhead, 1000, 1000, 1000);
    bulkhead.breaker?.open();
    bulkhead.breaker?.close();
    await take(bulkhead, 1000);
    expect(statusOf(bulkhead)).toBe("CLOSED"); // 1 of 1, and minimumCalls is 4
  });

  it("are not looked for while opossum's breaker is disabled", async () => {
    const { bulkhead } = watchful();
    const work = gate();
    const before = [1, 2, 3, 4].map(() => bulkhead.execute(() => work.promise));
    await started();
    bulkhead.breaker?.disable();
    for (let n = 0; n < 10; n++) await bulkhead.execute(() => "fast");
    await pass(5000);
    expect(statusOf(bulkhead)).toBe("CLOSED");
    bulkhead.breaker?.enable();
    expect(statusOf(bulkhead)).toBe("CLOSED");
    work.open();
    await Promise.all(before);
  });

  it("leave it to their error for how long the circuit opens", async () => {
    const { bulkhead } = watchful({
      minimumCalls: 1,
      classify: ({ error }) => (error ? { outcome: "failure", retryAfterSeconds: 60 } : undefined),
    });
    const call = bulkhead.execute(() => sleep(1500).then(() => Promise.reject(new Error("429"))));
    await started();
    await pass(1500);
    await call;
    await expect(bulkhead.call(() => 1)).rejects.toMatchObject({
      retryAfterSeconds: 60,
      cause: new Error("429"),
    });
  });

  it("do not count as fast when their callers time out before they are slow", async () => {
    const { bulkhead } = watchful({ timeoutSeconds: 0.5, reclaimAfterSeconds: 0 });
    const calls = [1, 2, 3, 4, 5].map(() => bulkhead.execute(sleep, 5000).catch(() => {}));
    await started();
    await pass(500);
    await Promise.all(calls);
    const slow = [1, 2, 3, 4].map(() => bulkhead.run(() => sleep(1000), { timeoutSeconds: null }));
    await started();
    await pass(1000);
    await Promise.all(slow);
    expect(statusOf(bulkhead)).toBe("OPEN"); // 4 of 4, not 4 of 9
  });

  it("do not count as fast when their callers abort before they are slow", async () => {
    const { bulkhead } = watchful({ reclaimAfterSeconds: 0 });
    const controller = new AbortController();
    const { signal } = controller;
    const calls = [1, 2, 3, 4, 5].map(() =>
      bulkhead.run(() => sleep(5000), { signal }).catch(() => {}),
    );
    await started();
    await pass(500);
    controller.abort();
    await Promise.all(calls);
    await take(bulkhead, 1000, 1000, 1000, 1000);
    expect(statusOf(bulkhead)).toBe("OPEN"); // 4 of 4, not 4 of 9
  });

  it("are not those that failed in time, which count as fast", async () => {
    const { bulkhead } = watchful();
    for (let n = 0; n < 5; n++) await bulkhead.execute(() => Promise.reject(new Error("down")));
    await pass(2000);
    await bulkhead.execute(() => "up");
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await take(bulkhead, 1000, 1000, 1000, 1000);
    expect(statusOf(bulkhead)).toBe("CLOSED"); // 4 of 10
  });

  it("are not looked for among calls that never start", async () => {
    const { bulkhead } = watchful({ maxConcurrentCalls: 1 });
    const work = gate();
    const running = bulkhead.execute(() => work.promise);
    await started();
    const controller = new AbortController();
    const queued = bulkhead.run(() => 1, { signal: controller.signal });
    controller.abort("gone");
    await expect(queued).rejects.toBe("gone");
    work.open();
    expect(await running).toMatchObject({ success: true });
  });

  it.each<[string, () => unknown]>([
    ["succeed", () => "up"],
    ["fail", () => Promise.reject(new Error("down"))],
  ])(
    "are not looked for among calls that were admitted before the circuit's last change and %s",
    async (_, fn) => {
      const { bulkhead } = watchful({ maxConcurrentCalls: 1, minimumCalls: 1 });
      const work = gate();
      const running = bulkhead.execute(() => work.promise);
      await started();
      const queued = bulkhead.execute(fn);
      bulkhead.breaker?.disable();
      bulkhead.breaker?.open();
      bulkhead.breaker?.close();
      bulkhead.breaker?.enable();
      work.open();
      await running;
      expect(await queued).toMatchObject({ bulkheadName: "api" });
      await pass(5000);
      expect(statusOf(bulkhead)).toBe("CLOSED");
    },
  );

  it("can be all that opens a circuit", () => {
    expect(watchful().bulkhead.config.failureThreshold).toBeNull();
  });

  it("open exactly when a naive recount of the window says so", async () => {
    const step = fc.record({
      ms: fc.constantFrom(0, 100, 400, 900, 1000, 2500),
      do: fc.constantFrom("start", "start", "end"),
      nth: fc.nat({ max: 9 }),
    });
    const property = fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.constantFrom(30, 50, 100),
      async (steps, slowCallRateThreshold) => {
        // A window that nothing leaves: how opossum's buckets leave it is their own test.
        const { bulkhead } = watchful({ slowCallRateThreshold, windowSeconds: 1e6 });
        const calls: Array<{ at: number; work: Gate<void>; ended?: number }> = [];
        let time = 0;
        /** Whether the circuit is open, as it has to be. */
        const opens = () => {
          const slow = calls.filter(({ at, ended = time }) => ended - at >= 1000).length;
          const judged = calls.filter(
            ({ at, ended }) => ended !== undefined || time - at >= 1000,
          ).length;
          const isOpen = judged >= 4 && slow * 100 >= judged * slowCallRateThreshold;
          expect(statusOf(bulkhead)).toBe(isOpen ? "OPEN" : "CLOSED");
          return isOpen;
        };
        for (const { ms, do: act, nth } of steps) {
          time += ms;
          await pass(ms);
          // Calls that have become slow open the circuit before another one ends in time.
          if (opens()) break;
          const running = calls.filter(({ ended }) => ended === undefined);
          if (act === "start" && running.length < 9) {
            const work = gate();
            void bulkhead.execute(() => work.promise).catch(() => {});
            calls.push({ at: time, work });
          } else if (running.length > 0) {
            const call = running[nth % running.length];
            call?.work.open();
            if (call !== undefined) call.ended = time;
          }
          await started();
          if (opens()) break;
        }
        for (const { work } of calls) work.open();
        await started();
      },
    );
    await fc.assert(property, { seed: SEED, numRuns: runs(200) });
  });
});
