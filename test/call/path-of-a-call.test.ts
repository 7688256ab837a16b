import { createHook } from "node:async_hooks";
import { EventEmitter, getEventListeners } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  type CircuitStorage,
  InMemoryStorage,
} from "../../src/index.js";

// What a call costs, in things that can be counted: the same on every machine, however busy it is.
// Each bound is the count of today: a call may become cheaper, and a dearer one has its reason here.

const CALLS = 100;
const work = async () => 1;
const never = () => new Promise(() => {});

/** Of all calls together. */
interface Costs {
  /** Without those of the function and of the caller. */
  readonly promises: number;
  /** Set, whether or not they were taken back. */
  readonly timers: number;
  readonly listenersAdded: number;
  readonly queries: number;
}

const queries = vi.fn();

/** Every question to it is counted. */
function countingStorage(): CircuitStorage {
  return new Proxy(new InMemoryStorage(), {
    get(target, key) {
      const member: unknown = Reflect.get(target, key);
      if (typeof member !== "function") return member;
      return (...args: unknown[]) => {
        queries(key);
        return member.apply(target, args);
      };
    },
  });
}

/** What each call has: the outcome that its caller gets, and the one by which its function is awaited. */
const CALL = 2;
/** Soon after a call that no other waits behind, its lane closes; and soon after it came, its deadline has a timer. */
const SOON = 1;
/** While calls wait, p-limit has one more lane to open. */
const REQUEST = 3;
/** What p-limit makes of a lane from the request to the closing: paid once for a lane, not for a call. */
const LANE = 10;
const PERMITS = 10;

let promises = 0;
const hook = createHook({
  init(_id, type) {
    if (type === "PROMISE") promises++;
  },
});
const timers = ["setTimeout", "setInterval", "setImmediate"] as const;

beforeEach(() => {
  // It moves a little at every look: whether a call was brief is not for a busy machine to say.
  let time = performance.now();
  vi.spyOn(performance, "now").mockImplementation(() => {
    time += 0.001;
    return time;
  });
  for (const timer of timers) vi.spyOn(globalThis, timer);
  vi.spyOn(EventEmitter.prototype, "on");
  vi.spyOn(EventEmitter.prototype, "once");
  vi.spyOn(EventTarget.prototype, "addEventListener");
  queries.mockClear();
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Nothing but microtasks lies within: what else goes on in this process has no turn. */
async function promisesDuring(run: () => Promise<unknown>): Promise<number> {
  await turn();
  promises = 0;
  hook.enable();
  await run();
  hook.disable();
  return promises;
}

async function oneAfterAnother(call: () => unknown): Promise<void> {
  for (let n = 0; n < CALLS; n++) await call();
}

async function inABurst(call: () => unknown): Promise<void> {
  await Promise.all(Array.from({ length: CALLS }, call));
}

async function costs(
  shape: (call: () => unknown) => Promise<void>,
  call: () => unknown,
  bare: () => unknown = work,
): Promise<Costs> {
  const own = await promisesDuring(() => shape(bare));
  vi.clearAllMocks();
  const all = await promisesDuring(() => shape(call));
  const { on, once } = EventEmitter.prototype;
  const added = [on, once, EventTarget.prototype.addEventListener];
  return {
    promises: all - own,
    timers: sum(timers.map((timer) => callsOf(globalThis[timer]))),
    listenersAdded: sum(added.map(callsOf)),
    queries: queries.mock.calls.length,
  };
}

function expectAtMost(costs: Costs, bounds: Costs): void {
  for (const cost of ["promises", "timers", "listenersAdded", "queries"] as const) {
    expect(costs[cost], cost).toBeLessThanOrEqual(bounds[cost]);
  }
}

const callsOf = (spied: unknown) => vi.mocked(spied as () => unknown).mock.calls.length;
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);

async function loaded(config: Partial<BulkheadConfig> = {}): Promise<Bulkhead> {
  const bulkhead = new Bulkhead(
    { name: "x", maxConcurrentCalls: PERMITS, ...config },
    { circuitStorage: countingStorage() },
  );
  await bulkhead.ready();
  expect(queries).toHaveBeenCalled();
  await bulkhead.execute(work); // what is made for the first call is no call's cost
  await turn();
  return bulkhead;
}

describe("a call through a closed circuit", () => {
  it("costs, one after another", async () => {
    const bulkhead = await loaded();

    expectAtMost(await costs(oneAfterAnother, () => bulkhead.execute(work)), {
      promises: CALLS * (CALL + SOON) + LANE,
      timers: 0,
      listenersAdded: 0,
      queries: 0,
    });
  });

  it("costs, one after another with a timeout: the call is over before its timer is set", async () => {
    const bulkhead = await loaded({ timeoutSeconds: 60 });

    expectAtMost(await costs(oneAfterAnother, () => bulkhead.execute(work)), {
      promises: CALLS * (CALL + SOON + SOON) + LANE,
      timers: 1, // of the first call, which waits for its lane
      listenersAdded: 0,
      queries: 0,
    });
  });

  it("costs, in a burst: all lanes are opened, and closed together", async () => {
    const bulkhead = await loaded();

    expectAtMost(await costs(inABurst, () => bulkhead.execute(work)), {
      promises: CALLS * CALL + PERMITS * LANE + REQUEST + SOON,
      timers: 0,
      listenersAdded: 0,
      queries: 0,
    });
  });

  it("costs, in a burst with a timeout: one timer for all", async () => {
    const bulkhead = await loaded({ timeoutSeconds: 60 });

    expectAtMost(await costs(inABurst, () => bulkhead.execute(work)), {
      promises: CALLS * CALL + PERMITS * LANE + REQUEST + SOON + SOON,
      timers: 1,
      listenersAdded: 0,
      queries: 0,
    });
  });
});

describe("a rejection costs no more than a rejected promise", () => {
  const NOTHING: Costs = { promises: 0, timers: 0, listenersAdded: 0, queries: 0 };
  const rejected = () => Promise.reject(new Error("refused")).catch(() => {});

  it("by an open circuit", async () => {
    const bulkhead = await loaded({ timeoutSeconds: 60 });
    bulkhead.breaker?.open();
    const refused = () => bulkhead.execute(work).catch(() => {});

    expect(await costs(oneAfterAnother, refused, rejected)).toEqual(NOTHING);
    expect(bulkhead.getStats().rejections.circuitOpen).toBe(CALLS);
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 0, activeTasks: 0 });
  });

  it("when full", async () => {
    const bulkhead = await loaded({ timeoutSeconds: 60, maxConcurrentCalls: 1, maxQueueSize: 1 });
    void bulkhead.run(never, { timeoutSeconds: null });
    void bulkhead.run(never, { timeoutSeconds: null });
    const refused = () => bulkhead.execute(work).catch(() => {});

    expect(await costs(oneAfterAnother, refused, rejected)).toEqual(NOTHING);
    expect(bulkhead.getStats().rejections.full).toBe(CALLS);
    expect(bulkhead.getStats()).toMatchObject({ queuedTasks: 1, activeTasks: 1 });
  });
});

describe("the signal of a caller", () => {
  it("has one listener for all calls under way, and none after them", async () => {
    const bulkhead = await loaded();
    const { signal } = new AbortController();
    const call = () => bulkhead.run(work, { signal });
    vi.clearAllMocks();

    const calls = Array.from({ length: CALLS }, call);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    await Promise.all(calls);

    expect(callsOf(EventTarget.prototype.addEventListener)).toBe(1);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});
