import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Call } from "../src/call/call.js";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  type BulkheadConfig,
  BulkheadError,
  type BulkheadEvents,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadShutdownError,
  BulkheadTimeoutError,
  InMemoryStorage,
} from "../src/index.js";
import { failCalls, passCalls } from "./helpers/failing.js";
import { gate, started } from "./helpers/gate.js";

const EVENTS = [
  "stateChange",
  "rejected",
  "success",
  "failure",
  "timeout",
  "abandoned",
  "reclaimed",
  "healthCheck",
  "isolated",
  "released",
  "storageError",
  "shutdown",
] as const satisfies ReadonlyArray<keyof BulkheadEvents>;

const UUID = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  const left = vi.getTimerCount();
  vi.useRealTimers();
  vi.restoreAllMocks();
  expect(left).toBe(0);
});

/** A bulkhead, and all that it emits, in the order in which it is emitted. */
function heard(config: Partial<BulkheadConfig> = {}) {
  const bulkhead = new Bulkhead({ name: "api", ...config });
  return { bulkhead, ...listen(bulkhead) };
}

function listen(bulkhead: Bulkhead) {
  const told: Array<[event: string, ...payload: unknown[]]> = [];
  for (const event of EVENTS) {
    bulkhead.on(event, (...payload: unknown[]) => told.push([event, ...payload]));
  }
  return { told, events: () => told.map(([event]) => event) };
}

const errorOf = (call: Promise<unknown>) =>
  call.then(
    () => expect.unreachable("the call was to be rejected"),
    (error: unknown) => error,
  );

describe("success", () => {
  it("has the call's id and times, before the caller gets its result", async () => {
    const { bulkhead, told } = heard();
    const busy = gate();
    const order: string[] = [];
    bulkhead.on("success", () => order.push("event"));
    const call = bulkhead.execute(() => busy.promise);
    void call.then(() => order.push("caller"));
    await vi.advanceTimersByTimeAsync(250);
    busy.open();
    const { executionId } = await call;
    expect(told).toEqual([["success", { executionId, executionTime: 0.25, queuedTime: 0 }]]);
    expect(executionId).toMatch(UUID);
    expect(order).toEqual(["event", "caller"]);
  });

  it("has the seconds that the call waited", async () => {
    const { bulkhead, told } = heard({ maxConcurrentCalls: 1 });
    const [first, second] = [gate(), gate()];
    const running = bulkhead.execute(() => first.promise);
    const waiting = bulkhead.execute(() => second.promise);
    await vi.advanceTimersByTimeAsync(500);
    first.open();
    await running;
    await vi.advanceTimersByTimeAsync(125);
    second.open();
    const { executionId } = await waiting;
    expect(told[1]).toEqual(["success", { executionId, executionTime: 0.125, queuedTime: 0.5 }]);
  });
});

describe("failure", () => {
  it("has the call's id, its times and the error that its caller gets", async () => {
    const { bulkhead, told } = heard();
    const busy = gate();
    const call = bulkhead.execute(() => busy.promise);
    await vi.advanceTimersByTimeAsync(250);
    busy.fail(new Error("down"));
    const { executionId, error } = await call;
    expect(told).toEqual([["failure", { executionId, executionTime: 0.25, queuedTime: 0, error }]]);
    expect(told[0]?.[1]).toHaveProperty("error", error);
    expect(error).toBeInstanceOf(BulkheadError);
  });

  it("is emitted also when the errorFilter excuses it", async () => {
    const { bulkhead, events } = heard({ errorFilter: () => true, failureThreshold: 1 });
    await failCalls(bulkhead, 1);
    expect(events()).toEqual(["failure"]);
  });

  it("is emitted before the circuit opens by it", async () => {
    const { bulkhead, events } = heard({ failureThreshold: 2 });
    await failCalls(bulkhead, 2);
    expect(events()).toEqual(["failure", "failure", "stateChange"]);
  });

  it("is emitted for a call that its caller aborts while it runs, with the caller's reason", async () => {
    const { bulkhead, told, events } = heard();
    const controller = new AbortController();
    const busy = gate();
    const reason = new Error("gone");
    const call = bulkhead.run(() => busy.promise, { signal: controller.signal });
    await vi.advanceTimersByTimeAsync(250);
    controller.abort(reason);
    expect(await errorOf(call)).toBe(reason);
    const executionId = expect.stringMatching(UUID);
    expect(told).toEqual([
      ["failure", { executionId, executionTime: 0.25, queuedTime: 0, error: reason }],
      ["abandoned", { executionId }],
    ]);
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(events()).toEqual(["failure", "abandoned", "reclaimed"]);
  });
});

