import { afterEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  type BulkheadConfig,
  BulkheadError,
  BulkheadManager,
  BulkheadShutdownError,
  BulkheadTimeoutError,
  type CircuitStorage,
  InMemoryStorage,
} from "../src/index.js";
import { failCalls } from "./helpers/failing.js";
import { gate, turn } from "./helpers/gate.js";

const ODD_NAMES = ["__proto__", "constructor", "toString", "hasOwnProperty", "0", "a b"];

async function managerWith(...names: string[]): Promise<BulkheadManager> {
  const manager = new BulkheadManager();
  for (const name of names) await manager.createBulkhead({ name });
  return manager;
}

/** A storage that answers to nothing before the gate opens. */
function slowStorage() {
  const answer = gate();
  const storage = new InMemoryStorage();
  const load = storage.load.bind(storage);
  storage.load = async (name) => {
    await answer.promise;
    return load(name);
  };
  return { storage, answer: answer.open };
}

function untyped<T>(value: unknown): T {
  return value as T;
}

const EXISTS = { name: "BulkheadError", code: "ERR_BULKHEAD_EXISTS", bulkheadName: "api" };
const NOT_FOUND = { name: "BulkheadError", code: "ERR_BULKHEAD_NOT_FOUND", bulkheadName: "api" };

describe("createBulkhead", () => {
  it("resolves with a bulkhead of that configuration", async () => {
    const bulkhead = await new BulkheadManager().createBulkhead({ name: "api", maxQueueSize: 7 });
    expect(bulkhead).toBeInstanceOf(Bulkhead);
    expect(bulkhead.config).toMatchObject({ name: "api", maxQueueSize: 7, maxConcurrentCalls: 10 });
  });

  it("keeps it, to be found by its name", async () => {
    const manager = new BulkheadManager();
    const bulkhead = await manager.createBulkhead({ name: "api" });
    expect(manager.getBulkhead("api")).toBe(bulkhead);
  });

  it("rejects a name that is taken and leaves the first as it is", async () => {
    const manager = new BulkheadManager();
    const first = await manager.createBulkhead({ name: "api", maxQueueSize: 1 });
    const second = manager.createBulkhead({ name: "api", maxQueueSize: 2 });
    await expect(second).rejects.toBeInstanceOf(BulkheadError);
    await expect(second).rejects.toMatchObject({
      ...EXISTS,
      message: 'Bulkhead "api" already exists',
    });
    expect(manager.getBulkhead("api")).toBe(first);
    expect(first.config.maxQueueSize).toBe(1);
    expect(first.isHealthy()).toBe(true);
  });

  it("rejects the second of two creations of the same name at the same time", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    const first = manager.createBulkhead({ name: "api" });
    const second = manager.createBulkhead({ name: "api" });
    await expect(second).rejects.toMatchObject(EXISTS);
    answer();
    expect(manager.getBulkhead("api")).toBe(await first);
    expect(manager.size).toBe(1);
  });

  it("rejects an invalid configuration, never throws, and keeps the name free", async () => {
    const manager = new BulkheadManager();
    for (const config of [undefined, null, "api", {}, { name: "" }, { name: "api", size: 1 }]) {
      const created = manager.createBulkhead(untyped(config));
      await expect(created).rejects.toSatisfy(
        (error) => error instanceof TypeError || error instanceof RangeError,
      );
    }
    await expect(
      manager.createBulkhead({ name: "api", maxConcurrentCalls: 0 }),
    ).rejects.toBeInstanceOf(RangeError);
    expect(manager.size).toBe(0);
    expect(await manager.createBulkhead({ name: "api" })).toBe(manager.getBulkhead("api"));
  });

  it("keeps names apart that differ in case, in spaces, or look alike only", async () => {
    const manager = await managerWith("api", "API", "api ", "\u00e9", "e\u0301");
    expect(manager.size).toBe(5);
  });

  it("resolves when the circuit is loaded", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    let isCreated = false;
    const created = manager.createBulkhead({ name: "api" }).then(() => {
      isCreated = true;
    });
    await turn();
    expect(isCreated).toBe(false);
    expect(manager.getBulkhead("api")).toBeInstanceOf(Bulkhead);
    answer();
    await created;
  });
});

