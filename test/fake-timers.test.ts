import { once } from "node:events";
import { mock } from "node:test";
import { type Clock, install } from "@sinonjs/fake-timers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead } from "../src/index.js";
import { gate, started, turn } from "./helpers/gate.js";

/** A tool that replaces timers for a test. */
interface Faker {
  readonly name: string;
  enable(): void;
  /** Takes every timer away, as if the tool had just been enabled. */
  reset(): void;
  disable(): void;
  advance(ms: number): void;
  /** How many timers are pending; `undefined` when the tool does not say. */
  pending(): number | undefined;
}

let clock: Clock | undefined;
const withSinon = (config: Parameters<typeof install>[0]): Omit<Faker, "name"> => ({
  enable: () => {
    clock = install(config);
  },
  reset: () => clock?.reset(),
  disable: () => clock?.uninstall(),
  advance: (ms) => clock?.tick(ms),
  pending: () => clock?.countTimers(),
});
const withNode = (apis: Array<"setTimeout" | "setInterval" | "setImmediate" | "Date">) => ({
  enable: () => mock.timers.enable({ apis }),
  reset: () => {
    mock.timers.reset();
    mock.timers.enable({ apis });
  },
  disable: () => mock.timers.reset(),
  advance: (ms: number) => mock.timers.tick(ms),
  pending: () => undefined,
});

// Some do not fake `performance.now()`: a deadline is then a little nearer than a test's clock says.
const FAKERS: readonly Faker[] = [
  {
    name: "vitest",
    enable: () => vi.useFakeTimers(),
    reset: () => vi.clearAllTimers(),
    disable: () => vi.useRealTimers(),
    advance: (ms) => vi.advanceTimersByTime(ms),
    pending: () => vi.getTimerCount(),
  },
  // vitest receives the messages of its own processes by `nextTick`.
  { name: "sinon", ...withSinon({ toNotFake: ["nextTick", "queueMicrotask"] }) },
  { name: "sinon, timeouts only", ...withSinon({ toFake: ["setTimeout", "clearTimeout"] }) },
  { name: "node:test", ...withNode(["setTimeout", "setInterval", "setImmediate", "Date"]) },
  { name: "node:test, timeouts only", ...withNode(["setTimeout"]) },
];

/** Never returns. */
const hang = () => new Promise<never>(() => {});
/** Lets all microtasks run; the tools fake the turns of the event loop too. */
async function settle(): Promise<void> {
  for (let n = 0; n < 20; n++) await Promise.resolve();
}

/** The codes of the errors that callers got so far. */
function calling(bulkhead: Bulkhead) {
  const codes: string[] = [];
  return {
    codes,
    call: (name: string, timeoutSeconds: number, fn: () => unknown = hang) =>
      bulkhead.run(fn, { timeoutSeconds }).then(
        () => codes.push(`${name} ok`),
        (error) => codes.push(`${name} ${error.code}`),
      ),
  };
}