describe("timeout", () => {
  it("is emitted for a running call; then failure, abandoned, and reclaimed when it settles", async () => {
    const { bulkhead, told } = heard({ timeoutSeconds: 1 });
    const busy = gate();
    const ids: string[] = [];
    const call = bulkhead.run(({ executionId }) => {
      ids.push(executionId);
      return busy.promise;
    });
    const told1 = errorOf(call);
    await vi.advanceTimersByTimeAsync(1000);
    const error = await told1;
    expect(error).toBeInstanceOf(BulkheadTimeoutError);
    const [executionId] = ids;
    expect(told).toEqual([
      ["timeout", { executionId, phase: "running" }],
      ["failure", { executionId, executionTime: 1, queuedTime: 0, error }],
      ["abandoned", { executionId }],
    ]);
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(told.slice(3)).toEqual([["reclaimed", { executionId, settled: true }]]);
  });

  it("is emitted for a queued call; then rejected", async () => {
    const { bulkhead, told } = heard({ timeoutSeconds: 1, maxConcurrentCalls: 1 });
    const busy = gate();
    const running = bulkhead.run(() => busy.promise, { timeoutSeconds: null });
    const waiting = errorOf(bulkhead.execute(() => 1));
    await vi.advanceTimersByTimeAsync(1000);
    const error = await waiting;
    expect(told).toEqual([
      ["timeout", { executionId: expect.stringMatching(UUID), phase: "waiting" }],
      ["rejected", { reason: "timeout", error }],
    ]);
    busy.open();
    await running;
  });

  it("is emitted before the circuit opens by it", async () => {
    const { bulkhead, events } = heard({ timeoutSeconds: 1, failureThreshold: 1 });
    const busy = gate();
    const call = errorOf(bulkhead.execute(() => busy.promise));
    await vi.advanceTimersByTimeAsync(1000);
    await call;
    expect(events()).toEqual(["timeout", "failure", "abandoned", "stateChange"]);
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(events().at(-1)).toBe("reclaimed");
  });
});

describe("reclaimed", () => {
  it("has settled: false when the permit was reclaimed before the function settled", async () => {
    const { bulkhead, told } = heard({ timeoutSeconds: 1, reclaimAfterSeconds: 5 });
    const busy = gate();
    const call = errorOf(bulkhead.execute(() => busy.promise));
    await vi.advanceTimersByTimeAsync(1000);
    await call;
    told.length = 0;
    await vi.advanceTimersByTimeAsync(5000);
    const executionId = expect.stringMatching(UUID);
    expect(told).toEqual([["reclaimed", { executionId, settled: false }]]);
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(told).toHaveLength(1);
  });

  it("comes at once after abandoned with reclaimAfterSeconds 0", async () => {
    const { bulkhead, told, events } = heard({ timeoutSeconds: 1, reclaimAfterSeconds: 0 });
    const busy = gate();
    const call = errorOf(bulkhead.execute(() => busy.promise));
    await vi.advanceTimersByTimeAsync(1000);
    await call;
    expect(events()).toEqual(["timeout", "failure", "abandoned", "reclaimed"]);
    expect(told.at(-1)?.[1]).toMatchObject({ settled: false });
    busy.open();
  });
});

