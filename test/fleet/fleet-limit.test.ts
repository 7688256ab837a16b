import { AsyncLocalStorage } from "node:async_hooks";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadFullError,
  type FleetStats,
  InMemoryStorage,
  type PermitRequest,
} from "../../src/index.js";
import { type Gate, gate } from "../helpers/gate.js";

/** An InMemoryStorage that can be away, and keeps what it was asked. */
class TestStorage extends InMemoryStorage {
  isAway = false;
  readonly questions: Array<readonly PermitRequest[]> = [];

  override async lease(requests: readonly PermitRequest[]) {
    this.questions.push(requests);
    if (this.isAway) throw new Error("away");
    return await super.lease(requests);
  }
}

const bulkheads: Bulkhead[] = [];
const fleets: Running[] = [];
let storage: TestStorage;

function open(config: Partial<BulkheadConfig> = {}): Bulkhead {
  const all = { name: "partner", maxConcurrentCalls: 100, fleetMaxConcurrentCalls: 10, ...config };
  const bulkhead = new Bulkhead(all, { circuitStorage: storage });
  bulkheads.push(bulkhead);
  return bulkhead;
}

/** What runs in the whole fleet. */
class Running {
  now = 0;
  most = 0;
  readonly #gates: Array<Gate<void>> = [];

  constructor() {
    fleets.push(this);
  }

  readonly fn = async () => {
    this.now++;
    this.most = Math.max(this.most, this.now);
    const own = gate();
    this.#gates.push(own);
    await own.promise;
    this.now--;
  };

