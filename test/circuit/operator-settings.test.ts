import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  type CircuitSettings,
  InMemoryStorage,
} from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { UnreliableStorage } from "../helpers/unreliable-storage.js";

let storage: InMemoryStorage;
const bulkheads: Bulkhead[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  storage = new InMemoryStorage();
});
afterEach(async () => {
  await Promise.all(bulkheads.splice(0).map((bulkhead) => bulkhead.shutdown()));
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

async function shared(config: Partial<BulkheadConfig> = {}, circuitStorage = storage) {
  const bulkhead = new Bulkhead({ name: "api", ...config }, { circuitStorage });
  bulkheads.push(bulkhead);
  await bulkhead.ready();
  const configured: unknown[] = [];
  const errors: unknown[] = [];
  bulkhead.on("configured", ({ changed, by }) => configured.push(`${by}: ${changed}`));
  bulkhead.on("storageError", (error) => errors.push(error));
  return { bulkhead, configured, errors };
}

/** What `bulkman set` does. */
async function set(values: CircuitSettings["values"] | null, until: Date | null = null) {
  const { version } = await storage.load("api");
  const settings = values === null ? null : { values, until, reason: null, by: "ops@host" };
  await storage.configure("api", { version, settings });
  await vi.advanceTimersByTimeAsync(1000);
}

const later = (seconds: number) => new Date(Date.now() + seconds * 1000);

describe("the settings of an operator in the storage", () => {
  it("change the configuration of every bulkhead of that name, and their end restores it", async () => {
    const one = await shared({ maxConcurrentCalls: 20 });
    const other = await shared({ maxConcurrentCalls: 8 });
    await set({ maxConcurrentCalls: 5, timeoutSeconds: 2 });
    for (const { bulkhead, configured } of [one, other]) {
      expect(bulkhead.config).toMatchObject({ maxConcurrentCalls: 5, timeoutSeconds: 2 });
      expect(configured).toEqual(["operator: maxConcurrentCalls,timeoutSeconds"]);
    }
    await set(null);
    expect(one.bulkhead.config).toMatchObject({ maxConcurrentCalls: 20, timeoutSeconds: null });
    expect(other.bulkhead.config.maxConcurrentCalls).toBe(8);
  });

  it("are found by a bulkhead that starts later", async () => {
    await set({ maxQueueSize: 1 });
    const { bulkhead } = await shared();
    expect(bulkhead.config.maxQueueSize).toBe(1);
  });

  it("replace those before, as a whole", async () => {
    const { bulkhead } = await shared({ maxQueueSize: 7 });
    await set({ maxQueueSize: 1 });
    await set({ maxConcurrentCalls: 2 });
    expect(bulkhead.config).toMatchObject({ maxQueueSize: 7, maxConcurrentCalls: 2 });
  });

  it("end at their time, by a timer that does not keep the process alive", async () => {
    const { bulkhead, configured } = await shared();
    await set({ maxConcurrentCalls: 1 }, later(60));
    expect(bulkhead.config.maxConcurrentCalls).toBe(1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bulkhead.config.maxConcurrentCalls).toBe(10);
    expect(configured).toEqual(["operator: maxConcurrentCalls", "operator: maxConcurrentCalls"]);
  });

  it("that are over already change nothing", async () => {
    const { configured } = await shared();
    await set({ maxConcurrentCalls: 1 }, later(-1));
    expect(configured).toEqual([]);
  });

  it("go before configure(), whose changes hold when they end", async () => {
    const { bulkhead, configured } = await shared();
    await set({ maxConcurrentCalls: 5 });
    bulkhead.configure({ maxConcurrentCalls: 7, maxQueueSize: 3 });
    expect(bulkhead.config).toMatchObject({ maxConcurrentCalls: 5, maxQueueSize: 3 });
    await set(null);
    expect(bulkhead.config.maxConcurrentCalls).toBe(7);
    expect(configured).toEqual([
      "operator: maxConcurrentCalls",
      "program: maxQueueSize",
      "operator: maxConcurrentCalls",
    ]);
  });

  it.each([
    [{ maxConcurrentCalls: 0 }, "maxConcurrentCalls must be an integer of at least 1; got 0"],
    [{ maxConcurrency: 3 }, 'changes has no field "maxConcurrency"'],
    [{ name: "other" }, "name cannot be changed"],
    [{ healthCheck: "yes" }, "healthCheck must be a function"],
  ])(
    "that a process cannot take, %o, are reported, and it keeps what it has",
    async (values, why) => {
      const { bulkhead, configured, errors } = await shared();
      await set({ maxQueueSize: 5 });
      await set({ maxConcurrentCalls: 3, ...values });
      expect(bulkhead.config).toMatchObject({ maxConcurrentCalls: 10, maxQueueSize: 5 });
      expect(configured).toEqual(["operator: maxQueueSize"]);
      expect(errors).toEqual([
        expect.objectContaining({
          code: "ERR_BULKHEAD_SETTINGS",
          message: expect.stringContaining(why),
        }),
      ]);
      await set({ maxConcurrentCalls: 3 });
      expect(bulkhead.config.maxConcurrentCalls).toBe(3);
    },
  );

  it("leave an open circuit its end and its cause", async () => {
    const { bulkhead } = await shared({ failureThreshold: 1, isolationDuration: 30 });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    await set({ isolationDuration: 5 });
    expect(bulkhead.getStats()).toMatchObject({ circuitStatus: "OPEN", retryAfterSeconds: 28 });
  });

  it("can switch enforcing off and on again for the whole fleet", async () => {
    const { bulkhead, configured } = await shared({ maxConcurrentCalls: 1, maxQueueSize: 0 });
    await set({ enforce: false });
    expect(bulkhead.config.enforce).toBe(false);
    const permits = [await bulkhead.acquire(), await bulkhead.acquire()];
    for (const permit of permits) permit.succeed();
    await set(null);
    expect(bulkhead.config.enforce).toBe(true);
    expect(configured).toEqual(["operator: enforce", "operator: enforce"]);
  });

  it("are found by a bulkhead that only watches, without a write", async () => {
    await set({ maxConcurrentCalls: 3 });
    const load = vi.spyOn(storage, "load");
    const change = vi.spyOn(storage, "change");
    const { bulkhead } = await shared({ enforce: false });
    await vi.advanceTimersByTimeAsync(0);
    expect(bulkhead.config.maxConcurrentCalls).toBe(3);
    expect(load).not.toHaveBeenCalled();
    expect(change).not.toHaveBeenCalled();
  });

  it("cost one read for each notice, however many bulkheads watch, and none without", async () => {
    const { bulkhead } = await shared({ enforce: false });
    const read = vi.spyOn(storage, "getState");
    await vi.advanceTimersByTimeAsync(600_000);
    expect(read).not.toHaveBeenCalled();
    await set({ maxConcurrentCalls: 3 });
    expect(read).toHaveBeenCalledTimes(1);
    expect(bulkhead.config.maxConcurrentCalls).toBe(3);
  });

  it("end after longer than a timer can hold", async () => {
    const { bulkhead } = await shared();
    const thirtyDays = 30 * 24 * 3600;
    await set({ maxConcurrentCalls: 1 }, later(thirtyDays));
    await vi.advanceTimersByTimeAsync((thirtyDays - 60) * 1000);
    expect(bulkhead.config.maxConcurrentCalls).toBe(1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bulkhead.config.maxConcurrentCalls).toBe(10);
  });

  it("keep no timer when they are replaced, or removed, before their end", async () => {
    const { bulkhead } = await shared();
    await set({ maxConcurrentCalls: 1 }, later(60));
    await set({ maxConcurrentCalls: 2 });
    await vi.advanceTimersByTimeAsync(120_000);
    expect(bulkhead.config.maxConcurrentCalls).toBe(2);
    await set({ maxConcurrentCalls: 3 }, later(60));
    await set(null);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("are applied once, however often they are read", async () => {
    const { bulkhead, configured } = await shared({ failureThreshold: 1, isolationDuration: 0 });
    await set({ maxConcurrentCalls: 1 });
    bulkhead.configure({ maxQueueSize: 5 });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(configured).toEqual(["operator: maxConcurrentCalls", "program: maxQueueSize"]);
  });

  it("are read 200 ms after a notice at the earliest while a bulkhead only watches", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const { bulkhead } = await shared({ enforce: false });
    await vi.advanceTimersByTimeAsync(0);
    const { version } = await storage.load("api");
    const settings = { values: { maxQueueSize: 1 }, until: null, reason: null, by: null };
    await storage.configure("api", { version, settings });
    await vi.advanceTimersByTimeAsync(199);
    expect(bulkhead.config.maxQueueSize).toBe(100);
    await vi.advanceTimersByTimeAsync(1);
    expect(bulkhead.config.maxQueueSize).toBe(1);
    vi.restoreAllMocks();
  });

  it("report a storage that fails while a bulkhead only watches, and nothing after its shutdown", async () => {
    const down = new Error("down");
    const read = vi.spyOn(storage, "getState").mockRejectedValue(down);
    const { bulkhead, errors } = await shared({ enforce: false });
    await vi.advanceTimersByTimeAsync(0);
    expect(errors).toEqual([down]);
    await storage.load("api");
    await set({ maxQueueSize: 1 });
    expect(errors).toEqual([down, down]);
    await storage.load("api");
    const unanswered = set({ maxQueueSize: 2 });
    await bulkhead.shutdown();
    await unanswered;
    expect(errors).toHaveLength(2);
    expect(bulkhead.config.maxQueueSize).toBe(100);
    read.mockRestore();
  });

  it("report a storage that cannot be subscribed to while a bulkhead only watches", async () => {
    const broken = new Error("no subscriptions");
    vi.spyOn(storage, "subscribe").mockImplementation(() => {
      throw broken;
    });
    const bulkhead = new Bulkhead({ name: "api", enforce: false }, { circuitStorage: storage });
    const errors: unknown[] = [];
    bulkhead.on("storageError", (error) => errors.push(error));
    await vi.advanceTimersByTimeAsync(0);
    expect(errors).toEqual([broken]);
    await bulkhead.shutdown();
    vi.restoreAllMocks();
  });

  it("are not followed any more after a shutdown, nor by the reader when decisions are enforced", async () => {
    const unsubscribed = vi.fn();
    vi.spyOn(storage, "subscribe").mockImplementation(() => unsubscribed);
    const { bulkhead } = await shared({ enforce: false });
    bulkhead.configure({ enforce: true });
    expect(unsubscribed).toHaveBeenCalledTimes(1);
    bulkhead.configure({ enforce: false });
    expect(unsubscribed).toHaveBeenCalledTimes(2);
    await bulkhead.shutdown();
    expect(unsubscribed).toHaveBeenCalledTimes(3);
    vi.restoreAllMocks();
  });

  it("reach no process while the storage is down, and are found when it is back", async () => {
    const unreliable = new UnreliableStorage(storage);
    const { bulkhead, errors } = await shared({}, unreliable as unknown as InMemoryStorage);
    unreliable.mood = "down";
    unreliable.deaf = true;
    await set({ maxConcurrentCalls: 3 });
    expect(bulkhead.config.maxConcurrentCalls).toBe(10);
    await failCalls(bulkhead, 5);
    await vi.advanceTimersByTimeAsync(1000);
    expect(errors).toHaveLength(1);
    unreliable.mood = "well";
    unreliable.deaf = false;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bulkhead.config.maxConcurrentCalls).toBe(3);
  });
});