describe("rejected", () => {
  it("has the reason that is counted, and the error that the caller gets", async () => {
    const { bulkhead, told } = heard({
      maxConcurrentCalls: 1,
      maxQueueSize: 0,
      timeoutSeconds: null,
    });
    const attempt = () => errorOf(bulkhead.execute(() => 1));
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const full = await attempt();
    bulkhead.breaker?.open();
    const circuitOpen = await attempt();
    bulkhead.isolate();
    const isolated = await attempt();
    const reason = new Error("gone");
    const aborted = await errorOf(bulkhead.run(() => 1, { signal: AbortSignal.abort(reason) }));
    await bulkhead.shutdown();
    const shutdown = await attempt();
    const rejected = told.filter(([event]) => event === "rejected").map(([, payload]) => payload);
    expect(rejected).toEqual([
      { reason: "full", error: full },
      { reason: "circuitOpen", error: circuitOpen },
      { reason: "isolated", error: isolated },
      { reason: "aborted", error: reason },
      { reason: "shutdown", error: shutdown },
    ]);
    expect(aborted).toBe(reason);
    expect(full).toBeInstanceOf(BulkheadFullError);
    expect(circuitOpen).toBeInstanceOf(BulkheadCircuitOpenError);
    expect(isolated).toBeInstanceOf(BulkheadIsolationError);
    expect(shutdown).toBeInstanceOf(BulkheadShutdownError);
    busy.open();
    await running;
  });

  it.each<[string, (bulkhead: Bulkhead) => unknown]>([
    ["circuitOpen", (bulkhead) => bulkhead.breaker?.open()],
    ["isolated", (bulkhead) => bulkhead.isolate()],
    ["shutdown", (bulkhead) => bulkhead.shutdown()],
  ])(
    "is emitted for each queued call, in their order, when %s ends the waiting",
    async (reason, end) => {
      const { bulkhead, told } = heard({ maxConcurrentCalls: 1 });
      const busy = gate();
      const running = bulkhead.execute(() => busy.promise);
      const waiting = [1, 2, 3].map(() => errorOf(bulkhead.execute(() => 1)));
      end(bulkhead);
      const errors = await Promise.all(waiting);
      const rejected = told.filter(([event]) => event === "rejected").map(([, payload]) => payload);
      expect(rejected).toEqual(errors.map((error) => ({ reason, error })));
      for (const [index, payload] of rejected.entries()) {
        expect(payload).toHaveProperty("error", errors[index]);
      }
      busy.open();
      await running;
    },
  );

  it("is not emitted for what is no function, nor for invalid options", async () => {
    const { bulkhead, told } = heard();
    await errorOf(bulkhead.execute("fn" as unknown as () => void));
    await errorOf(bulkhead.run(() => 1, { timeoutSeconds: 0 }));
    expect(told).toEqual([]);
  });
});

