import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig, InMemoryStorage } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function growing(config: Partial<BulkheadConfig> = {}) {
  return new Bulkhead({
    name: "api",
    failureThreshold: 1,
    successThreshold: 1,
    isolationDuration: { min: 1, max: 10 },
    ...config,
  });
}

/** Seconds until the open circuit lets a probe through. */
async function secondsOpen(bulkhead: Bulkhead): Promise<number> {
  const error: unknown = await bulkhead.execute(() => 1).catch((thrown: unknown) => thrown);
  return (error as { retryAfterSeconds: number }).retryAfterSeconds;
}

/** Has the probe of an open circuit fail, when its isolation is over. */
async function failProbe(bulkhead: Bulkhead): Promise<void> {
  vi.advanceTimersByTime((await secondsOpen(bulkhead)) * 1000);
  await failCalls(bulkhead, 1);
}

describe("an isolation of { min, max, factor }", () => {
  it("doubles with each opening, up to max", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const bulkhead = growing();
    await failCalls(bulkhead, 1);
    const lengths = [await secondsOpen(bulkhead)];
    for (let n = 0; n < 5; n++) {
      await failProbe(bulkhead);
      lengths.push(await secondsOpen(bulkhead));
    }
    expect(lengths).toEqual([1, 2, 4, 8, 10, 10]);
  });

  it("does not grow by an opening by hand", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const bulkhead = growing();
    bulkhead.breaker?.open();
    expect(await secondsOpen(bulkhead)).toBe(1);
    await failProbe(bulkhead);
    expect(await secondsOpen(bulkhead)).toBe(1);
    await failProbe(bulkhead);
    expect(await secondsOpen(bulkhead)).toBe(2);
  });

  it("grows by the factor that is given", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const bulkhead = growing({ isolationDuration: { min: 1, max: 100, factor: 3 } });
    await failCalls(bulkhead, 1);
    await failProbe(bulkhead);
    await failProbe(bulkhead);
    expect(await secondsOpen(bulkhead)).toBe(9);
  });

  it.each([
    [0, 1.5],
    [0.5, 1.75],
    [1, 2],
  ])("takes a random 75 to 100 percent from the second opening on: %d", async (random, seconds) => {
    vi.spyOn(Math, "random").mockReturnValue(random);
    const bulkhead = growing();
    await failCalls(bulkhead, 1);
    expect(await secondsOpen(bulkhead)).toBe(1);
    await failProbe(bulkhead);
    expect(await secondsOpen(bulkhead)).toBe(seconds);
  });

  it.each<[string, (bulkhead: Bulkhead) => Promise<unknown> | undefined]>([
    [
      "its probes close the circuit",
      async (bulkhead) => {
        vi.advanceTimersByTime((await secondsOpen(bulkhead)) * 1000);
        await passCalls(bulkhead, 1);
      },
    ],
    ["it is closed by hand", async (bulkhead) => bulkhead.breaker?.close()],
  ])("begins anew when %s", async (_, close) => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const bulkhead = growing();
    await failCalls(bulkhead, 1);
    await failProbe(bulkhead);
    await close(bulkhead);
    await failCalls(bulkhead, 1);
    expect(await secondsOpen(bulkhead)).toBe(1);
  });

  it("does not grow by a manual opening, nor by one with a Retry-After", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const bulkhead = growing({
      classify: ({ error }) =>
        error === "busy" ? { outcome: "failure", retryAfterSeconds: 100 } : undefined,
    });
    bulkhead.breaker?.open();
    expect(await secondsOpen(bulkhead)).toBe(1);
    vi.advanceTimersByTime(1000);
    await bulkhead.execute(() => Promise.reject("busy"));
    expect(await secondsOpen(bulkhead)).toBe(100);
    vi.advanceTimersByTime(100_000);
    await failCalls(bulkhead, 1);
    expect(await secondsOpen(bulkhead)).toBe(1);
    await failProbe(bulkhead);
    expect(await secondsOpen(bulkhead)).toBe(2);
  });

  it("grows by failed health checks, too", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    let healthy = false;
    const bulkhead = growing({ healthCheck: () => healthy, healthCheckInterval: 3 });
    await vi.advanceTimersByTimeAsync(3000);
    expect(await secondsOpen(bulkhead)).toBe(1);
    await vi.advanceTimersByTimeAsync(3000);
    expect(await secondsOpen(bulkhead)).toBe(2);
    healthy = true;
    await bulkhead.shutdown();
  });
});

