import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type CircuitStorage, InMemoryStorage } from "../../../src/index.js";
import { failCalls, passCalls } from "../../helpers/failing.js";
import { CIRCUIT_OPEN } from "../../helpers/rejections.js";
import { UnreliableStorage } from "../../helpers/unreliable-storage.js";

const config = { name: "api", failureThreshold: 1, successThreshold: 2, isolationDuration: 10 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function loaded(circuitStorage: CircuitStorage) {
  const bulkhead = new Bulkhead(config, { circuitStorage });
  await bulkhead.ready();
  return bulkhead;
}

/** Calls that never settle. */
function hang(bulkhead: Bulkhead, count: number): void {
  for (let n = 0; n < count; n++) bulkhead.execute(() => new Promise(() => {})).catch(() => {});
}

describe("a call that claims the lease", () => {
  it("waits no longer than the storage's time limit, also behind other questions", async () => {
    const storage = new InMemoryStorage();
    const change = storage.change.bind(storage);
    storage.change = async (...asked) => {
      await new Promise((resolve) => setTimeout(resolve, 900));
      return change(...asked);
    };
    const bulkhead = new Bulkhead(
      { ...config, successThreshold: 1, isolationDuration: 0.1 },
      { circuitStorage: storage },
    );
    const errors: unknown[] = [];
    bulkhead.on("storageError", (error) => errors.push(String(error)));
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(100);
    const started = vi.fn();
    const probe = bulkhead.execute(started);
    await vi.advanceTimersByTimeAsync(999);
    expect(started).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(started).toHaveBeenCalled();
    await probe;
    expect(errors).toEqual(["Error: The circuit storage did not answer within 1 s"]);
    await vi.advanceTimersByTimeAsync(5000);
    expect([bulkhead.getState(), (await storage.getState("api"))?.state]).toEqual([
      "healthy",
      "CLOSED",
    ]);
    await bulkhead.shutdown();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("lets those that are rejected beside it retry after the storage's lease", async () => {
    const storage = new InMemoryStorage({ probeLeaseSeconds: 120 });
    const bulkhead = new Bulkhead({ ...config, successThreshold: 1 }, { circuitStorage: storage });
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    storage.change = () => new Promise(() => {});
    const probe = bulkhead.execute(() => "up");
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 120,
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(await probe).toMatchObject({ result: "up" });
    const left = bulkhead.shutdown();
    await vi.advanceTimersByTimeAsync(1000);
    await left;
  });

  it("starts at once when the circuit is closed manually while the storage does not answer", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = await loaded(storage);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    storage.mood = "hanging";
    const work = vi.fn();
    const calls = [1, 2].map(() => bulkhead.execute(work));
    await vi.advanceTimersByTimeAsync(0);
    expect(work).not.toHaveBeenCalled();
    bulkhead.breaker?.close();
    await Promise.all(calls);
    expect(work).toHaveBeenCalledTimes(2);
    await Promise.all([bulkhead.shutdown(), vi.advanceTimersByTimeAsync(1000)]);
  });

  it("leaves no timer behind when it has its answer, or when the bulkhead is shut down", async () => {
    const storage = new UnreliableStorage();
    const bulkhead = await loaded(storage);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    await passCalls(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(1);
    expect(vi.getTimerCount()).toBe(0);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    storage.mood = "hanging";
    bulkhead.execute(() => 1).catch(() => {});
    const down = bulkhead.shutdown();
    await vi.advanceTimersByTimeAsync(1000);
    await down;
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("probes that hang while the storage is out", () => {
  it("do not keep a fleet half-open when the storage is back", async () => {
    const storage = new UnreliableStorage();
    const fleet = [await loaded(storage), await loaded(storage), await loaded(storage)] as const;
    await failCalls(fleet[0], 1);
    storage.mood = "down";
    await vi.advanceTimersByTimeAsync(10_000);
    for (const bulkhead of fleet) hang(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(1000);
    storage.mood = "well";
    await vi.advanceTimersByTimeAsync(65_000);
    await passCalls(fleet[1], 2);
    await vi.advanceTimersByTimeAsync(0);
    expect(fleet.map((bulkhead) => bulkhead.getState())).toEqual(Array(3).fill("healthy"));
    await Promise.all(fleet.map((bulkhead) => bulkhead.shutdown()));
  });

  it.each([
    [undefined, 30_000],
    [5, 5000],
  ])(
    "are followed by the next calls after the storage's probeLeaseSeconds (%s)",
    async (probeLeaseSeconds, leaseMs) => {
      const storage = Object.assign(
        new UnreliableStorage(),
        probeLeaseSeconds === undefined ? {} : { probeLeaseSeconds },
      );
      const bulkhead = await loaded(storage);
      storage.mood = "down";
      await failCalls(bulkhead, 1);
      await vi.advanceTimersByTimeAsync(10_000);
      hang(bulkhead, 2);
      await vi.advanceTimersByTimeAsync(leaseMs - 1);
      await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
      await vi.advanceTimersByTimeAsync(1);
      await passCalls(bulkhead, 2);
      expect(bulkhead.getState()).toBe("healthy");
      await bulkhead.shutdown();
    },
  );

  it("have the lease of the storage itself", async () => {
    expect(new InMemoryStorage({ probeLeaseSeconds: 7 }).probeLeaseSeconds).toBe(7);
  });
});