describe("stateChange", () => {
  it("is emitted for every change with its reason, from closed to closed", async () => {
    const { bulkhead, told } = heard({
      failureThreshold: 2,
      successThreshold: 2,
      isolationDuration: 1,
    });
    await failCalls(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(1000);
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    await passCalls(bulkhead, 2);
    const changes = told.filter(([event]) => event === "stateChange").map(([, payload]) => payload);
    expect(changes).toEqual([
      { from: "CLOSED", to: "OPEN", reason: "2 consecutive failures", cause: new Error("down") },
      { from: "OPEN", to: "HALF_OPEN", reason: "the isolation is over" },
      { from: "HALF_OPEN", to: "OPEN", reason: "a probe failed", cause: new Error("down") },
      { from: "OPEN", to: "HALF_OPEN", reason: "the isolation is over" },
      { from: "HALF_OPEN", to: "CLOSED", reason: "2 of 2 probes succeeded" },
    ]);
  });

  it("has the reason of a failure rate, and of a manual change", async () => {
    const { bulkhead, told } = heard({
      failureThreshold: 100,
      failureRateThreshold: 50,
      minimumCalls: 2,
    });
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    bulkhead.breaker?.close();
    bulkhead.breaker?.open();
    const changes = told.filter(([event]) => event === "stateChange").map(([, payload]) => payload);
    expect(changes).toEqual([
      {
        from: "CLOSED",
        to: "OPEN",
        reason: "1 of 2 calls failed within 10 s",
        cause: new Error("down"),
      },
      { from: "OPEN", to: "CLOSED", reason: "closed by hand" },
      { from: "CLOSED", to: "OPEN", reason: "opened by hand" },
    ]);
  });

  it("is not emitted when nothing changed", async () => {
    const { bulkhead, told } = heard();
    bulkhead.breaker?.close();
    expect(told).toEqual([]);
    bulkhead.breaker?.open();
    bulkhead.breaker?.open();
    expect(told).toHaveLength(1);
  });

  it("is emitted in the order of the changes, also when a listener of a rejection makes the next one", async () => {
    const circuitStorage = new InMemoryStorage();
    const config = { name: "api", maxConcurrentCalls: 1, failureThreshold: 1 };
    const bulkhead = new Bulkhead(config, { circuitStorage });
    await bulkhead.ready();
    const changes: string[] = [];
    bulkhead.on("stateChange", ({ from, to }) => changes.push(`${from} > ${to}`));
    bulkhead.once("rejected", () => bulkhead.breaker?.close());
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = errorOf(bulkhead.execute(() => 1));
    busy.fail(new Error("down"));
    await running;
    expect(await waiting).toBeInstanceOf(BulkheadCircuitOpenError);
    await vi.advanceTimersByTimeAsync(1000);
    expect(changes).toEqual(["CLOSED > OPEN", "OPEN > CLOSED"]);
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    expect(await circuitStorage.getState("api")).toMatchObject({ state: "CLOSED" });
    await bulkhead.shutdown();
  });

  it("is emitted after all rejections of the change before, also when the first of them makes it", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, failureThreshold: 1 });
    const events: string[] = [];
    bulkhead.on("stateChange", ({ to }) => events.push(to));
    bulkhead.on("rejected", ({ reason }) => {
      events.push(reason);
      bulkhead.breaker?.close();
    });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const queued = [1, 2].map((n) => errorOf(bulkhead.execute(() => n)));
    busy.fail(new Error("down"));
    await running;
    await Promise.all(queued);
    expect(events).toEqual(["OPEN", "circuitOpen", "circuitOpen", "CLOSED"]);
  });

  it("is emitted when getStats() shows the change already", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1 });
    const seen: unknown[] = [];
    bulkhead.on("stateChange", () => {
      const { circuitStatus, failedExecutions, activeTasks } = bulkhead.getStats();
      seen.push({ circuitStatus, failedExecutions, activeTasks });
    });
    await failCalls(bulkhead, 1);
    expect(seen).toEqual([{ circuitStatus: "OPEN", failedExecutions: 1, activeTasks: 0 }]);
  });
});

describe("isolated and released", () => {
  it("have the reason that was given, or null", () => {
    const { bulkhead, told } = heard();
    bulkhead.isolate("maintenance");
    bulkhead.release();
    bulkhead.isolate();
    bulkhead.release();
    expect(told).toEqual([
      ["isolated", { reason: "maintenance" }],
      ["released"],
      ["isolated", { reason: null }],
      ["released"],
    ]);
  });

  it("are no changes of the circuit; release without isolation is not emitted", () => {
    const { bulkhead, told } = heard();
    bulkhead.release();
    expect(told).toEqual([]);
  });
});

describe("healthCheck", () => {
  it("has the verdict before the circuit changes by it", async () => {
    const thrown = new Error("down");
    let isUp = false;
    const { bulkhead, told } = heard({
      healthCheckInterval: 1,
      healthCheck: () => (isUp ? true : Promise.reject(thrown)),
    });
    await vi.advanceTimersByTimeAsync(1000);
    isUp = true;
    await vi.advanceTimersByTimeAsync(1000);
    await bulkhead.shutdown();
    expect(told).toEqual([
      ["healthCheck", { healthy: false, error: thrown }],
      [
        "stateChange",
        { from: "CLOSED", to: "OPEN", reason: "the health check failed", cause: thrown },
      ],
      ["healthCheck", { healthy: true, error: null }],
      ["stateChange", { from: "OPEN", to: "HALF_OPEN", reason: "the health check passed" }],
      ["shutdown", { drained: true }],
    ]);
  });
});

