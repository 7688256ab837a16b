import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadManager, InMemoryStorage } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function opened() {
  const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
  const { version } = await storage.load("api");
  const opening = { to: "OPEN", version, owner: "a", openSeconds: 30, failureCount: 1 } as const;
  const { record } = await storage.change("api", opening);
  const ask = async (owner: string) => {
    const newest = (await storage.getState("api"))?.version ?? 0;
    return (await storage.change("api", { to: "HALF_OPEN", version: newest, owner })).changed;
  };
  return { storage, record, ask };
}

it.each([-3600, 3600])(
  "counts isolation and lease right when the clock is set by %d s",
  async (seconds) => {
    const { ask, storage } = await opened();
    vi.setSystemTime(Date.now() + seconds * 1000);
    await vi.advanceTimersByTimeAsync(29_000);
    expect(await ask("a")).toBe(false);
    const { openUntil, readAt } = (await storage.getState("api")) ?? {};
    expect(Number(openUntil) - Number(readAt)).toBe(1000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await ask("a")).toBe(true);
    vi.setSystemTime(Date.now() - seconds * 1000);
    await vi.advanceTimersByTimeAsync(4999);
    expect(await ask("b")).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(await ask("b")).toBe(true);
  },
);

it("has the isolation over for who slept for all of it, by a timer that fires a millisecond early", async () => {
  const { ask } = await opened();
  await vi.advanceTimersByTimeAsync(29_998);
  expect(await ask("a")).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(await ask("a")).toBe(true);
});

it("says when it is by the clock of when it was made", async () => {
  const made = Date.now();
  const { record } = await opened();
  await vi.advanceTimersByTimeAsync(1000);
  expect(record.readAt.getTime()).toBe(made);
  expect(record.openUntil?.getTime()).toBe(made + 30_000);
});

describe("a circuit that no bulkhead uses any more", () => {
  it("is kept while it has settings, for the next bulkhead of its name", async () => {
    const circuitStorage = new InMemoryStorage();
    const settings = { values: { maxQueueSize: 1 }, until: null, reason: null, by: "me@host" };
    const bulkhead = new Bulkhead(config, { circuitStorage });
    await bulkhead.ready();
    const { version } = await circuitStorage.load("api");
    const kept = await circuitStorage.configure("api", { version, settings });
    await bulkhead.shutdown();
    expect(await circuitStorage.getState("api")).toMatchObject({ settings });
    await circuitStorage.configure("api", { version: kept.record.version, settings: null });
    expect(await circuitStorage.getState("api")).toBeNull();
  });

  const subscriber = { onRecord: () => {}, onError: () => {} };
  const config = { name: "api", failureThreshold: 1, successThreshold: 1, isolationDuration: 10 };

  it("is forgotten when it is closed, and not before the last of its bulkheads is gone", async () => {
    const circuitStorage = new InMemoryStorage();
    const [one, other] = [1, 2].map(() => new Bulkhead(config, { circuitStorage }));
    await Promise.all([one?.ready(), other?.ready()]);
    await one?.shutdown();
    expect(await circuitStorage.getState("api")).toMatchObject({ state: "CLOSED" });
    await other?.shutdown();
    expect(await circuitStorage.getState("api")).toBeNull();
  });

  it("is forgotten when its bulkhead is removed from its manager, also before it was loaded", async () => {
    const circuitStorage = new InMemoryStorage();
    const manager = new BulkheadManager({ circuitStorage });
    await manager.createBulkhead({ name: "loaded" });
    void manager.createBulkhead({ name: "new" });
    manager.removeBulkhead("loaded");
    manager.removeBulkhead("new");
    await vi.advanceTimersByTimeAsync(0);
    expect(await circuitStorage.getState("loaded")).toBeNull();
    expect(await circuitStorage.getState("new")).toBeNull();
  });

  it("is kept while it is open, so that the next bulkhead of that name finds it so", async () => {
    const circuitStorage = new InMemoryStorage();
    const first = new Bulkhead(config, { circuitStorage });
    await failCalls(first, 1);
    await first.shutdown();
    expect(await circuitStorage.getState("api")).toMatchObject({ state: "OPEN" });

    const next = new Bulkhead(config, { circuitStorage });
    await next.ready();
    expect(next.getStats().circuitStatus).toBe("OPEN");
    await vi.advanceTimersByTimeAsync(10_000);
    await passCalls(next, 1);
    expect(next.getStats().circuitStatus).toBe("CLOSED");
    await next.shutdown();
    expect(await circuitStorage.getState("api")).toBeNull();
  });

  it("is forgotten when somebody closes it after that", async () => {
    const { storage, record } = await opened();
    storage.subscribe("api", subscriber)();
    const closing = { to: "CLOSED", version: record.version, owner: "a", byHand: true } as const;
    const { changed, record: closed } = await storage.change("api", closing);
    expect(changed).toBe(true);
    expect(closed).toMatchObject({ state: "CLOSED", version: record.version + 1 });
    expect(await storage.getState("api")).toBeNull();
  });

  it("is kept when no bulkhead ever used it", async () => {
    const { storage, record } = await opened();
    await storage.change("api", {
      to: "CLOSED",
      version: record.version,
      owner: "a",
      byHand: true,
    });
    expect(await storage.getState("api")).toMatchObject({ state: "CLOSED" });
  });

  it("has a higher version when it is created again, in the same millisecond too", async () => {
    const storage = new InMemoryStorage();
    let last = 0;
    for (let n = 0; n < 10; n++) {
      const unsubscribe = storage.subscribe("api", subscriber);
      let { version } = await storage.load("api");
      expect(version).toBeGreaterThan(last);
      for (const to of ["OPEN", "CLOSED"] as const) {
        const common = { version, owner: "a", byHand: true };
        const change =
          to === "OPEN" ? { to, ...common, openSeconds: 1, failureCount: 1 } : { to, ...common };
        ({ version } = (await storage.change("api", change)).record);
      }
      last = version;
      unsubscribe();
      expect(await storage.getState("api")).toBeNull();
    }
  });

  it("stays with its other subscribers when one unsubscribes twice", async () => {
    const storage = new InMemoryStorage();
    const unsubscribe = storage.subscribe("api", { ...subscriber });
    unsubscribe();
    const onRecord = vi.fn();
    storage.subscribe("api", { ...subscriber, onRecord });
    unsubscribe();
    const { version } = await storage.load("api");
    const opening = { to: "OPEN", version, owner: "a", openSeconds: 1, failureCount: 1 } as const;
    await storage.change("api", opening);
    expect(onRecord).toHaveBeenCalledTimes(1);
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN" });
  });

  it("takes no memory, however many names there were", async () => {
    vi.useRealTimers();
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const storage = new InMemoryStorage();
    const useNames = async (names: number) => {
      for (let n = 0; n < names; n++) {
        const unsubscribe = storage.subscribe(`api ${n}`, subscriber);
        await storage.load(`api ${n}`);
        unsubscribe();
      }
      collect();
      return process.memoryUsage().heapUsed;
    };
    await useNames(100);
    const before = await useNames(100);
    const after = await useNames(50_000);
    // Those that are kept take about 35 MB.
    expect((after - before) / 2 ** 20).toBeLessThan(10);
    expect(await storage.getState("api 7")).toBeNull();
  });
});