  /** Ends the calls that have run the longest. */
  async end(count = this.#gates.length): Promise<void> {
    for (const own of this.#gates.splice(0, count)) own.open();
    await settle();
  }
}

/** Lets requests be answered, and notices arrive. */
const settle = () => vi.advanceTimersByTimeAsync(0);
const seconds = (count: number) => vi.advanceTimersByTimeAsync(count * 1000);

function start(bulkhead: Bulkhead, running: Running, count: number): Array<Promise<unknown>> {
  return Array.from({ length: count }, () =>
    bulkhead.call(running.fn).catch((error: unknown) => error),
  );
}

beforeEach(() => {
  vi.useFakeTimers();
  storage = new TestStorage({ permitLeaseSeconds: 15, permitRenewSeconds: 5 });
});
afterEach(async () => {
  storage.isAway = false;
  const closing = Promise.all(bulkheads.splice(0).map((bulkhead) => bulkhead.shutdown()));
  for (const running of fleets.splice(0)) await running.end();
  await seconds(60);
  await closing;
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("fleetMaxConcurrentCalls", () => {
  it("bounds the functions of all bulkheads of the name together, and serves every call", async () => {
    const running = new Running();
    const fleet = [open(), open(), open()];
    const calls = fleet.flatMap((bulkhead) => start(bulkhead, running, 20));
    for (let round = 0; round < 100 && running.now + calls.length > 0; round++) {
      await vi.advanceTimersByTimeAsync(200);
      await running.end(3);
    }
    await Promise.all(calls);
    expect(running.most).toBe(10);
  });

  it("gives one that is alone everything, as far as maxConcurrentCalls lets it", async () => {
    const running = new Running();
    const [wide, narrow] = [open(), open({ name: "other", maxConcurrentCalls: 4 })];
    start(wide, running, 20);
    await settle();
    expect(running.now).toBe(10);
    expect(wide.getStats()).toMatchObject({ activeTasks: 10, queuedTasks: 10 });
    start(narrow, running, 20);
    await settle();
    expect(narrow.getStats()).toMatchObject({ activeTasks: 4, queuedTasks: 16 });
  });

  it("moves permits to those that want them, until each has its fair share", async () => {
    const running = new Running();
    const [first, second] = [open(), open()];
    start(first, running, 60);
    await settle();
    start(second, running, 60);
    await vi.advanceTimersByTimeAsync(50);
    expect(second.getStats().activeTasks).toBe(0);
    await running.end(10);
    await vi.advanceTimersByTimeAsync(200);
    expect([first, second].map((bulkhead) => bulkhead.getStats().activeTasks)).toEqual([5, 5]);
    expect(second.getStats().fleet).toEqual({
      limit: 10,
      permits: 5,
      fair: 5,
      processes: 2,
      leased: true,
    });
  });

  it("gives idle permits back while another lacks them, before its renewal", async () => {
    const [mine, others] = [new Running(), new Running()];
    const [first, second] = [open(), open()];
    start(first, mine, 10);
    await settle();
    start(second, others, 20);
    await vi.advanceTimersByTimeAsync(100);
    await mine.end();
    await vi.advanceTimersByTimeAsync(200);
    expect(second.getStats().activeTasks).toBe(5);
    await seconds(2);
    expect([first, second].map((bulkhead) => bulkhead.getStats().activeTasks)).toEqual([0, 10]);
  });

  it("asks once for thousands of calls within a lease, and not at all while idle", async () => {
    const bulkhead = open();
    for (let n = 0; n < 10_000; n++) await bulkhead.call(() => n);
    expect(storage.questions).toHaveLength(1);
    await seconds(12);
    // A renewal, because calls had come, and one that gives everything back.
    expect(storage.questions).toHaveLength(3);
    expect(storage.questions[2]).toMatchObject([{ keep: 0, want: 0 }]);
    expect(bulkhead.getStats().fleet).toMatchObject({ permits: 0, leased: false });
    expect(vi.getTimerCount()).toBe(0);
    await seconds(100);
    expect(storage.questions).toHaveLength(3);
  });

  it("asks for all limits of the process in one turn of the event loop, of which Postgres makes one query", async () => {
    const turns: number[] = [];
    let turn = 0;
    vi.spyOn(storage, "lease").mockImplementation(async (requests) => {
      turns.push(turn);
      return await InMemoryStorage.prototype.lease.call(storage, requests);
    });
    const fleet = [open(), open({ name: "other" }), open({ name: "third" })];
    const calls = fleet.map((bulkhead) => bulkhead.call(() => 1));
    await Promise.resolve();
    turn = 1;
    await Promise.all(calls);
    turn = 2;
    await seconds(4);
    fleet[0]?.configure({ fleetMaxConcurrentCalls: 9 });
    await Promise.resolve();
    turn = 3;
    // Those whose renewal is near are asked with it.
    expect(turns).toEqual([0, 0, 0, 2, 2, 2]);
  });

  it("asks for the time limit beyond the lease", async () => {
    await open({ timeoutSeconds: 20 }).call(() => 1);
    expect(storage.questions[0]).toMatchObject([{ leaseSeconds: 35, renewSeconds: 5 }]);
  });

  it("lets calls wait for the first lease without a place in the queue", async () => {
    const running = new Running();
    const bulkhead = open({ maxQueueSize: 0, fleetMaxConcurrentCalls: 3 });
    const calls = start(bulkhead, running, 4);
    await settle();
    expect(running.now).toBe(3);
    expect(await calls[3]).toBeInstanceOf(BulkheadFullError);
  });

  it("rejects the newest calls that came without a place when the storage grants less", async () => {
    const running = new Running();
    const [first, second] = [open(), open({ maxQueueSize: 1 })];
    start(first, running, 8);
    await settle();
    const order: number[] = [];
    const calls = [0, 1, 2, 3, 4].map((n) =>
      second.call(running.fn).catch((error: unknown) => {
        order.push(n);
        return error;
      }),
    );
    await settle();
    expect(second.getStats()).toMatchObject({ activeTasks: 2, queuedTasks: 1 });
    expect(order).toEqual([4, 3]);
    expect(await calls[4]).toBeInstanceOf(BulkheadFullError);
    expect(second.getStats().rejections).toMatchObject({ full: 2 });
  });

  it("takes the smallest limit of all bulkheads of the name", async () => {
    const running = new Running();
    const [first, second] = [open(), open({ fleetMaxConcurrentCalls: 6 })];
    start(second, running, 1);
    await settle();
    start(first, running, 20);
    await settle();
    expect(running.now).toBe(6);
    expect(first.getStats().fleet).toMatchObject({ limit: 6 });
  });

  it("follows configure: a lower limit cuts nothing, a higher one serves the queue, null switches it off", async () => {
    const running = new Running();
    const bulkhead = open();
    start(bulkhead, running, 40);
    await settle();
    bulkhead.configure({ fleetMaxConcurrentCalls: 4 });
    await settle();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 10, fleet: { limit: 4 } });
    await running.end(7);
    expect(running.now).toBe(4);
    bulkhead.configure({ fleetMaxConcurrentCalls: 12 });
    await settle();
    expect(running.now).toBe(12);
    bulkhead.configure({ fleetMaxConcurrentCalls: null });
    await settle();
    expect(running.now).toBe(33);
    expect(bulkhead.getStats().fleet).toBeUndefined();
    bulkhead.configure({ fleetMaxConcurrentCalls: 2 });
    await running.end();
    await settle();
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, activeTasks: 0 });
    await expect(bulkhead.call(() => "served")).resolves.toBe("served");
  });