describe("storageError", () => {
  it("has the error itself", async () => {
    const thrown = new Error("no database");
    const circuitStorage = new InMemoryStorage();
    circuitStorage.load = () => Promise.reject(thrown);
    const bulkhead = new Bulkhead({ name: "api" }, { circuitStorage });
    const { told } = listen(bulkhead);
    await bulkhead.ready();
    expect(told).toEqual([["storageError", thrown]]);
    expect(told[0]?.[1]).toBe(thrown);
    await bulkhead.shutdown();
  });
});

describe("shutdown", () => {
  it("is emitted once, with whether no function ran any more", async () => {
    const { bulkhead, told } = heard();
    await Promise.all([bulkhead.shutdown(), bulkhead.shutdown()]);
    await bulkhead.shutdown();
    expect(told).toEqual([["shutdown", { drained: true }]]);
  });

  it("is emitted at once when the shutdown does not wait for the running calls", async () => {
    const { bulkhead, told } = heard();
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await bulkhead.shutdown();
    expect(told).toEqual([["shutdown", { drained: false }]]);
    busy.open();
    await running;
  });

  it("is emitted after the calls that were drained", async () => {
    const { bulkhead, told, events } = heard({ maxConcurrentCalls: 1 });
    const busy = gate();
    const calls = [bulkhead.execute(() => busy.promise), bulkhead.execute(() => 1)];
    const shutting = bulkhead.shutdown({ drainSeconds: 10 });
    busy.open();
    await Promise.all([...calls, shutting]);
    expect(events()).toEqual(["success", "success", "shutdown"]);
    expect(told.at(-1)?.[1]).toEqual({ drained: true });
  });

  it("is emitted after the calls that were aborted", async () => {
    const { bulkhead, told, events } = heard({ maxConcurrentCalls: 1 });
    const busy = gate();
    const calls = [bulkhead.execute(() => busy.promise), bulkhead.execute(() => 1)].map(errorOf);
    const shutting = bulkhead.shutdown({ drainSeconds: 10 });
    await vi.advanceTimersByTimeAsync(10_000);
    await Promise.all([...calls, shutting]);
    expect(events()).toEqual(["rejected", "failure", "abandoned", "shutdown"]);
    expect(told[0]?.[1]).toMatchObject({ reason: "shutdown" });
    expect(told.at(-1)?.[1]).toEqual({ drained: false });
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(events().at(-1)).toBe("reclaimed");
  });
});

