import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type CircuitRecord,
  type CircuitStorage,
  type CircuitSubscriber,
  InMemoryStorage,
} from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { gate } from "../helpers/gate.js";
import { CIRCUIT_OPEN } from "../helpers/rejections.js";
import { UnreliableStorage } from "../helpers/unreliable-storage.js";

const config = { name: "api", failureThreshold: 2, successThreshold: 2, isolationDuration: 10 };

async function loaded(circuitStorage: CircuitStorage, settings = {}) {
  const bulkhead = new Bulkhead({ ...config, ...settings }, { circuitStorage });
  await bulkhead.ready();
  return bulkhead;
}

/** Two bulkheads of one name, as in two processes. */
async function pair(circuitStorage: CircuitStorage = new InMemoryStorage()) {
  return [await loaded(circuitStorage), await loaded(circuitStorage)] as const;
}

function flush() {
  return vi.advanceTimersByTimeAsync(0);
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a circuit that bulkheads of one name share", () => {
  it("opens for all when one opens it, with the same end of the isolation", async () => {
    const [a, b] = await pair();
    await failCalls(a, 2);
    await flush();
    await expect(b.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 10,
    });
  });

  it("is one for each name and each storage", async () => {
    const storage = new InMemoryStorage();
    const a = await loaded(storage);
    const other = await loaded(storage, { name: "other" });
    const elsewhere = await loaded(new InMemoryStorage());
    await failCalls(a, 2);
    await flush();
    expect([a, other, elsewhere].map((b) => b.getState())).toEqual([
      "isolated",
      "healthy",
      "healthy",
    ]);
  });

  it("is loaded by the next bulkhead: its first call is rejected, for the time that is left", async () => {
    const storage = new InMemoryStorage();
    await failCalls(await loaded(storage), 2);
    vi.advanceTimersByTime(4000);
    const late = new Bulkhead(config, { circuitStorage: storage });
    const started = vi.fn();
    await expect(late.execute(started)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 6,
    });
    expect(started).not.toHaveBeenCalled();
  });

  it("is known to the storage as soon as a bulkhead is ready, and shows each change", async () => {
    const storage = new InMemoryStorage();
    expect(await storage.getState("api")).toBeNull();
    const bulkhead = await loaded(storage);
    expect(await storage.getState("api")).toMatchObject({ state: "CLOSED", openUntil: null });
    await failCalls(bulkhead, 2);
    expect(await storage.getState("api")).toMatchObject({
      state: "OPEN",
      failureCount: 2,
      openUntil: new Date(Date.now() + 10_000),
    });
    vi.advanceTimersByTime(10_000);
    await passCalls(bulkhead, 1);
    expect(await storage.getState("api")).toMatchObject({ state: "HALF_OPEN", openUntil: null });
    await passCalls(bulkhead, 1);
    expect(await storage.getState("api")).toMatchObject({ state: "CLOSED", failureCount: 0 });
  });

  it("has one prober: the others reject calls until it closes the circuit for all", async () => {
    const [a, b] = await pair();
    await failCalls(a, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    expect([a.getState(), b.getState()]).toEqual(["degraded", "degraded"]);
    const probe = gate();
    const probing = b.execute(() => probe.promise);
    await flush();
    const started = vi.fn();
    await expect(a.execute(started)).rejects.toMatchObject(CIRCUIT_OPEN);
    await passCalls(b, 1);
    await expect(a.execute(started)).rejects.toMatchObject(CIRCUIT_OPEN);
    probe.open();
    await probing;
    await flush();
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
    await passCalls(a, 1);
    expect(started).not.toHaveBeenCalled();
  });

  it("grants the lease to one of two that ask at the same time", async () => {
    const [a, b] = await pair();
    await failCalls(a, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    const outcomes = await Promise.allSettled([a.execute(() => "a"), b.execute(() => "b")]);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });

  it("holds probes back until the lease is there, and never more than successThreshold", async () => {
    const storage = new UnreliableStorage();
    const a = await loaded(storage);
    await failCalls(a, 2);
    vi.advanceTimersByTime(10_000);
    const started: number[] = [];
    const calls = [1, 2, 3].map((n) =>
      a
        .execute(() => started.push(n))
        .then(
          () => "ran",
          () => "refused",
        ),
    );
    expect(started).toEqual([]);
    expect(a.getStats()).toMatchObject({ queuedTasks: 2, activeTasks: 0 });
    expect(await Promise.all(calls)).toEqual(["ran", "ran", "refused"]);
    expect(started).toEqual([1, 2]);
    expect(a.getState()).toBe("healthy");
  });

  it("passes to another prober when the lease of the first runs out, whose verdict then counts no more", async () => {
    const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
    const [a, b] = await pair(storage);
    await failCalls(a, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    const stuck = gate();
    const slow = a.execute(() => stuck.promise);
    await flush();
    await expect(b.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 5,
    });
    vi.advanceTimersByTime(5000);
    await passCalls(b, 1);
    stuck.fail(new Error("too late to matter"));
    await slow;
    await flush();
    expect([a.getState(), b.getState()]).toEqual(["degraded", "degraded"]);
    await passCalls(b, 1);
    await flush();
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
  });

  it.each([
    ["the isolation is over", 10_000, 2],
    ["the lease of a prober has run out", 40_000, 1],
  ])("is probed by the first calls of a new bulkhead, when %s", async (what, laterMs, places) => {
    const storage = new InMemoryStorage();
    const a = await loaded(storage);
    await failCalls(a, 2);
    vi.advanceTimersByTime(10_000);
    if (places === 1) {
      await passCalls(a, 1);
      await vi.advanceTimersByTimeAsync(0);
    }
    vi.advanceTimersByTime(laterMs - 10_000);
    const changes: string[] = [];
    const late = new Bulkhead(config, { circuitStorage: storage });
    late.on("stateChange", ({ from, to }) => changes.push(`${from} → ${to}`));
    const outcomes = await Promise.allSettled([1, 2, 3].map((n) => late.execute(async () => n)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(places);
    expect(late.getStats()).toMatchObject({
      circuitStatus: "CLOSED",
      rejections: { circuitOpen: 3 - places },
    });
    const before =
      what === "the isolation is over"
        ? ["CLOSED → OPEN", "OPEN → HALF_OPEN"]
        : ["CLOSED → HALF_OPEN"];
    expect(changes).toEqual([...before, "HALF_OPEN → CLOSED"]);
    expect(await storage.getState("api")).toMatchObject({ state: "CLOSED" });
  });

  it("is closed by few calls, too: each success renews the lease", async () => {
    const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
    const a = await loaded(storage, { successThreshold: 3 });
    await failCalls(a, 2);
    await vi.advanceTimersByTimeAsync(10_000);
    for (const successes of [1, 2]) {
      await passCalls(a, 1);
      await flush();
      expect(await storage.getState("api")).toMatchObject({
        state: "HALF_OPEN",
        probeSuccesses: successes,
        probeUntil: new Date(Date.now() + 5000),
      });
      await vi.advanceTimersByTimeAsync(4000);
    }
    await passCalls(a, 1);
    expect(a.getState()).toBe("healthy");
  });

  it("is closed by fewer calls still: a prober counts on from the successes of the last one", async () => {
    const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
    const members = await Promise.all(
      [1, 2, 3].map(() => loaded(storage, { successThreshold: 3 })),
    );
    for (const member of members.slice(0, 1)) await failCalls(member, 2);
    await vi.advanceTimersByTimeAsync(10_000);
    for (const member of members) {
      await passCalls(member, 1);
      await vi.advanceTimersByTimeAsync(6000);
    }
    expect(members.map((member) => member.getState())).toEqual(Array(3).fill("healthy"));
  });

  it("needs one more success at least of a prober that asks for fewer than there were", async () => {
    const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
    const patient = await loaded(storage, { successThreshold: 5 });
    const quick = await loaded(storage, { successThreshold: 1 });
    await failCalls(patient, 2);
    await vi.advanceTimersByTimeAsync(10_000);
    await passCalls(patient, 3);
    await vi.advanceTimersByTimeAsync(6000);
    expect(quick.getState()).toBe("degraded");
    const outcomes = await Promise.allSettled([1, 2].map((n) => quick.execute(async () => n)));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(quick.getState()).toBe("healthy");
  });

  it("opens again for all when the probe fails", async () => {
    const [a, b] = await pair();
    await failCalls(a, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    await failCalls(b, 1);
    await flush();
    vi.advanceTimersByTime(9_999);
    await expect(a.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
  });

  it("returns its lease when the bulkhead is shut down", async () => {
    const [a, b] = await pair();
    await failCalls(a, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    const probe = gate();
    const probing = a.execute(() => probe.promise);
    await flush();
    await a.shutdown();
    await flush();
    await passCalls(b, 2);
    expect(b.getState()).toBe("healthy");
    probe.open();
    await probing;
  });

  it("returns the successes of its probes with its lease, also those of the same moment", async () => {
    const storage = new InMemoryStorage();
    const first = await loaded(storage, { successThreshold: 3 });
    const second = await loaded(storage, { successThreshold: 3 });
    await failCalls(first, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    await passCalls(first, 2);
    await first.shutdown();
    expect(await storage.getState("api")).toMatchObject({
      state: "HALF_OPEN",
      probeOwner: null,
      probeSuccesses: 2,
    });
    await flush();
    await passCalls(second, 1);
    expect(second.getState()).toBe("healthy");
  });

  it("opens in the storage at the shutdown when its last probe failed and that was not sent yet", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const prober = await loaded(storage, { successThreshold: 3 });
    await failCalls(prober, 2);
    await flush();
    vi.advanceTimersByTime(10_000);
    await passCalls(prober, 2);
    await vi.advanceTimersByTimeAsync(1);
    storage.mood = "down";
    await failCalls(prober, 1);
    await flush();
    storage.mood = "well";
    await prober.shutdown();
    expect(await inner.getState("api")).toMatchObject({ state: "OPEN", probeSuccesses: 0 });
  });

  it("rejects queued calls when another process opens it", async () => {
    const storage = new InMemoryStorage();
    const a = await loaded(storage, { maxConcurrentCalls: 1 });
    const b = await loaded(storage);
    const busy = gate();
    const running = a.execute(() => busy.promise);
    const waiting = expect(a.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    await failCalls(b, 2);
    await waiting;
    busy.open();
    await running;
  });

  it("follows open() and close() of the breaker of every process", async () => {
    const [a, b] = await pair();
    a.breaker?.open();
    await flush();
    expect(b.getState()).toBe("isolated");
    b.breaker?.close();
    await flush();
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
  });

  it("applies a manual change also when another process was a moment faster", async () => {
    const [a, b] = await pair();
    a.breaker?.open();
    await flush();
    vi.advanceTimersByTime(10_000);
    const probing = b.execute(async () => "up");
    a.breaker?.close();
    await probing;
    await flush();
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
  });

  it("applies a manual change also when the change of another process is read before it is sent", async () => {
    const storage = new InMemoryStorage();
    const a = await loaded(storage);
    const { load } = storage;
    storage.load = async (name) => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      return load.call(storage, name);
    };
    const { version } = await load.call(storage, "api");
    const opening = {
      to: "OPEN",
      version,
      owner: "another",
      openSeconds: 0,
      failureCount: 1,
    } as const;
    const random = vi.spyOn(Math, "random").mockReturnValue(1);
    const opened = await storage.change("api", opening);
    // The notice of that is being confirmed.
    await vi.advanceTimersByTimeAsync(1000);
    random.mockRestore();
    const claim = { to: "HALF_OPEN", version: opened.record.version, owner: "another" } as const;
    await storage.change("api", claim);
    a.breaker?.close();
    a.breaker?.open();
    await vi.advanceTimersByTimeAsync(100);
    expect(a.getState()).toBe("isolated");
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", probeOwner: null });
    await a.shutdown();
  });

  it("keeps counting failures when another record is closed, too", async () => {
    const storage = new InMemoryStorage();
    const a = await loaded(storage);
    await failCalls(a, 1);
    const { version } = await storage.load("api");
    await storage.change("api", { to: "CLOSED", version, owner: "operator", byHand: true });
    await flush();
    await failCalls(a, 1);
    expect(a.getState()).toBe("isolated");
  });

  it("is opened manually when the bulkhead is shut down right after, before it is loaded", async () => {
    const storage = new InMemoryStorage();
    const bulkhead = new Bulkhead(config, { circuitStorage: storage });
    bulkhead.breaker?.open();
    await bulkhead.shutdown();
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN" });
  });

  it("has the reason of a manual isolation of the fleet, and no health check ends that", async () => {
    const storage = new InMemoryStorage();
    const a = await loaded(storage, { healthCheck: () => true, healthCheckInterval: 1 });
    const changes: string[] = [];
    a.on("stateChange", ({ to, reason }) => changes.push(`${to}: ${reason}`));
    const { version } = await storage.load("api");
    const isolation = { to: "OPEN", version, owner: "operator", byHand: true } as const;
    await storage.change("api", {
      ...isolation,
      openSeconds: 60,
      failureCount: 0,
      reason: "the vendor asked for it",
    });
    await vi.advanceTimersByTimeAsync(5000);
    expect(changes).toEqual(["OPEN: isolated: the vendor asked for it"]);
    await expect(a.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    await a.shutdown();
  });

  it("lets another probe after a health check of one ended the isolation", async () => {
    const storage = new InMemoryStorage();
    const [a, b] = [
      await loaded(storage, { healthCheck: () => true, healthCheckInterval: 1 }),
      await loaded(storage),
    ];
    await failCalls(b, 2);
    await flush();
    await vi.advanceTimersByTimeAsync(1000);
    expect([a.getState(), b.getState()]).toEqual(["degraded", "degraded"]);
    await passCalls(b, 2);
    await flush();
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
    await a.shutdown();
  });
});

describe("the storage is never a dependency of the calls", () => {
  it("is asked once when a bulkhead loads, and not at all while the circuit is closed", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = await loaded(storage);
    for (let n = 0; n < 100; n++) {
      await passCalls(bulkhead, 1);
      await failCalls(bulkhead, 1);
    }
    expect(storage.asked).toEqual(["load"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is asked nothing for a rejected call", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = await loaded(storage);
    await failCalls(bulkhead, 2);
    storage.asked.length = 0;
    for (let n = 0; n < 10; n++)
      await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    expect(storage.asked).toEqual([]);
  });

  it.each(["down", "hanging"] as const)(
    "works by itself while the storage is %s from the start, with one storageError",
    async (mood) => {
      const storage = new UnreliableStorage();
      storage.mood = mood;
      const bulkhead = new Bulkhead(config, { circuitStorage: storage });
      const told: unknown[] = [];
      bulkhead.on("storageError", (error) => told.push(error));
      const first = bulkhead.execute(() => "first");
      await vi.advanceTimersByTimeAsync(1000);
      expect((await first).result).toBe("first");
      await bulkhead.ready();
      await failCalls(bulkhead, 2);
      await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
      await vi.advanceTimersByTimeAsync(10_000);
      await Promise.all([passCalls(bulkhead, 2), vi.advanceTimersByTimeAsync(5000)]);
      expect(bulkhead.getState()).toBe("healthy");
      expect(told).toEqual([expect.any(Error)]);
      await bulkhead.shutdown();
    },
  );

  it("catches up: an opening of its own is written when the storage is back", async () => {
    const storage = new UnreliableStorage();
    const [a, b] = await pair(storage);
    storage.mood = "down";
    await failCalls(a, 2);
    expect([a.getState(), b.getState()]).toEqual(["isolated", "healthy"]);
    storage.mood = "well";
    await vi.advanceTimersByTimeAsync(1000);
    expect(b.getState()).toBe("isolated");
    await expect(b.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
  });

  it("catches up: its own opening is written also when others opened and closed meanwhile", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const [a, b] = [await loaded(storage), await loaded(inner)];
    storage.mood = "down";
    storage.deaf = true;
    b.breaker?.open();
    await flush();
    b.breaker?.close();
    await flush();
    await failCalls(a, 2);
    storage.mood = "well";
    storage.deaf = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect([a.getState(), b.getState()]).toEqual(["isolated", "isolated"]);
    expect(await inner.getState("api")).toMatchObject({ state: "OPEN", failureCount: 2 });
  });

  it("catches up: an opening that was written unseen is not written again when it was closed since", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const [a, b] = [await loaded(storage), await loaded(inner)];
    const change = storage.change.bind(storage);
    storage.deaf = true;
    storage.change = async (...asked) => {
      await change(...asked);
      throw new Error("the answer was lost");
    };
    await failCalls(a, 2);
    await flush();
    b.breaker?.close();
    storage.change = change;
    storage.deaf = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
  });

  it("catches up: an opening is written again when the storage has lost it", async () => {
    let current = new InMemoryStorage();
    let tell: CircuitSubscriber["onRecord"] = () => {};
    const failingOver: CircuitStorage = {
      getState: (name) => current.getState(name),
      load: (name) => current.load(name),
      change: (name, change) => current.change(name, change),
      subscribe: (_, subscriber) => {
        tell = (record) => subscriber.onRecord(record);
        return () => {};
      },
      close: () => current.close(),
    };
    const a = await loaded(failingOver);
    await failCalls(a, 2);
    await vi.advanceTimersByTimeAsync(4000);
    current = new InMemoryStorage();
    const b = await loaded(current);
    tell(await current.load("api"));
    await flush();
    expect(a.getState()).toBe("isolated");
    await expect(b.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 6,
    });
  });

  it("catches up: no isolation is written that is over by then", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const [a, b] = [await loaded(storage), await loaded(inner)];
    storage.mood = "down";
    await failCalls(a, 2);
    b.breaker?.open();
    await flush();
    b.breaker?.close();
    await flush();
    vi.advanceTimersByTime(60_000);
    storage.mood = "well";
    await vi.advanceTimersByTimeAsync(60_000);
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
  });

  it("catches up: no verdict is written of a prober whose lease ran out", async () => {
    const inner = new InMemoryStorage({ probeLeaseSeconds: 5 });
    const storage = new UnreliableStorage(inner);
    const [a, b] = [await loaded(storage), await loaded(inner)];
    await failCalls(a, 2);
    await vi.advanceTimersByTimeAsync(10_000);
    await passCalls(a, 1);
    storage.mood = "down";
    storage.deaf = true;
    await failCalls(a, 1);
    await vi.advanceTimersByTimeAsync(5000);
    await passCalls(b, 2);
    storage.mood = "well";
    storage.deaf = false;
    await vi.advanceTimersByTimeAsync(30_000);
    expect([a.getState(), b.getState()]).toEqual(["healthy", "healthy"]);
  });

  it("catches up: a change that it missed is followed when the storage is back", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const a = await loaded(storage);
    const b = await loaded(inner);
    storage.deaf = true;
    await failCalls(b, 2);
    await flush();
    expect(a.getState()).toBe("healthy");
    // Its own opening comes second: it follows the one that was first.
    vi.advanceTimersByTime(3000);
    await failCalls(a, 2);
    await flush();
    await expect(a.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 7,
    });
  });

  it("never overwrites what others decided while it was cut off", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const a = await loaded(storage);
    const b = await loaded(inner, { isolationDuration: 60 });
    storage.mood = "down";
    storage.deaf = true;
    await failCalls(b, 2);
    await failCalls(a, 2);
    await vi.advanceTimersByTimeAsync(10_000);
    await passCalls(a, 2);
    expect([a.getState(), b.getState()]).toEqual(["healthy", "isolated"]);
    storage.mood = "well";
    storage.deaf = false;
    await vi.advanceTimersByTimeAsync(30_000);
    expect([a.getState(), b.getState()]).toEqual(["isolated", "isolated"]);
    expect(await inner.getState("api")).toMatchObject({ state: "OPEN" });
    await a.shutdown();
  });

  it("emits each outage once, and the next outage again", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = await loaded(storage);
    const told = vi.fn();
    bulkhead.on("storageError", told);
    storage.breakSubscriptions();
    storage.breakSubscriptions();
    storage.mood = "down";
    await failCalls(bulkhead, 2);
    await flush();
    expect(told).toHaveBeenCalledTimes(1);
    storage.mood = "well";
    await vi.advanceTimersByTimeAsync(2000);
    storage.breakSubscriptions();
    expect(told).toHaveBeenCalledTimes(2);
  });

  it("emits one storageError when the storage answers but accepts no change, and asks less and less often", async () => {
    const inner = new InMemoryStorage();
    const storage = new UnreliableStorage(inner);
    const bulkhead = await loaded(storage, { isolationDuration: 600 });
    const told = vi.fn();
    bulkhead.on("storageError", told);
    storage.change = () => {
      storage.asked.push("change");
      return Promise.reject(new Error("locked"));
    };
    await failCalls(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toHaveBeenCalledTimes(1);
    expect(storage.asked.filter((question) => question === "change").length).toBeLessThan(12);
    await bulkhead.shutdown();
  });

  it("survives a storage that throws instead of rejecting", async () => {
    const fault = () => {
      throw new Error("not even a promise");
    };
    const broken: CircuitStorage = {
      getState: fault,
      load: fault,
      change: fault,
      subscribe: fault,
      close: fault,
    };
    const bulkhead = new Bulkhead(config, { circuitStorage: broken });
    const told = vi.fn();
    bulkhead.on("storageError", told);
    await bulkhead.ready();
    expect((await bulkhead.execute(() => 1)).result).toBe(1);
    await failCalls(bulkhead, 2);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    await flush();
    expect(told).toHaveBeenCalledTimes(1);
    await bulkhead.shutdown();
    expect(vi.getTimerCount()).toBe(0);
  });

  describe("a storage that returns an invalid record", () => {
    const INVALID: ReadonlyArray<[what: string, fields: unknown, message: RegExp]> = [
      ["nothing", undefined, /the record of a circuit must be an object; got undefined/],
      ["a string", "OPEN", /must be an object/],
      [
        "an empty record",
        {},
        /state of a circuit's record must be "CLOSED", "OPEN" or "HALF_OPEN"/,
      ],
      ["an unknown state", { state: "AJAR" }, /state of a circuit's record must be .*'AJAR'/],
      ["a state in a list", { state: ["OPEN"] }, /state of a circuit's record must be/],
      [
        "a version as a string",
        { version: "7" },
        /version of a circuit's record must be a safe integer/,
      ],
      [
        "a version that is no safe integer",
        { version: 2 ** 53 },
        /version .* must be a safe integer/,
      ],
      [
        "a time as a string",
        { openUntil: "2999-01-01" },
        /openUntil .* must be a valid Date, or null/,
      ],
      ["an invalid Date", { readAt: new Date("x") }, /readAt .* must be a valid Date/],
      [
        "successes as a bigint",
        { probeSuccesses: 2n },
        /probeSuccesses .* an integer of at least 0; got 2n/,
      ],
      [
        "half a success",
        { probeSuccesses: 0.5 },
        /probeSuccesses .* must be an integer of at least 0/,
      ],
      [
        "no successes",
        { probeSuccesses: undefined },
        /probeSuccesses .* must be an integer of at least 0/,
      ],
      [
        "an opener that is no string",
        { openedBy: 7 },
        /openedBy .* must be a string, or null; got 7/,
      ],
      [
        "a reason that is no string",
        { reason: Object.create(null) },
        /reason .* must be a string, or null/,
      ],
      [
        "no end of the lease",
        { probeUntil: undefined },
        /probeUntil .* must be a valid Date, or null/,
      ],
    ];

    /** The record with the invalid fields; or what is returned instead of a record. */
    function invalid(record: CircuitRecord, fields: unknown): CircuitRecord {
      const isRecord = typeof fields === "object" && Object.keys(fields ?? {}).length > 0;
      return (isRecord ? { ...record, ...fields } : fields) as CircuitRecord;
    }

    async function observed(storage: CircuitStorage) {
      const bulkhead = new Bulkhead(config, { circuitStorage: storage });
      const errors: string[] = [];
      bulkhead.on("storageError", (error) => errors.push(String(error)));
      await bulkhead.ready();
      return { bulkhead, errors };
    }

    it("in a notice: emits storageError, and reads the record", async () => {
      for (const [what, fields, message] of INVALID) {
        const storage = new InMemoryStorage();
        const { subscribe } = storage;
        storage.subscribe = (name, { onRecord, onError }) =>
          subscribe.call(storage, name, {
            onRecord: (record) => onRecord(invalid(record, fields)),
            onError,
          });
        const { bulkhead, errors } = await observed(storage);
        const { version } = await storage.load("api");
        const opening = {
          to: "OPEN",
          version,
          owner: "a",
          openSeconds: 9,
          failureCount: 1,
        } as const;
        await storage.change("api", opening);
        await flush();
        expect(errors, what).toEqual([expect.stringMatching(message)]);
        await vi.advanceTimersByTimeAsync(500);
        expect(bulkhead.getState(), what).toBe("isolated");
        expect(errors).toHaveLength(1);
      }
    });

    it("with each answer: is not asked without a pause", async () => {
      const fields = { state: "AJAR" };
      const storage = new InMemoryStorage();
      const { load } = storage;
      let onRecord = (_record: CircuitRecord) => {};
      let loads = 0;
      storage.subscribe = (_name, subscriber) => {
        onRecord = (record) => subscriber.onRecord(record);
        return () => {};
      };
      storage.load = async (name) => {
        loads++;
        const record = await load.call(storage, name);
        setTimeout(() => onRecord(invalid(record, fields)), 1);
        return record;
      };
      const { bulkhead } = await observed(storage);
      await vi.advanceTimersByTimeAsync(10_000);
      expect(loads).toBeGreaterThan(10);
      expect(loads).toBeLessThan(50);
      await bulkhead.shutdown();
    });

    it("in an answer: emits one storageError, and the circuit works by itself", async () => {
      for (const [what, fields, message] of INVALID) {
        const storage = new InMemoryStorage();
        const { load, change } = storage;
        storage.load = async (name) => invalid(await load.call(storage, name), fields);
        const { bulkhead, errors } = await observed(storage);
        await passCalls(bulkhead, 1);
        await failCalls(bulkhead, 2);
        await flush();
        await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
        expect(errors, what).toEqual([expect.stringMatching(message)]);
        storage.load = load;
        storage.change = async (name, asked) => {
          const result = await change.call(storage, name, asked);
          return { ...result, record: invalid(result.record, fields) };
        };
        await vi.advanceTimersByTimeAsync(5000);
        expect(errors).toHaveLength(1);
        expect(bulkhead.getState(), what).toBe("isolated");
        await bulkhead.shutdown();
      }
    });
  });

  it("leaves nothing behind at shutdown, also in the middle of a question", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = await loaded(storage);
    storage.mood = "hanging";
    await failCalls(bulkhead, 2);
    const down = bulkhead.shutdown();
    await vi.advanceTimersByTimeAsync(1000);
    await down;
    expect(storage.subscriberCount).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});