describe("getOrCreateBulkhead", () => {
  it("creates a bulkhead when there is none of that name", async () => {
    const manager = new BulkheadManager();
    const bulkhead = await manager.getOrCreateBulkhead({ name: "api", maxQueueSize: 7 });
    expect(bulkhead.config.maxQueueSize).toBe(7);
    expect(manager.getBulkhead("api")).toBe(bulkhead);
  });

  it("returns the existing bulkhead, as it was configured", async () => {
    const manager = new BulkheadManager();
    const created = await manager.createBulkhead({ name: "api", maxQueueSize: 1 });
    expect(await manager.getOrCreateBulkhead({ name: "api", maxQueueSize: 2 })).toBe(created);
    expect(created.config.maxQueueSize).toBe(1);
    expect(manager.size).toBe(1);
  });

  it("returns one and the same bulkhead to concurrent callers", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    const asked = Array.from({ length: 100 }, () => manager.getOrCreateBulkhead({ name: "api" }));
    answer();
    expect(new Set(await Promise.all(asked)).size).toBe(1);
    expect(manager.size).toBe(1);
  });

  it("returns the bulkhead that is being created at the same time", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    const created = manager.createBulkhead({ name: "api" });
    const got = manager.getOrCreateBulkhead({ name: "api" });
    answer();
    expect(await got).toBe(await created);
  });

  it("resolves when the circuit is loaded, for those who come later too", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    void manager.getOrCreateBulkhead({ name: "api" });
    await turn();
    let isReady = false;
    const got = manager.getOrCreateBulkhead({ name: "api" }).then(() => {
      isReady = true;
    });
    await turn();
    expect(isReady).toBe(false);
    answer();
    await got;
  });

  it("makes a new one after the old one was removed", async () => {
    const manager = new BulkheadManager();
    const old = await manager.getOrCreateBulkhead({ name: "api" });
    manager.removeBulkhead("api");
    const fresh = await manager.getOrCreateBulkhead({ name: "api" });
    expect(fresh).not.toBe(old);
    expect(fresh.isHealthy()).toBe(true);
  });

  it("rejects an invalid configuration, never throws, and keeps nothing", async () => {
    const manager = new BulkheadManager();
    for (const config of [undefined, null, "api", {}, { name: "" }, { name: "api", size: 1 }]) {
      await expect(manager.getOrCreateBulkhead(untyped(config))).rejects.toSatisfy(
        (error) => error instanceof TypeError || error instanceof RangeError,
      );
    }
    expect(manager.size).toBe(0);
  });

  it("rejects an invalid configuration also when a bulkhead of that name exists", async () => {
    const manager = await managerWith("api");
    const wrong = untyped<BulkheadConfig>({ name: "api", max_queue_size: 1 });
    await expect(manager.getOrCreateBulkhead(wrong)).rejects.toBeInstanceOf(TypeError);
    await expect(
      manager.getOrCreateBulkhead({ name: "api", maxQueueSize: -1 }),
    ).rejects.toBeInstanceOf(RangeError);
  });
});

describe("getBulkhead", () => {
  it("is undefined for every name without a bulkhead", () => {
    for (const name of ["api", ...ODD_NAMES]) {
      expect(new BulkheadManager().getBulkhead(name), name).toBeUndefined();
    }
  });

  it("returns the bulkhead of every name, also of one that every object has", async () => {
    for (const name of ODD_NAMES) {
      const manager = await managerWith(name);
      expect(manager.getBulkhead(name)?.name).toBe(name);
    }
  });

  it("finds none of another manager", async () => {
    await managerWith("api");
    expect(new BulkheadManager().getBulkhead("api")).toBeUndefined();
  });
});

