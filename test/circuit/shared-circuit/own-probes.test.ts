import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type CircuitStorage, InMemoryStorage } from "../../../src/index.js";
import { failCalls, passCalls } from "../../helpers/failing.js";
import { gate } from "../../helpers/gate.js";
import { CIRCUIT_OPEN } from "../../helpers/rejections.js";
import { UnreliableStorage } from "../../helpers/unreliable-storage.js";

const config = { name: "api", failureThreshold: 1, successThreshold: 3, isolationDuration: 10 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function loaded(circuitStorage: CircuitStorage) {
  const bulkhead = new Bulkhead(config, { circuitStorage });
  const changes: string[] = [];
  bulkhead.on("stateChange", ({ from, to }) => changes.push(`${from} → ${to}`));
  await bulkhead.ready();
  return { bulkhead, changes };
}

/** One whose storage goes out as soon as the circuit is open, and another with a good way to it. */
async function cutOff() {
  const inner = new InMemoryStorage();
  const storage = new UnreliableStorage(inner);
  const far = await loaded(storage);
  const near = await loaded(inner);
  await failCalls(far.bulkhead, 1);
  await vi.advanceTimersByTimeAsync(0);
  storage.mood = "down";
  storage.deaf = true;
  await vi.advanceTimersByTimeAsync(10_000);
  const back = async () => {
    storage.mood = "well";
    storage.deaf = false;
    far.changes.length = 0;
    await vi.advanceTimersByTimeAsync(2000);
  };
  const end = async () => {
    await Promise.all([far.bulkhead.shutdown(), near.bulkhead.shutdown()]);
  };
  return { inner, far, near, back, end };
}

describe("what a circuit's own probes find out while its storage is out", () => {
  it("stays true when the storage is back: the circuit stays closed, and closes the record", async () => {
    const { inner, far, near, back, end } = await cutOff();
    await passCalls(far.bulkhead, 3);
    await back();
    expect(far.changes).toEqual([]);
    expect(await inner.getState("api")).toMatchObject({ state: "CLOSED" });
    expect([far, near].map(({ bulkhead }) => bulkhead.getState())).toEqual(["healthy", "healthy"]);
    await end();
  });

  it("stays true against a record whose lease has run out", async () => {
    const { inner, far, near, back, end } = await cutOff();
    near.bulkhead.execute(() => new Promise(() => {})).catch(() => {});
    await vi.advanceTimersByTimeAsync(30_000);
    await passCalls(far.bulkhead, 3);
    await back();
    expect(far.changes).toEqual([]);
    expect(await inner.getState("api")).toMatchObject({ state: "CLOSED" });
    await end();
  });

  it("stays true while the process has to ask for the lease more than once", async () => {
    const { inner, far, back, end } = await cutOff();
    await passCalls(far.bulkhead, 3);
    // Between each reading of the record and the change that follows, another process changes it.
    const change = inner.change.bind(inner);
    let others = 0;
    inner.change = async (name, asked) => {
      const { version } = await inner.load(name);
      if (others++ < 3) {
        await change(name, { to: "HALF_OPEN", version, owner: "another" });
        const taken = await inner.load(name);
        await change(name, { ...taken, to: "HALF_OPEN", owner: "another", early: true });
      }
      return change(name, asked);
    };
    await back();
    expect(others).toBe(5);
    expect(far.changes).toEqual([]);
    expect(await inner.getState("api")).toMatchObject({ state: "CLOSED" });
    await end();
  });

  it("follows the verdict of another process that probes", async () => {
    const { far, near, back, end } = await cutOff();
    await passCalls(far.bulkhead, 3);
    const probe = gate();
    const probing = near.bulkhead.execute(() => probe.promise);
    await back();
    expect(far.bulkhead.getState()).toBe("degraded");
    probe.fail(new Error("down"));
    await probing;
    await vi.advanceTimersByTimeAsync(0);
    expect(far.bulkhead.getState()).toBe("isolated");
    await end();
  });

  it("is not lost when the storage comes back in the middle of a probe", async () => {
    const { inner, far, back, end } = await cutOff();
    const probe = gate();
    const probing = far.bulkhead.execute(() => probe.promise);
    await back();
    expect(far.changes).toEqual([]);
    expect(await inner.getState("api")).toMatchObject({
      state: "HALF_OPEN",
      probeOwner: expect.any(String),
    });
    probe.open();
    await probing;
    await passCalls(far.bulkhead, 2);
    await vi.advanceTimersByTimeAsync(0);
    expect(far.changes).toEqual(["HALF_OPEN → CLOSED"]);
    expect(await inner.getState("api")).toMatchObject({ state: "CLOSED" });
    await end();
  });

  it("does not ask for a lease at the shutdown", async () => {
    const storage = new InMemoryStorage();
    const { bulkhead } = await loaded(storage);
    const change = storage.change.bind(storage);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    await passCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1);
    storage.change = () => Promise.reject(new Error("locked"));
    await passCalls(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(30_000);
    // The closing is rejected now, because the lease is over; and the lease cannot be acquired.
    storage.change = async (name, asked) => {
      if (asked.to === "HALF_OPEN") throw new Error("locked");
      return change(name, asked);
    };
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bulkhead.getState()).toBe("healthy");
    storage.change = change;
    await bulkhead.shutdown();
    expect(await storage.getState("api")).toMatchObject({ state: "HALF_OPEN", probeOwner: null });
  });

  it("is written when it is that the dependency is still down, for the rest of the isolation", async () => {
    const { inner, far, near, back, end } = await cutOff();
    await passCalls(near.bulkhead, 1);
    await vi.advanceTimersByTimeAsync(30_000);
    await failCalls(far.bulkhead, 1);
    await back();
    expect(await inner.getState("api")).toMatchObject({ state: "OPEN" });
    await expect(near.bulkhead.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 8,
    });
    await end();
  });
});