describe("listeners", () => {
  it("find the counters updated already", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const seen: unknown[] = [];
    bulkhead.on("success", () => seen.push(bulkhead.getStats().successfulExecutions));
    bulkhead.on("failure", () => seen.push(bulkhead.getStats().failedExecutions));
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    expect(seen).toEqual([1, 1]);
  });

  it("are called in the order in which they were added, with the bulkhead as `this`", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const seen: unknown[] = [];
    bulkhead.on("success", function (this: unknown) {
      seen.push(this);
    });
    bulkhead.on("success", () => seen.push("second"));
    bulkhead.prependListener("success", () => seen.push("first"));
    await passCalls(bulkhead, 1);
    expect(seen).toEqual(["first", bulkhead, "second"]);
  });

  it("are called once when they were added by once()", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const listener = vi.fn();
    bulkhead.once("success", listener);
    await passCalls(bulkhead, 3);
    expect(listener).toHaveBeenCalledTimes(1);
    expect(bulkhead.listenerCount("success")).toBe(0);
  });

  it("are not called after off(), also when a listener calls it", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const listener = vi.fn(() => {
      bulkhead.off("success", listener);
    });
    bulkhead.on("success", listener);
    await passCalls(bulkhead, 3);
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it("may call the bulkhead", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const inner = new Promise((resolve) => {
      bulkhead.once("success", () => resolve(bulkhead.execute(() => "inner")));
    });
    await bulkhead.execute(() => "outer");
    expect(await inner).toMatchObject({ result: "inner" });
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 2, activeTasks: 0 });
  });

  it("may shut the bulkhead down, isolate it, or move its circuit", async () => {
    for (const act of [
      (bulkhead: Bulkhead) => void bulkhead.shutdown(),
      (bulkhead: Bulkhead) => bulkhead.isolate(),
      (bulkhead: Bulkhead) => bulkhead.breaker?.open(),
    ]) {
      const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
      const busy = gate<string>();
      bulkhead.once("success", () => act(bulkhead));
      const running = bulkhead.execute(() => busy.promise);
      const waiting = errorOf(bulkhead.execute(() => 1));
      busy.open("done");
      expect((await running).result).toBe("done");
      expect(await waiting).toBeInstanceOf(BulkheadError);
      expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, queuedTasks: 0 });
    }
  });

  describe.each<[string, (bulkhead: Bulkhead, controller: AbortController) => unknown]>([
    ["aborts the call", (_, controller) => controller.abort(new Error("gone"))],
    ["isolates the bulkhead", (bulkhead) => bulkhead.isolate()],
    ["opens the circuit", (bulkhead) => bulkhead.breaker?.open()],
    ["shuts the bulkhead down", (bulkhead) => bulkhead.shutdown()],
    ["cuts all calls", (bulkhead) => bulkhead.shutdown({ drainSeconds: 0 })],
  ])("of a timeout that %s", (_, act) => {
    it("may do so: a running call is counted and rejected once", async () => {
      const { bulkhead, events } = heard({ maxConcurrentCalls: 1 });
      const [busy, controller] = [gate(), new AbortController()];
      const { signal } = controller;
      bulkhead.once("timeout", () => act(bulkhead, controller));
      const call = errorOf(bulkhead.run(() => busy.promise, { signal, timeoutSeconds: 1 }));
      await vi.advanceTimersByTimeAsync(1000);
      expect(await call).toBeInstanceOf(Error);
      const counted = { totalExecutions: 1, failedExecutions: 1, rejectedExecutions: 0 };
      expect(bulkhead.getStats()).toMatchObject({ ...counted, activeTasks: 0, abandonedTasks: 1 });
      busy.open();
      await vi.advanceTimersByTimeAsync(0);
      expect(bulkhead.getStats()).toMatchObject({ ...counted, activeTasks: 0, abandonedTasks: 0 });
      for (const event of ["timeout", "failure", "abandoned", "reclaimed"]) {
        expect(events().filter((told) => told === event)).toHaveLength(1);
      }
    });

    it("may do so: a queued call is counted and rejected once", async () => {
      const { bulkhead, events } = heard({ maxConcurrentCalls: 1 });
      const [busy, controller] = [gate(), new AbortController()];
      const { signal } = controller;
      bulkhead.once("timeout", () => act(bulkhead, controller));
      const running = bulkhead.execute(() => busy.promise).catch(() => {});
      const call = errorOf(bulkhead.run(() => 1, { signal, timeoutSeconds: 1 }));
      await vi.advanceTimersByTimeAsync(1000);
      expect(await call).toBeInstanceOf(Error);
      expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, rejectedExecutions: 1 });
      expect(events().filter((told) => told === "rejected")).toHaveLength(1);
      busy.open();
      await running;
      await vi.advanceTimersByTimeAsync(0);
      expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, abandonedTasks: 0 });
    });
  });

  it("of the breaker: emit() returns whether there were any, as of every EventEmitter", () => {
    const { breaker } = new Bulkhead({ name: "api" });
    const emitter = breaker as unknown as Bulkhead | undefined;
    expect(emitter?.emit("released")).toBe(false);
    emitter?.on("released", () => {});
    expect(emitter?.emit("released")).toBe(true);
  });

  it("may be removed all at once", async () => {
    const { bulkhead, told } = heard();
    bulkhead.removeAllListeners();
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 5);
    expect(told).toEqual([]);
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });
});

/** Warnings of this process, kept from the test's output. */
function warnings() {
  const emit = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
  return () => emit.mock.calls.map(([message, type]) => `${String(type)}: ${String(message)}`);
}

const FAULTS: ReadonlyArray<[what: string, fault: () => unknown]> = [
  [
    "throws",
    () => {
      throw new Error("my fault");
    },
  ],
  ["returns a promise that rejects", () => Promise.reject(new Error("my fault"))],
  [
    "is async and throws",
    async () => {
      await null;
      throw new Error("my fault");
    },
  ],
];