  it("is not asked for while decisions are only watched", async () => {
    const running = new Running();
    const bulkhead = open({ enforce: false });
    start(bulkhead, running, 40);
    await settle();
    expect(running.now).toBe(40);
    expect(storage.questions).toEqual([]);
    bulkhead.configure({ enforce: true });
    await running.end();
    await expect(bulkhead.call(() => "served")).resolves.toBe("served");
    expect(storage.questions).toHaveLength(1);
  });

  it("gives everything back at the shutdown, also when functions still run then", async () => {
    const running = new Running();
    const [first, second] = [open(), open()];
    start(first, running, 10);
    await settle();
    await first.shutdown();
    start(second, running, 10);
    await settle();
    expect(second.getStats().activeTasks).toBe(0);
    await running.end();
    await vi.advanceTimersByTimeAsync(500);
    expect(second.getStats().activeTasks).toBe(10);
    await running.end();
    expect(second.getStats().fleet).toMatchObject({ processes: 1 });
  });

  it("asks nothing more and owns no timer once it is shut down", async () => {
    const bulkhead = open();
    await bulkhead.call(() => 1);
    await bulkhead.shutdown();
    expect(storage.questions).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(0);
    await seconds(20);
    expect(storage.questions).toHaveLength(2);
  });

  it("emits permits in the AsyncLocalStorage context of no call", async () => {
    const requests = new AsyncLocalStorage<string>();
    const bulkhead = open();
    const contexts: unknown[] = [];
    bulkhead.on("permits", () => contexts.push(requests.getStore()));
    await requests.run("a request", () => bulkhead.call(() => 1));
    requests.run("a request", () => bulkhead.configure({ fleetFallback: "local" }));
    await seconds(20);
    expect(contexts).toEqual([undefined, undefined]);
  });

  it("takes no storage whose renewals come after the lease", () => {
    const circuitStorage = Object.assign(new InMemoryStorage(), { permitRenewSeconds: 15 });
    expect(() => new Bulkhead({ name: "partner" }, { circuitStorage })).toThrow(
      new RangeError(
        "circuitStorage.permitRenewSeconds must be less than permitLeaseSeconds, which is 15; got 15",
      ),
    );
  });

  it("counts functions whose callers were timed out as long as they run", async () => {
    const running = new Running();
    const [first, second] = [open({ timeoutSeconds: 1, circuitBreakerEnabled: false }), open()];
    start(first, running, 10);
    await seconds(2);
    expect(first.getStats().abandonedTasks).toBe(10);
    start(second, running, 5);
    await seconds(10);
    expect(second.getStats().activeTasks).toBe(0);
    await running.end(10);
    await seconds(1);
    expect(second.getStats().activeTasks).toBe(5);
  });

  it("emits permits when its part changes, and only then", async () => {
    const bulkhead = open({ maxConcurrentCalls: 4 });
    const parts: FleetStats[] = [];
    bulkhead.on("permits", (part) => parts.push(part));
    await bulkhead.call(() => 1);
    await bulkhead.call(() => 1);
    await seconds(20);
    const idle = { limit: 10, permits: 0, fair: 10, processes: 1, leased: false };
    expect(parts).toEqual([{ ...idle, permits: 1, leased: true }, idle]);
    expect(bulkhead.getStats().fleet).toEqual(idle);
  });

  it("needs a storage that leases permits", () => {
    const config = { name: "partner", fleetMaxConcurrentCalls: 10 };
    const circuitStorage = Object.assign(new InMemoryStorage(), { lease: undefined });
    const error = new TypeError(
      "fleetMaxConcurrentCalls needs a circuitStorage that leases permits, with the method lease; got one without it",
    );
    expect(() => new Bulkhead(config, { circuitStorage })).toThrow(error);
    const bulkhead = new Bulkhead({ name: "partner" }, { circuitStorage });
    expect(() => bulkhead.configure({ fleetMaxConcurrentCalls: 10 })).toThrow(error);
    expect(bulkhead.config.fleetMaxConcurrentCalls).toBeNull();
  });

  it("bounds a bulkhead without a storage alone, and warns of that", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const running = new Running();
    const bulkhead = new Bulkhead({ name: "alone", fleetMaxConcurrentCalls: 2 });
    bulkheads.push(bulkhead);
    start(bulkhead, running, 5);
    await settle();
    expect(running.now).toBe(2);
    expect(warn.mock.calls).toEqual([
      [
        'Bulkhead "alone" has no circuitStorage: its fleetMaxConcurrentCalls bounds it alone',
        "BulkheadWarning",
      ],
    ]);
    warn.mockRestore();
  });

  it("warns of no storage only when it bounds something", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const bulkhead = new Bulkhead({ name: "alone", fleetMaxConcurrentCalls: 2, enforce: false });
    bulkheads.push(bulkhead);
    expect(warn).not.toHaveBeenCalled();
    bulkhead.configure({ enforce: true });
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });
});