describe("executeInBulkhead", () => {
  it("executes the function with its arguments in the bulkhead of that name", async () => {
    const manager = await managerWith("api", "database");
    const outcome = await manager.executeInBulkhead("api", (a: number, b: number) => a - b, 5, 2);
    expect(outcome).toMatchObject({ success: true, result: 3, bulkheadName: "api" });
    expect(manager.getBulkhead("api")?.getStats().successfulExecutions).toBe(1);
    expect(manager.getBulkhead("database")?.getStats().totalExecutions).toBe(0);
  });

  it("resolves with the failure of a function that fails", async () => {
    const manager = await managerWith("api");
    const cause = new Error("down");
    const outcome = await manager.executeInBulkhead("api", () => Promise.reject(cause));
    expect(outcome).toMatchObject({ success: false, result: null });
    expect(outcome.error?.cause).toBe(cause);
  });

  it("rejects when the bulkhead rejects the call", async () => {
    const manager = await managerWith("api");
    await manager.shutdown();
    const rejected = manager.executeInBulkhead("api", () => 1);
    await expect(rejected).rejects.toBeInstanceOf(BulkheadShutdownError);
  });

  it("rejects when there is no bulkhead of that name, without calling the function", async () => {
    const manager = await managerWith("other");
    const fn = vi.fn();
    const rejected = manager.executeInBulkhead("api", fn);
    await expect(rejected).rejects.toBeInstanceOf(BulkheadError);
    await expect(rejected).rejects.toMatchObject({
      ...NOT_FOUND,
      message: 'Bulkhead "api" not found',
    });
    expect(fn).not.toHaveBeenCalled();
  });

  it("rejects for every name without a bulkhead, also for one that every object has", async () => {
    for (const bulkheadName of ODD_NAMES) {
      const rejected = new BulkheadManager().executeInBulkhead(bulkheadName, () => 1);
      await expect(rejected).rejects.toMatchObject({ ...NOT_FOUND, bulkheadName });
    }
  });

  it.each([
    ["undefined", undefined],
    ["a number", 1],
    ["a symbol", Symbol("api")],
    ["an object without prototype", Object.create(null)],
  ])("rejects when the name is %s, without calling the function", async (_, name) => {
    const manager = await managerWith("api");
    const fn = vi.fn();
    await expect(manager.executeInBulkhead(untyped(name), fn)).rejects.toBeInstanceOf(Error);
    expect(fn).not.toHaveBeenCalled();
  });

  it("rejects with TypeError when it gets no function", async () => {
    const manager = await managerWith("api");
    const rejected = manager.executeInBulkhead("api", untyped<() => void>("fn"));
    await expect(rejected).rejects.toBeInstanceOf(TypeError);
  });
});