describe.each(FAULTS)("a listener that %s", (_, fault) => {
  /** Everything that a bulkhead can emit happens; returns what users can see of it. */
  async function everythingHappens(bulkhead: Bulkhead): Promise<unknown[]> {
    const outcomes: unknown[] = [];
    const note = (call: Promise<{ success: boolean; error: unknown }>) =>
      call.then(
        ({ success }) => outcomes.push(success),
        (error: unknown) => outcomes.push(error instanceof Error ? error.name : error),
      );
    const busy = gate();
    const running = note(bulkhead.run(() => busy.promise, { timeoutSeconds: 2 }));
    const waiting = note(bulkhead.run(() => 1, { timeoutSeconds: 1 }));
    const full = note(bulkhead.execute(() => 1));
    await vi.advanceTimersByTimeAsync(2000);
    busy.open();
    await Promise.all([running, waiting, full]);
    await note(bulkhead.execute(() => 1));
    await note(bulkhead.execute(() => Promise.reject(new Error("down"))));
    await note(bulkhead.execute(() => Promise.reject(new Error("down"))));
    await note(bulkhead.execute(() => 1));
    await vi.advanceTimersByTimeAsync(1000);
    await note(bulkhead.execute(() => 1));
    bulkhead.isolate();
    await note(bulkhead.execute(() => 1));
    bulkhead.release();
    await bulkhead.shutdown();
    await note(bulkhead.execute(() => 1));
    return [outcomes, bulkhead.getStats()];
  }

  const config = {
    name: "api",
    maxConcurrentCalls: 1,
    maxQueueSize: 1,
    failureThreshold: 2,
    successThreshold: 1,
    isolationDuration: 1,
    healthCheck: () => true,
    healthCheckInterval: 3,
  };

  it("changes no outcome and no figure, whatever it listens to", async () => {
    warnings();
    const undisturbed = await everythingHappens(new Bulkhead(config));
    const disturbed = new Bulkhead(config);
    const faulty = EVENTS.map((event) => {
      const listener = vi.fn(fault);
      disturbed.on(event, listener);
      return { event, listener };
    });
    expect(await everythingHappens(disturbed)).toEqual(undisturbed);
    const silent = faulty.filter(({ listener }) => listener.mock.calls.length === 0);
    expect(silent.map(({ event }) => event)).toEqual(["storageError"]);
  });

  it("changes no outcome and no figure when it listens to the breaker", async () => {
    warnings();
    const undisturbed = await everythingHappens(new Bulkhead(config));
    const disturbed = new Bulkhead(config);
    const heardOf = new Set<string>();
    const { breaker } = disturbed;
    for (const event of [
      "fire",
      "reject",
      "success",
      "failure",
      "timeout",
      "open",
      "halfOpen",
      "close",
    ]) {
      (breaker as unknown as Bulkhead | undefined)?.on(event as "success", () => {
        heardOf.add(event);
        return fault();
      });
    }
    expect(await everythingHappens(disturbed)).toEqual(undisturbed);
    expect(heardOf.size).toBe(8);
    expect(breaker?.stats).toMatchObject({ successes: 2, failures: 3, timeouts: 1 });
  });

  it("keeps the others neither from being called nor from their order", async () => {
    warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    const order: string[] = [];
    bulkhead.on("success", () => order.push("before"));
    bulkhead.on("success", () => {
      order.push("faulty");
      return fault();
    });
    bulkhead.on("success", () => order.push("after"));
    await passCalls(bulkhead, 2);
    expect(order).toEqual(["before", "faulty", "after", "before", "faulty", "after"]);
  });

  it("is reported as a process warning that names the event and the error", async () => {
    const warned = warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.on("success", () => fault());
    await passCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect(warned()).toHaveLength(1);
    expect(warned()[0]).toMatch(/^BulkheadWarning: .*"success".*my fault/);
  });

  it("is reported as a process warning also on the breaker", async () => {
    const warned = warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.breaker?.on("success", () => fault());
    await passCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect(warned()).toHaveLength(1);
    expect(warned()[0]).toMatch(/^BulkheadWarning: .*"success".*my fault/);
  });

  it("is reported once, not for every call", async () => {
    const warned = warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.on("success", () => fault());
    await passCalls(bulkhead, 5);
    await vi.advanceTimersByTimeAsync(0);
    expect(warned()).toHaveLength(1);
  });

  it("is reported for each listener by itself", async () => {
    const warned = warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.on("success", () => fault());
    bulkhead.on("success", () => fault());
    await passCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect(warned()).toHaveLength(2);
  });

  it("is reported and removed when it was added by once()", async () => {
    const warned = warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    const listener = vi.fn(fault);
    bulkhead.once("success", listener);
    await passCalls(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(0);
    expect(listener).toHaveBeenCalledTimes(1);
    expect(warned()).toHaveLength(1);
    expect(bulkhead.listenerCount("success")).toBe(0);
  });

  it("loses no permit", async () => {
    warnings();
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2, failureThreshold: 1000 });
    for (const event of EVENTS) bulkhead.on(event, () => fault());
    for (let n = 0; n < 10; n++) {
      await passCalls(bulkhead, 1);
      await failCalls(bulkhead, 1);
    }
    expect(bulkhead.getStats()).toMatchObject({
      activeTasks: 0,
      abandonedTasks: 0,
      successfulExecutions: 10,
      failedExecutions: 10,
    });
  });
});