describe("without an answer of the storage", () => {
  it("goes on under its lease, and then with what it held, its share at most", async () => {
    const running = new Running();
    const [first, second] = [open(), open()];
    const errors: unknown[] = [];
    first.on("storageError", (error) => errors.push(error));
    start(second, running, 2);
    await settle();
    start(first, running, 40);
    await seconds(6);
    expect([first, second].map((bulkhead) => bulkhead.getStats().activeTasks)).toEqual([8, 2]);
    storage.isAway = true;
    await seconds(9);
    await running.end(4);
    expect(running.now).toBe(8);
    expect(first.getStats().activeTasks).toBe(8);
    await seconds(20);
    expect(first.getStats().fleet).toMatchObject({ permits: 5, leased: false });
    await running.end(8);
    expect(first.getStats().activeTasks).toBe(5);
    expect(errors).toHaveLength(1);
    storage.isAway = false;
    await seconds(10);
    expect(first.getStats().fleet).toMatchObject({ leased: true });
  });

  it("runs one call at a time when it held none", async () => {
    storage.isAway = true;
    const running = new Running();
    const bulkhead = open();
    start(bulkhead, running, 3);
    await settle();
    expect(running.now).toBe(1);
    await running.end();
    expect(running.now).toBe(1);
    await running.end();
    await running.end();
    expect(running.most).toBe(1);
  });

  it("waits for the first answer for as long as a query may take", async () => {
    const running = new Running();
    vi.spyOn(storage, "lease").mockReturnValue(new Promise(() => {}));
    const bulkhead = open();
    start(bulkhead, running, 2);
    await vi.advanceTimersByTimeAsync(999);
    expect(running.now).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(running.now).toBe(1);
    vi.restoreAllMocks();
  });

  it("goes on when every answer comes after the lease is over, and not for one such answer", async () => {
    storage = new TestStorage({ permitLeaseSeconds: 0.5, permitRenewSeconds: 0.1 });
    const lease = storage.lease.bind(storage);
    vi.spyOn(storage, "lease").mockImplementation(async (requests) => {
      const grants = await lease(requests);
      await new Promise((resolve) => setTimeout(resolve, 600));
      return grants;
    });
    const running = new Running();
    const bulkhead = open();
    const errors: unknown[] = [];
    bulkhead.on("storageError", (error) => errors.push(error));
    start(bulkhead, running, 2);
    await vi.advanceTimersByTimeAsync(600);
    expect(running.now).toBe(0);
    expect(errors).toEqual([]);
    await seconds(5);
    expect(running.now).toBeGreaterThanOrEqual(1);
    expect(errors).toEqual([
      new Error("The circuit storage granted permits later than permitLeaseSeconds, which is 0.5"),
    ]);
    vi.restoreAllMocks();
    await seconds(2);
    expect(bulkhead.getStats().fleet).toMatchObject({ permits: 2, leased: true });
  });

  it('runs maxConcurrentCalls with "local"', async () => {
    storage.isAway = true;
    const running = new Running();
    const bulkhead = open({ fleetFallback: "local", maxConcurrentCalls: 25 });
    start(bulkhead, running, 30);
    await settle();
    expect(running.now).toBe(25);
    expect(bulkhead.getStats().fleet).toMatchObject({ permits: 25, leased: false });
  });

  it('rejects with "reject", the waiting calls and the new ones', async () => {
    storage.isAway = true;
    const running = new Running();
    const bulkhead = open({ fleetFallback: "reject" });
    const [waiting] = start(bulkhead, running, 1);
    await settle();
    expect(await waiting).toBeInstanceOf(BulkheadFullError);
    await expect(bulkhead.call(() => 1)).rejects.toThrow(BulkheadFullError);
    expect(bulkhead.getStats()).toMatchObject({ rejections: { full: 2 }, totalExecutions: 0 });
    storage.isAway = false;
    await seconds(5);
    await expect(bulkhead.call(() => "served")).resolves.toBe("served");
  });

  it("starts nothing when it wakes after its lease", async () => {
    const running = new Running();
    const bulkhead = open();
    start(bulkhead, running, 1);
    await settle();
    await running.end();
    const stopped = performance.now() + 60_000;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => stopped);
    vi.spyOn(storage, "lease").mockReturnValue(new Promise(() => {}));
    start(bulkhead, running, 1);
    expect(running.now).toBe(0);
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 1 });
    clock.mockRestore();
    vi.restoreAllMocks();
    await seconds(10);
  });
});