describe.each(FAKERS)("timers faked by $name", (faker) => {
  let bulkhead: Bulkhead;
  beforeEach(async () => {
    // As in the module of the program that is tested: it has had calls, with real timers.
    bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 100, circuitBreakerEnabled: false });
    await bulkhead.run(async () => {}, { timeoutSeconds: 60 });
    await turn();
  });
  afterEach(async () => {
    faker.disable();
    await bulkhead.shutdown();
  });

  it.each([0.01, 1000])(
    "does not end the time limits of a bulkhead when a test left a call with a limit of %d s",
    async (timeoutSeconds) => {
      const { codes, call } = calling(bulkhead);
      faker.enable();
      void call("left", timeoutSeconds);
      await settle();
      faker.disable();

      await call("next", 0.02);
      expect(codes).toEqual(["next ERR_BULKHEAD_TIMEOUT"]);
    },
  );

  it("does not end them when the clock was advanced meanwhile", async () => {
    const { codes, call } = calling(bulkhead);
    faker.enable();
    void call("left", 5000);
    faker.advance(3_600_000);
    await settle();
    faker.disable();

    await call("next", 0.02);
    expect(codes).toEqual(["next ERR_BULKHEAD_TIMEOUT"]);
  });

  it("drives the limits of calls that are made while a real one is pending", async () => {
    const { codes, call } = calling(bulkhead);
    void call("real", 600, async () => hang());
    await turn();
    faker.enable();
    void call("faked", 10);
    await settle();
    faker.advance(9_000);
    await settle();
    expect(codes).toEqual([]);
    faker.advance(1_000);
    await settle();
    expect(codes).toEqual(["faked ERR_BULKHEAD_TIMEOUT"]);
  });

  it("leaves the limit of a call alone that was made before", async () => {
    const { codes, call } = calling(bulkhead);
    const realTimeout = setTimeout;
    const real = call("real", 0.03);
    await turn();
    faker.enable();
    void call("faked", 10);
    while (codes.length === 0) await new Promise((resolve) => realTimeout(resolve, 5));
    expect(codes).toEqual(["real ERR_BULKHEAD_TIMEOUT"]);
    faker.advance(10_000);
    await settle();
    await real;
    expect(codes).toEqual(["real ERR_BULKHEAD_TIMEOUT", "faked ERR_BULKHEAD_TIMEOUT"]);
  });

  it("drives the limits of the next test when it is reset between two tests", async () => {
    const { codes, call } = calling(bulkhead);
    faker.enable();
    void call("left", 10);
    faker.advance(10);
    await settle();
    faker.reset();
    void call("next", 10);
    await settle();
    faker.advance(9_000);
    await settle();
    expect(codes).toEqual([]);
    faker.advance(1_000);
    await settle();
    expect(codes).toEqual(["next ERR_BULKHEAD_TIMEOUT"]);
  });

  it("expires each call when its own time has come, in this order", async () => {
    const { codes, call } = calling(bulkhead);
    faker.enable();
    for (const name of ["a", "b"]) void call(name, 1);
    void call("quick", 0.2);
    faker.advance(500);
    void call("c", 1);
    await settle();
    expect(codes).toEqual(["quick ERR_BULKHEAD_TIMEOUT"]);
    faker.advance(500);
    await settle();
    expect(codes.slice(1)).toEqual(["a ERR_BULKHEAD_TIMEOUT", "b ERR_BULKHEAD_TIMEOUT"]);
    faker.advance(400);
    await settle();
    expect(codes).toHaveLength(3);
    faker.advance(100);
    await settle();
    expect(codes.slice(3)).toEqual(["c ERR_BULKHEAD_TIMEOUT"]);
  });

  it("can drive a limit that is longer than a timer can be", async () => {
    const { codes, call } = calling(bulkhead);
    const longest = 2 ** 31 - 1;
    faker.enable();
    void call("long", longest / 1000);
    faker.advance(longest - 1_000);
    await settle();
    expect(codes).toEqual([]);
    faker.advance(1_000);
    await settle();
    expect(codes).toEqual(["long ERR_BULKHEAD_TIMEOUT"]);
  });

  it("has no timer left when all calls have ended", async () => {
    const { codes, call } = calling(bulkhead);
    const busy = gate();
    faker.enable();
    const calls = ["a", "b", "c"].map((name, n) => call(name, 10 + n, () => busy.promise));
    void call("timed out", 5);
    await started();
    faker.advance(5_000);
    busy.open();
    await Promise.all(calls);
    expect(codes).toEqual(["timed out ERR_BULKHEAD_TIMEOUT", "a ok", "b ok", "c ok"]);
    // One gives the permit of the call that timed out back.
    expect(faker.pending() ?? 1).toBe(1);
    faker.advance(30_000);
    expect(faker.pending() ?? 0).toBe(0);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, abandonedTasks: 0 });
  });

  it("does not end the health checks when one was started meanwhile and hangs", async () => {
    const realTimeout = setTimeout;
    const sleep = (ms: number) => new Promise((resolve) => realTimeout(resolve, ms));
    let checks = 0;
    const checked = new Bulkhead({
      name: "checked",
      healthCheck: ({ signal }) => {
        checks++;
        return new Promise((_, reject) => signal.addEventListener("abort", reject));
      },
      healthCheckInterval: 0.005,
      timeoutSeconds: 0.02,
    });
    faker.enable();
    while (checks < 1) await sleep(1);
    faker.disable();
    while (checks < 3) await sleep(1);
    await checked.shutdown();
  });

  it("reclaims the permits of calls that were left", async () => {
    const { call } = calling(bulkhead);
    faker.enable();
    void call("left", 1);
    await started();
    faker.advance(1_000);
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
    faker.advance(29_000);
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
    faker.advance(1_000);
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  });
});

describe("timers that are numbers, as in a faked browser", () => {
  const [set, clear] = [setTimeout, clearTimeout];
  const timers = new Map<number, NodeJS.Timeout>();
  let count = 0;
  const start = (callback: () => void, ms: number) => {
    const id = ++count;
    const fire = () => {
      timers.delete(id);
      callback();
    };
    timers.set(id, set(fire, ms));
    return id;
  };
  const stop = (id: number) => {
    clear(timers.get(id));
    timers.delete(id);
  };

  beforeEach(() => {
    vi.stubGlobal("setTimeout", start);
    vi.stubGlobal("clearTimeout", stop);
    vi.stubGlobal("setInterval", start);
    vi.stubGlobal("clearInterval", stop);
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    expect(timers.size).toBe(0);
  });

  it("end calls, reclaim permits, and run health checks", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      healthCheck: () => true,
      healthCheckInterval: 0.01,
      reclaimAfterSeconds: 0.01,
    });
    const checked = once(bulkhead, "healthCheck");
    const reclaimed = once(bulkhead, "reclaimed");
    const { codes, call } = calling(bulkhead);
    await call("late", 0.01);
    await call("quick", 60, () => 1);
    expect(codes).toEqual(["late ERR_BULKHEAD_TIMEOUT", "quick ok"]);
    await Promise.all([checked, reclaimed]);
    await bulkhead.shutdown();
  });
});

describe("a wrapped setTimeout that makes real timers", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it("is shared by calls like Node's own, also after it has been unwrapped", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 100 });
    const { codes, call } = calling(bulkhead);
    const setTimer = vi.spyOn(globalThis, "setTimeout");
    const first = call("wrapped", 0.03);
    await settle();
    setTimer.mockClear();
    for (let n = 0; n < 50; n++) void call("more", 600);
    expect(setTimer).not.toHaveBeenCalled();
    vi.restoreAllMocks();
    const second = call("unwrapped", 0.01);
    await Promise.all([first, second]);
    expect(codes.toSorted()).toEqual([
      "unwrapped ERR_BULKHEAD_TIMEOUT",
      "wrapped ERR_BULKHEAD_TIMEOUT",
    ]);
    await bulkhead.shutdown({ drainSeconds: 0 });
  });
});