describe("what a listener throws", () => {
  it.each([
    ["undefined", undefined],
    ["null", null],
    ["a symbol", Symbol("s")],
    [
      "an object that cannot be printed",
      { [Symbol.for("nodejs.util.inspect.custom")]: unprintable },
    ],
    ["a revoked Proxy", revokedProxy()],
  ])("may be %s", async (_, thrown) => {
    const warned = warnings();
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.on("success", () => {
      throw thrown;
    });
    expect((await bulkhead.execute(() => 1)).result).toBe(1);
    expect(warned()).toHaveLength(1);
  });

  it("reaches the listeners of the process's warnings, with its name", async () => {
    vi.useRealTimers();
    const heardWarning = new Promise<Error>((resolve) => {
      const listener = (warning: Error) => {
        if (!warning.message.includes("only this test's fault")) return;
        process.off("warning", listener);
        resolve(warning);
      };
      process.on("warning", listener);
    });
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.on("success", () => {
      throw new Error("only this test's fault");
    });
    await passCalls(bulkhead, 1);
    expect((await heardWarning).name).toBe("BulkheadWarning");
    vi.useFakeTimers();
  });
});

function unprintable(): never {
  throw new Error("unprintable");
}

function revokedProxy(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

describe("without listeners", () => {
  it("no event of a call is emitted", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const look = vi.spyOn(bulkhead, "rawListeners");
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    await errorOf(bulkhead.run(() => 1, { signal: AbortSignal.abort() }));
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const controller = new AbortController();
    const queued = errorOf(bulkhead.run(() => 1, { signal: controller.signal }));
    controller.abort();
    busy.open();
    await Promise.all([running, queued]);
    expect(look).not.toHaveBeenCalled();
    for (const event of ["success", "failure", "rejected"] as const) bulkhead.on(event, () => {});
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    await errorOf(bulkhead.run(() => 1, { signal: AbortSignal.abort() }));
    expect(look).toHaveBeenCalledTimes(3);
  });

  it("of an event, its payload is not made; with one, it is", async () => {
    const times = vi.spyOn(Call.prototype, "times");
    const bulkhead = new Bulkhead({ name: "api", reclaimAfterSeconds: null });
    bulkhead.on("rejected", () => {});
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    const controller = new AbortController();
    const hanging = bulkhead.run(() => new Promise(() => {}), { signal: controller.signal });
    await started();
    controller.abort();
    await errorOf(hanging);
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
    expect(times).not.toHaveBeenCalled();
    bulkhead.on("failure", () => {});
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    expect(times).toHaveBeenCalledTimes(1);
  });
});