describe("a growing isolation of a shared circuit", () => {
  /** One of several processes on a storage. */
  async function member(storage: InMemoryStorage) {
    const config = { failureThreshold: 1, successThreshold: 1 };
    const bulkhead = new Bulkhead(
      { name: "api", isolationDuration: { min: 1, max: 100 }, ...config },
      { circuitStorage: storage },
    );
    await bulkhead.ready();
    return bulkhead;
  }

  it("grows by the failed probes of other processes, and begins anew when one closes it", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const storage = new InMemoryStorage();
    const [a, b] = [await member(storage), await member(storage)];
    const lengths: number[] = [];
    for (const prober of [a, b, a, b]) {
      await failCalls(prober, 1);
      await vi.advanceTimersByTimeAsync(0);
      const length = Math.round(await secondsOpen(a));
      lengths.push(length);
      expect(Math.round(await secondsOpen(b))).toBe(length);
      expect((await storage.getState("api"))?.openings).toBe(lengths.length);
      await vi.advanceTimersByTimeAsync(length * 1000);
    }
    expect(lengths).toEqual([1, 2, 4, 8]);
    await passCalls(b, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect((await storage.getState("api"))?.openings).toBe(0);
    await failCalls(a, 1);
    expect(await secondsOpen(a)).toBe(1);
    await Promise.all([a.shutdown(), b.shutdown()]);
  });

  it("goes on where it was after the prober has died between two rounds", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
    const dying = await member(storage);
    await failCalls(dying, 1);
    await vi.advanceTimersByTimeAsync(1000);
    void dying.execute(() => new Promise(() => {})).catch(() => {});
    await vi.advanceTimersByTimeAsync(5000);
    // It holds the lease no longer, and a process that has seen none of it comes.
    const next = await member(storage);
    await failCalls(next, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", openings: 2 });
    expect(Math.round(await secondsOpen(next))).toBe(2);
    await Promise.all([dying.shutdown(), next.shutdown()]);
  });

  it("begins anew with an opening right after the closing, whatever is under way", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    let delayMs = 0;
    class Slow extends InMemoryStorage {
      override async change(...args: Parameters<InMemoryStorage["change"]>) {
        if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
        return super.change(...args);
      }
    }
    const storage = new Slow();
    const bulkhead = new Bulkhead(
      {
        name: "api",
        failureThreshold: 1,
        successThreshold: 2,
        isolationDuration: { min: 1, max: 100 },
      },
      { circuitStorage: storage },
    );
    await bulkhead.ready();
    for (const seconds of [1, 2, 4]) {
      await failCalls(bulkhead, 1);
      await vi.advanceTimersByTimeAsync(seconds * 1000);
    }
    await passCalls(bulkhead, 1);
    delayMs = 50;
    await vi.advanceTimersByTimeAsync(10); // the lease is being renewed
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(200);
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", openings: 1 });
    delayMs = 0;
    await vi.advanceTimersByTimeAsync(1000);
    await failCalls(bulkhead, 1);
    expect(await secondsOpen(bulkhead)).toBe(2);
    await bulkhead.shutdown();
  });

  it("keeps what grew while the storage was away", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    let isDown = false;
    class Away extends InMemoryStorage {
      override async load(name: string) {
        if (isDown) throw new Error("away");
        return super.load(name);
      }
      override async change(...args: Parameters<InMemoryStorage["change"]>) {
        if (isDown) throw new Error("away");
        return super.change(...args);
      }
    }
    const storage = new Away();
    const bulkhead = await member(storage);
    const round = async () => {
      await failCalls(bulkhead, 1);
      const seconds = Math.round(await secondsOpen(bulkhead));
      await vi.advanceTimersByTimeAsync(seconds * 1000 + 10);
      return seconds;
    };
    expect(await round()).toBe(1);
    isDown = true;
    expect([await round(), await round(), await round()]).toEqual([2, 4, 8]);
    isDown = false;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await round()).toBe(16);
    await bulkhead.shutdown();
  });

  it("is left as it is by a manual opening", async () => {
    const storage = new InMemoryStorage();
    const bulkhead = await member(storage);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    bulkhead.breaker?.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", openings: 1 });
    await bulkhead.shutdown();
  });
});

describe("the configuration of a growing isolation", () => {
  const of = (isolationDuration: unknown) => () =>
    new Bulkhead({ name: "api", isolationDuration } as BulkheadConfig);

  it("has a factor of 2 by default, and is frozen", () => {
    const { isolationDuration } = growing().config;
    expect(isolationDuration).toEqual({ min: 1, max: 10, factor: 2 });
    expect(Object.isFrozen(isolationDuration)).toBe(true);
  });

  it.each<[unknown, Error]>([
    [
      { max: 10 },
      new TypeError(
        "isolationDuration.min must be a number of seconds over 0 and up to 2147483.647; got undefined",
      ),
    ],
    [
      { min: 1 },
      new TypeError(
        "isolationDuration.max must be a number of seconds over 0 and up to 2147483.647; got undefined",
      ),
    ],
    [
      { min: 0, max: 1 },
      new RangeError(
        "isolationDuration.min must be a number of seconds over 0 and up to 2147483.647; got 0",
      ),
    ],
    [
      { min: "1", max: 1 },
      new TypeError(
        "isolationDuration.min must be a number of seconds over 0 and up to 2147483.647; got '1'",
      ),
    ],
    [
      { min: 2, max: 1 },
      new RangeError(
        "isolationDuration.max must be at least isolationDuration.min, which is 2; got 1",
      ),
    ],
    [
      { min: 1, max: 2, factor: 0.5 },
      new RangeError("isolationDuration.factor must be a number of at least 1; got 0.5"),
    ],
    [
      { min: 1, max: 2, factor: Number.POSITIVE_INFINITY },
      new RangeError("isolationDuration.factor must be a number of at least 1; got Infinity"),
    ],
    [
      { min: 1, max: 2, faktor: 3 },
      new TypeError('isolationDuration has no field "faktor"; did you mean "factor"?'),
    ],
    [
      [],
      new TypeError(
        "isolationDuration must be a number of seconds from 0 to 2147483.647, or { min, max, factor }; got []",
      ),
    ],
  ])("rejects %o", (given, error) => {
    expect(of(given)).toThrow(error);
  });
});