describe("runInBulkhead", () => {
  it("gives the task its context", async () => {
    const manager = await managerWith("api");
    const outcome = await manager.runInBulkhead("api", (context) => context);
    expect(outcome.result).toMatchObject({
      bulkheadName: "api",
      executionId: outcome.executionId,
    });
    expect(outcome.result?.signal).toBeInstanceOf(AbortSignal);
  });

  it("passes the caller's signal on", async () => {
    const manager = await managerWith("api");
    const reason = new Error("changed my mind");
    const fn = vi.fn();
    const run = manager.runInBulkhead("api", fn, { signal: AbortSignal.abort(reason) });
    await expect(run).rejects.toBe(reason);
    expect(fn).not.toHaveBeenCalled();
  });

  it("passes the call's own time limit on", async () => {
    vi.useFakeTimers();
    try {
      const manager = await managerWith("api");
      const busy = gate();
      const run = manager.runInBulkhead("api", () => busy.promise, { timeoutSeconds: 1 });
      const told = expect(run).rejects.toBeInstanceOf(BulkheadTimeoutError);
      await vi.advanceTimersByTimeAsync(1000);
      await told;
      busy.open();
      await vi.advanceTimersByTimeAsync(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("rejects invalid options", async () => {
    const manager = await managerWith("api");
    const run = manager.runInBulkhead("api", () => 1, { timeoutSeconds: 0 });
    await expect(run).rejects.toBeInstanceOf(RangeError);
  });

  it("rejects when there is no bulkhead of that name, without calling the task", async () => {
    const task = vi.fn();
    const run = new BulkheadManager().runInBulkhead("api", task);
    await expect(run).rejects.toMatchObject(NOT_FOUND);
    expect(task).not.toHaveBeenCalled();
  });
});

describe("getAllStats and getHealthStatus", () => {
  it("are empty without bulkheads", () => {
    const manager = new BulkheadManager();
    expect(manager.getAllStats()).toEqual({});
    expect(manager.getHealthStatus()).toEqual({});
  });

  it("have every bulkhead by its name", async () => {
    const manager = await managerWith("healthy", "isolated", "open");
    manager.getBulkhead("isolated")?.isolate();
    manager.getBulkhead("open")?.breaker?.open();
    await manager.executeInBulkhead("healthy", () => 1);
    expect(manager.getHealthStatus()).toEqual({ healthy: true, isolated: false, open: false });
    expect(manager.getAllStats()).toMatchObject({
      healthy: { name: "healthy", state: "healthy", totalExecutions: 1 },
      isolated: { name: "isolated", state: "isolated", totalExecutions: 0 },
      open: { name: "open", state: "isolated", circuitStatus: "OPEN" },
    });
    for (const bulkhead of manager) {
      // It goes down while the clock goes on.
      const retryAfterSeconds = expect.any(Number);
      expect(manager.getAllStats()[bulkhead.name]).toEqual({
        ...bulkhead.getStats(),
        retryAfterSeconds,
      });
    }
  });

  it("are plain objects of their own for the caller", async () => {
    const manager = await managerWith("api");
    for (const read of [() => manager.getAllStats(), () => manager.getHealthStatus()]) {
      expect(Object.getPrototypeOf(read())).toBe(Object.prototype);
      Reflect.deleteProperty(read(), "api");
      expect(Object.keys(read())).toEqual(["api"]);
    }
  });

  it("are safe for every name", async () => {
    const manager = await managerWith("first", ...ODD_NAMES);
    const stats = manager.getAllStats();
    const health = manager.getHealthStatus();
    for (const told of [stats, health]) {
      expect(new Set(Object.keys(told))).toEqual(new Set(["first", ...ODD_NAMES]));
      expect(Object.getPrototypeOf(told)).toBe(Object.prototype);
    }
    for (const name of ODD_NAMES) {
      expect(Object.getOwnPropertyDescriptor(health, name)?.value).toBe(true);
      expect(Object.getOwnPropertyDescriptor(stats, name)?.value.name).toBe(name);
    }
    expect(JSON.parse(JSON.stringify(health))).toHaveProperty("first", true);
    expect(({} as Record<string, unknown>)["state"]).toBeUndefined();
  });

  it("stay readable after the shutdown", async () => {
    const manager = await managerWith("api");
    await manager.shutdown();
    expect(manager.getHealthStatus()).toEqual({ api: false });
    expect(manager.getAllStats()).toMatchObject({ api: { state: "failed" } });
  });
});

describe("removeBulkhead", () => {
  it("returns whether there was one", async () => {
    const manager = await managerWith("api");
    expect(manager.removeBulkhead("api")).toBe(true);
    expect(manager.removeBulkhead("api")).toBe(false);
    expect(manager.removeBulkhead("__proto__")).toBe(false);
  });

  it("removes it from everything that the manager returns", async () => {
    const manager = await managerWith("api", "other");
    manager.removeBulkhead("api");
    expect(manager.getBulkhead("api")).toBeUndefined();
    expect(manager.size).toBe(1);
    expect(Array.from(manager, ({ name }) => name)).toEqual(["other"]);
    expect(manager.getHealthStatus()).toEqual({ other: true });
    expect(Object.keys(manager.getAllStats())).toEqual(["other"]);
    await expect(manager.executeInBulkhead("api", () => 1)).rejects.toMatchObject(NOT_FOUND);
  });

  it("shuts it down: rejects the queued calls and lets the running ones go on", async () => {
    const manager = new BulkheadManager();
    const bulkhead = await manager.createBulkhead({ name: "api", maxConcurrentCalls: 1 });
    const busy = gate<string>();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = bulkhead.execute(() => "never").catch((error: unknown) => error);
    manager.removeBulkhead("api");
    expect(await waiting).toBeInstanceOf(BulkheadShutdownError);
    await expect(bulkhead.execute(() => 1)).rejects.toBeInstanceOf(BulkheadShutdownError);
    expect(bulkhead.getState()).toBe("failed");
    busy.open("done");
    expect((await running).result).toBe("done");
  });

  it("frees the name at once, while calls of the removed one still run", async () => {
    const manager = new BulkheadManager();
    const old = await manager.createBulkhead({ name: "api" });
    const busy = gate();
    const running = old.execute(() => busy.promise);
    manager.removeBulkhead("api");
    const fresh = await manager.createBulkhead({ name: "api" });
    expect(manager.getBulkhead("api")).toBe(fresh);
    expect(fresh.getStats()).toMatchObject({ totalExecutions: 0, state: "healthy" });
    busy.open();
    await running;
  });

  it("works on a bulkhead whose circuit is still being loaded", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    const created = manager.createBulkhead({ name: "api" });
    expect(manager.removeBulkhead("api")).toBe(true);
    answer();
    expect((await created).getState()).toBe("failed");
    expect(manager.size).toBe(0);
  });
});

describe("iteration", () => {
  it("yields the bulkheads in the order in which they were created", async () => {
    const manager = await managerWith("c", "2", "a", "1");
    expect(Array.from(manager, ({ name }) => name)).toEqual(["c", "2", "a", "1"]);
    expect([...manager].every((bulkhead) => bulkhead instanceof Bulkhead)).toBe(true);
  });

  it("yields nothing without bulkheads", () => {
    expect([...new BulkheadManager()]).toEqual([]);
  });

  it("can be done several times, and at the same time", async () => {
    const manager = await managerWith("a", "b");
    const pairs = [...manager].flatMap((one) =>
      Array.from(manager, (other) => `${one.name}${other.name}`),
    );
    expect(pairs).toEqual(["aa", "ab", "ba", "bb"]);
  });

  it("lets its body remove bulkheads", async () => {
    const manager = await managerWith("a", "b", "c");
    for (const { name } of manager) manager.removeBulkhead(name);
    expect(manager.size).toBe(0);
  });
});

describe("size", () => {
  it("is how many bulkheads there are", async () => {
    const manager = await managerWith("a", "b");
    expect(manager.size).toBe(2);
    await manager.getOrCreateBulkhead({ name: "a" });
    expect(manager.size).toBe(2);
    await manager.getOrCreateBulkhead({ name: "c" });
    expect(manager.size).toBe(3);
    manager.removeBulkhead("b");
    expect(manager.size).toBe(2);
    await manager.shutdown();
    expect(manager.size).toBe(2);
  });
});

describe("context", () => {
  it("calls its body with the manager and returns what that returns", async () => {
    const manager = await managerWith("api");
    const result = await manager.context(async (given) => {
      expect(given).toBe(manager);
      return (await given.executeInBulkhead("api", () => 42)).result;
    });
    expect(result).toBe(42);
  });

  it("takes a body that is not async", async () => {
    expect(await new BulkheadManager().context(({ size }) => size)).toBe(0);
  });

  it("rejects with what the body throws", async () => {
    const thrown = new Error("body");
    const manager = new BulkheadManager();
    const thrower = manager.context(() => {
      throw thrown;
    });
    await expect(thrower).rejects.toBe(thrown);
    await expect(manager.context(() => Promise.reject(thrown))).rejects.toBe(thrown);
  });

  it("leaves the manager in use", async () => {
    const manager = await managerWith("api");
    await manager.context(() => {});
    expect((await manager.executeInBulkhead("api", () => 1)).result).toBe(1);
  });
});

describe("shutdown", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("resolves without bulkheads", async () => {
    await expect(new BulkheadManager().shutdown()).resolves.toBeUndefined();
  });

  it("shuts every bulkhead down", async () => {
    const manager = await managerWith("a", "b");
    await manager.shutdown();
    expect(Array.from(manager, (bulkhead) => bulkhead.getState())).toEqual(["failed", "failed"]);
  });

  it("may be called twice", async () => {
    const manager = await managerWith("a");
    await Promise.all([manager.shutdown(), manager.shutdown()]);
    await expect(manager.shutdown()).resolves.toBeUndefined();
  });

  it("rejects at once in all bulkheads, before the first has drained", async () => {
    vi.useFakeTimers();
    const manager = await managerWith("a", "b");
    const busy = gate();
    const running = manager.executeInBulkhead("a", () => busy.promise);
    const shutting = manager.shutdown({ drainSeconds: 10 });
    for (const name of ["a", "b"]) {
      const rejected = manager.executeInBulkhead(name, () => 1);
      await expect(rejected).rejects.toBeInstanceOf(BulkheadShutdownError);
    }
    busy.open();
    await running;
    await shutting;
  });

  it("waits for the calls of all bulkheads when it drains", async () => {
    vi.useFakeTimers();
    const manager = await managerWith("a", "b", "idle");
    const [busyA, busyB] = [gate<string>(), gate<string>()];
    const runningA = manager.executeInBulkhead("a", () => busyA.promise);
    const runningB = manager.executeInBulkhead("b", () => busyB.promise);
    let isDown = false;
    const shutting = manager.shutdown({ drainSeconds: 10 }).then(() => {
      isDown = true;
    });
    busyA.open("a");
    await vi.advanceTimersByTimeAsync(5000);
    expect((await runningA).result).toBe("a");
    expect(isDown).toBe(false);
    busyB.open("b");
    await vi.advanceTimersByTimeAsync(0);
    expect(isDown).toBe(true);
    expect((await runningB).result).toBe("b");
    await shutting;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("aborts what is not over at the end of the drain, in all bulkheads at the same time", async () => {
    vi.useFakeTimers();
    const manager = await managerWith("a", "b");
    const busy = gate();
    const signals: AbortSignal[] = [];
    const calls = ["a", "b"].map((name) =>
      manager
        .runInBulkhead(name, ({ signal }) => {
          signals.push(signal);
          return busy.promise;
        })
        .catch((error: unknown) => error),
    );
    let isDown = false;
    const shutting = manager.shutdown({ drainSeconds: 10 }).then(() => {
      isDown = true;
    });
    await vi.advanceTimersByTimeAsync(9999);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
    expect(isDown).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(isDown).toBe(true);
    for (const call of calls) expect(await call).toBeInstanceOf(BulkheadShutdownError);
    await shutting;
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is what Symbol.asyncDispose does", async () => {
    const manager = await managerWith("api");
    await manager[Symbol.asyncDispose]();
    expect(manager.getHealthStatus()).toEqual({ api: false });
  });

  it("comes at the end of an `await using` block", async () => {
    const outer = await managerWith("api");
    {
      await using manager = outer;
      expect((await manager.executeInBulkhead("api", () => 1)).result).toBe(1);
    }
    expect(outer.getHealthStatus()).toEqual({ api: false });
  });
});

describe("a storage that is given to the manager", () => {
  it("is used by every bulkhead: the circuit is the same for all of that name", async () => {
    const circuitStorage = new InMemoryStorage();
    const one = new BulkheadManager({ circuitStorage });
    const other = new BulkheadManager({ circuitStorage });
    for (const name of ["sick", "well"]) {
      await one.createBulkhead({ name, failureThreshold: 2 });
      await other.createBulkhead({ name, failureThreshold: 2 });
    }
    const sick = one.getBulkhead("sick");
    if (sick !== undefined) await failCalls(sick, 2);
    await turn();
    for (const manager of [one, other]) {
      expect(manager.getHealthStatus()).toEqual({ sick: false, well: true });
      const rejected = manager.executeInBulkhead("sick", () => 1);
      await expect(rejected).rejects.toBeInstanceOf(BulkheadCircuitOpenError);
    }
    expect(await circuitStorage.getState("sick")).toMatchObject({ state: "OPEN" });
  });

  it("is known to a bulkhead that is created later", async () => {
    const circuitStorage = new InMemoryStorage();
    const first = await new BulkheadManager({ circuitStorage }).createBulkhead({
      name: "api",
      failureThreshold: 1,
    });
    await failCalls(first, 1);
    await turn();
    const later = await new BulkheadManager({ circuitStorage }).createBulkhead({ name: "api" });
    expect(later.getStats().circuitStatus).toBe("OPEN");
  });

  it("is not shared with other managers when none is given", async () => {
    const [one, other] = [await managerWith("api"), await managerWith("api")];
    one.getBulkhead("api")?.breaker?.open();
    await turn();
    expect(one.getHealthStatus()).toEqual({ api: false });
    expect(other.getHealthStatus()).toEqual({ api: true });
  });

  it("is left open by the shutdown", async () => {
    const circuitStorage = new InMemoryStorage();
    const close = vi.spyOn(circuitStorage, "close");
    const manager = new BulkheadManager({ circuitStorage });
    const bulkhead = await manager.createBulkhead({ name: "api", failureThreshold: 1 });
    await failCalls(bulkhead, 1);
    await manager.shutdown();
    expect(close).not.toHaveBeenCalled();
    expect(await circuitStorage.getState("api")).toMatchObject({ state: "OPEN" });
  });

  it("stays the same when the options object is changed later", async () => {
    const [given, other] = [new InMemoryStorage(), new InMemoryStorage()];
    const options: { circuitStorage: CircuitStorage } = { circuitStorage: given };
    const manager = new BulkheadManager(options);
    options.circuitStorage = other;
    await manager.createBulkhead({ name: "api" });
    expect(await given.getState("api")).not.toBeNull();
    expect(await other.getState("api")).toBeNull();
  });

  it("cannot make the shutdown or a removal fail", async () => {
    const circuitStorage = new InMemoryStorage();
    circuitStorage.subscribe = () => () => {
      throw new Error("the storage is gone");
    };
    const manager = new BulkheadManager({ circuitStorage });
    const bulkhead = await manager.createBulkhead({ name: "api" });
    await expect(manager.shutdown()).resolves.toBeUndefined();
    expect(bulkhead.getState()).toBe("failed");
  });
});

it("makes no more bulkheads after its shutdown, and still finds those it has", async () => {
  const manager = new BulkheadManager();
  const bulkhead = await manager.createBulkhead({ name: "api" });
  await manager.shutdown();
  const rejection = { code: "ERR_BULKHEAD_SHUTDOWN" };
  await expect(manager.createBulkhead({ name: "late" })).rejects.toMatchObject(rejection);
  await expect(manager.getOrCreateBulkhead({ name: "late" })).rejects.toMatchObject(rejection);
  expect(await manager.getOrCreateBulkhead({ name: "api" })).toBe(bulkhead);
  expect(manager.size).toBe(1);
});

describe("the manager's events", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  function heardFrom(manager: BulkheadManager): Array<[event: string, bulkhead: Bulkhead]> {
    const heard: Array<[string, Bulkhead]> = [];
    manager.on("created", (bulkhead) => heard.push(["created", bulkhead]));
    manager.on("removed", (bulkhead) => heard.push(["removed", bulkhead]));
    return heard;
  }

  it("are emitted for each bulkhead that is created, by both methods, and for none that exists", async () => {
    const manager = new BulkheadManager();
    const heard = heardFrom(manager);
    const api = await manager.createBulkhead({ name: "api" });
    const db = await manager.getOrCreateBulkhead({ name: "db" });
    await manager.getOrCreateBulkhead({ name: "api" });
    await expect(manager.createBulkhead({ name: "api" })).rejects.toMatchObject(EXISTS);
    expect(heard).toEqual([
      ["created", api],
      ["created", db],
    ]);
  });

  it("are emitted before the bulkhead can have a call: it is in the manager, and may still load", async () => {
    const { storage, answer } = slowStorage();
    const manager = new BulkheadManager({ circuitStorage: storage });
    const heard: Array<Bulkhead | undefined> = [];
    manager.on("created", ({ name }) => heard.push(manager.getBulkhead(name)));
    const created = manager.createBulkhead({ name: "api" });
    expect(heard).toEqual([manager.getBulkhead("api")]);
    answer();
    await created;
  });

  it("are emitted for a bulkhead that is removed, after its queued calls were rejected", async () => {
    const manager = await managerWith("api");
    const api = manager.getBulkhead("api");
    const heard = heardFrom(manager);
    const order: string[] = [];
    api?.on("rejected", () => order.push("rejected"));
    manager.on("removed", ({ name }) => {
      order.push(`removed, ${manager.getBulkhead(name) === undefined ? "gone" : "still there"}`);
    });
    const busy = gate();
    const calls = Array.from({ length: 11 }, () =>
      manager.executeInBulkhead("api", () => busy.promise),
    );
    expect(manager.removeBulkhead("api")).toBe(true);
    expect(manager.removeBulkhead("api")).toBe(false);
    expect(order).toEqual(["rejected", "removed, gone"]);
    expect(heard).toEqual([["removed", api]]);
    expect(api?.getState()).toBe("failed");
    busy.open();
    await Promise.allSettled(calls);
  });

  it("are not emitted at the shutdown: the bulkheads stay readable", async () => {
    const manager = await managerWith("api");
    const heard = heardFrom(manager);
    await manager.shutdown();
    expect(heard).toEqual([]);
  });

  it("change nothing when a listener throws, which is reported once", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const manager = new BulkheadManager();
    for (const event of ["created", "removed"] as const) {
      manager.on(event, () => {
        throw new Error("my fault");
      });
    }
    const heard = heardFrom(manager);
    const api = await manager.createBulkhead({ name: "api" });
    await manager.createBulkhead({ name: "db" });
    expect(manager.removeBulkhead("api")).toBe(true);
    expect(heard.map(([event, { name }]) => `${event} ${name}`)).toEqual([
      "created api",
      "created db",
      "removed api",
    ]);
    expect(manager.getBulkhead("api")).toBeUndefined();
    expect(api.getState()).toBe("failed");
    expect(warn.mock.calls.map(([message]) => message)).toEqual([
      'The listener of "created" threw: my fault',
      'The listener of "removed" threw: my fault',
    ]);
  });

  it("let a listener remove what was created, and create one instead of what was removed", async () => {
    const manager = await managerWith("api");
    const old = manager.getBulkhead("api");
    old?.once("rejected", () => void manager.createBulkhead({ name: "api" }));
    const busy = gate();
    const calls = Array.from({ length: 11 }, () =>
      manager.executeInBulkhead("api", () => busy.promise),
    );
    manager.removeBulkhead("api");
    expect(manager.getBulkhead("api")).toBeInstanceOf(Bulkhead);
    expect(manager.getBulkhead("api")).not.toBe(old);

    manager.once("created", ({ name }) => manager.removeBulkhead(name));
    const short = await manager.createBulkhead({ name: "short" });
    expect(short.getState()).toBe("failed");
    expect(manager.getBulkhead("short")).toBeUndefined();
    busy.open();
    await Promise.allSettled(calls);
  });
});
