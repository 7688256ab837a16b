import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { HealthCheck } from "../../src/circuit/health-check.js";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  type BulkheadConfig,
  type HealthCheckContext,
  type HealthCheckEvent,
  type StateChangeEvent,
} from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { type Gate, gate } from "../helpers/gate.js";

beforeEach(() => {
  vi.useFakeTimers();
});

const bulkheads: Bulkhead[] = [];

afterEach(async () => {
  for (const bulkhead of bulkheads.splice(0)) await bulkhead.shutdown();
  const left = vi.getTimerCount();
  vi.useRealTimers();
  vi.restoreAllMocks();
  expect(left).toBe(0);
});

type Check = (context: HealthCheckContext) => unknown;

/** A bulkhead that is checked every second, and what it emits of that. */
function checked(healthCheck: Check, config: Partial<BulkheadConfig> = {}) {
  const bulkhead = new Bulkhead({ name: "api", healthCheck, healthCheckInterval: 1, ...config });
  bulkheads.push(bulkhead);
  const verdicts: HealthCheckEvent[] = [];
  const changes: StateChangeEvent[] = [];
  bulkhead.on("healthCheck", (event) => verdicts.push(event));
  bulkhead.on("stateChange", (event) => changes.push(event));
  const status = () => bulkhead.getStats().circuitStatus;
  return { bulkhead, verdicts, changes, status };
}

/** A check whose runs the test settles one by one. */
function gatedCheck() {
  const runs: Array<Gate<unknown>> = [];
  const check = vi.fn<Check>(() => {
    const run = gate<unknown>();
    runs.push(run);
    return run.promise;
  });
  const settle = async (index: number, value: unknown) => {
    runs[index]?.open(value);
    await vi.advanceTimersByTimeAsync(0);
  };
  return { check, runs, settle };
}

describe("the schedule of health checks", () => {
  it("begins one interval after the bulkhead was made, and goes on at that interval", async () => {
    const check = vi.fn();
    checked(check, { healthCheckInterval: 2 });
    expect(check).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1999);
    expect(check).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(check).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(check).toHaveBeenCalledTimes(6);
  });

  it("has an interval of 5 seconds by default", async () => {
    const check = vi.fn();
    bulkheads.push(new Bulkhead({ name: "api", healthCheck: check }));
    await vi.advanceTimersByTimeAsync(4999);
    expect(check).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(check).toHaveBeenCalledTimes(1);
  });

  it("does not need a call, and costs a call nothing", async () => {
    const { bulkhead } = checked(() => true);
    await passCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 1, successfulExecutions: 1 });
  });

  it("is no timer at all without a health check", () => {
    bulkheads.push(new Bulkhead({ name: "api", healthCheckInterval: 1 }));
    expect(vi.getTimerCount()).toBe(0);
  });

  it("may be as long as a timer can be, and no timer gets more than it can hold", async () => {
    const setTimer = vi.spyOn(globalThis, "setInterval");
    const check = vi.fn();
    checked(check, { healthCheckInterval: 2_147_483.647 });
    expect(setTimer.mock.calls[0]?.[1]).toBeLessThanOrEqual(2 ** 31 - 1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(check).not.toHaveBeenCalled();
  });

  it("never overlaps: a check that takes longer than the interval is not started again", async () => {
    const { check, settle } = gatedCheck();
    checked(check);
    await vi.advanceTimersByTimeAsync(5500);
    expect(check).toHaveBeenCalledTimes(1);
    await settle(0, true);
    expect(check).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(500);
    expect(check).toHaveBeenCalledTimes(2);
  });

  it("never overlaps: nor while one that has timed out still runs", async () => {
    const { check, settle } = gatedCheck();
    const { verdicts } = checked(check, { timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(5500);
    expect(check).toHaveBeenCalledTimes(1);
    expect(verdicts).toHaveLength(1);
    await settle(0, true);
    await vi.advanceTimersByTimeAsync(500);
    expect(check).toHaveBeenCalledTimes(2);
    await settle(1, true);
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("down");
      },
    ],
    ["rejects", () => Promise.reject(new Error("down"))],
    ["returns false", () => false],
  ])("goes on after a check that %s", async (_, fail) => {
    const check = vi.fn<Check>(fail);
    checked(check);
    await vi.advanceTimersByTimeAsync(3000);
    expect(check).toHaveBeenCalledTimes(3);
  });

  it("goes on while the circuit is open and while the bulkhead is isolated manually", async () => {
    const check = vi.fn<Check>(() => false);
    const { bulkhead } = checked(check);
    bulkhead.isolate();
    await vi.advanceTimersByTimeAsync(3000);
    expect(check).toHaveBeenCalledTimes(3);
  });

  it("does not keep the process alive, nor does a check's time limit", async () => {
    const setTimers = [vi.spyOn(globalThis, "setInterval"), vi.spyOn(globalThis, "setTimeout")];
    const { check, settle } = gatedCheck();
    checked(check, { timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(check).toHaveBeenCalledTimes(1);
    const timers = setTimers.flatMap(({ mock }) => mock.results.map(({ value }) => value.hasRef()));
    expect(timers).toEqual([false, false]);
    await settle(0, true);
  });
});

describe("a health check", () => {
  it("gets a signal that is not aborted while it has time", async () => {
    const { check, settle } = gatedCheck();
    checked(check, { timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(1000);
    const [context] = check.mock.calls[0] ?? [];
    expect(context?.signal).toBeInstanceOf(AbortSignal);
    expect(context?.signal.aborted).toBe(false);
    await settle(0, true);
    expect(context?.signal.aborted).toBe(false);
  });

  it("gets another signal each time", async () => {
    const signals: AbortSignal[] = [];
    checked(({ signal }) => signals.push(signal));
    await vi.advanceTimersByTimeAsync(2000);
    expect(new Set(signals).size).toBe(2);
  });

  it("gets its signal aborted with the reason when its time is over", async () => {
    const { check, settle } = gatedCheck();
    const { verdicts } = checked(check, { timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(1500);
    const signal = check.mock.calls[0]?.[0].signal;
    expect(signal?.aborted).toBe(true);
    expect(signal?.reason).toBe(verdicts[0]?.error);
    await settle(0, true);
  });

  it.each([
    ["undefined", () => undefined],
    ["true", () => true],
    ["null", () => null],
    ["0", () => 0],
    ["a promise of nothing", async () => {}],
    ["a response", async () => ({ ok: true })],
    ["a thenable", () => ({ then: (resolve: (value: boolean) => void) => resolve(true) })],
  ])("passes when it returns %s", async (_, check) => {
    const { verdicts, status } = checked(check);
    await vi.advanceTimersByTimeAsync(1000);
    expect(verdicts).toEqual([{ healthy: true, error: null }]);
    expect(status()).toBe("CLOSED");
  });

  const thrown = new Error("down");
  it.each<[string, Check, unknown]>([
    [
      "throws",
      () => {
        throw thrown;
      },
      thrown,
    ],
    [
      "throws undefined",
      () => {
        throw undefined;
      },
      undefined,
    ],
    [
      "throws null",
      () => {
        throw null;
      },
      null,
    ],
    [
      "throws a string",
      () => {
        throw "down";
      },
      "down",
    ],
    ["rejects", () => Promise.reject(thrown), thrown],
    ["returns false", () => false, new Error("The health check returned false")],
    ["resolves with false", async () => false, new Error("The health check returned false")],
    [
      "returns a thenable that rejects",
      () => ({ then: (_: unknown, fail: (e: Error) => void) => fail(thrown) }),
      thrown,
    ],
    [
      "returns a thenable of false",
      () => ({ then: (pass: (v: boolean) => void) => pass(false) }),
      new Error("The health check returned false"),
    ],
    [
      "has a `then` that throws",
      () => ({
        get then() {
          throw thrown;
        },
      }),
      thrown,
    ],
  ])("fails when it %s: the circuit opens", async (_, check, error) => {
    const { verdicts, changes, status } = checked(check);
    await vi.advanceTimersByTimeAsync(1000);
    expect(verdicts).toEqual([{ healthy: false, error }]);
    const reason = "the health check failed";
    expect(changes).toEqual([{ from: "CLOSED", to: "OPEN", reason, cause: error }]);
    expect(status()).toBe("OPEN");
  });

  it("fails at the instant when it exceeds timeoutSeconds, and only once", async () => {
    const { check, settle } = gatedCheck();
    const { verdicts, status } = checked(check, { timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(1499);
    expect(verdicts).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(verdicts).toEqual([
      { healthy: false, error: new Error("The health check took longer than 0.5 s") },
    ]);
    expect(status()).toBe("OPEN");
    await settle(0, true);
    expect(verdicts).toHaveLength(1);
    expect(status()).toBe("OPEN");
  });

  it("may take as long as it likes without timeoutSeconds", async () => {
    const { check, settle } = gatedCheck();
    const { verdicts } = checked(check, { timeoutSeconds: null });
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(verdicts).toEqual([]);
    await settle(0, true);
    expect(verdicts).toEqual([{ healthy: true, error: null }]);
  });

  it("leaves no timer of its own when it settled in time", async () => {
    const { check, settle } = gatedCheck();
    checked(check, { timeoutSeconds: 10, healthCheckInterval: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(vi.getTimerCount()).toBe(2);
    await settle(0, true);
    expect(vi.getTimerCount()).toBe(1);
  });

  it("causes no unhandled rejection when it rejects after its time was over", async () => {
    const { check, runs } = gatedCheck();
    const { verdicts } = checked(check, { timeoutSeconds: 0.5 });
    await vi.advanceTimersByTimeAsync(1500);
    runs[0]?.fail(new Error("late"));
    await vi.advanceTimersByTimeAsync(0);
    expect(verdicts).toHaveLength(1);
  });

  it("may shut its own bulkhead down", async () => {
    const { bulkhead, verdicts } = checked(() => bulkhead.shutdown());
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getState()).toBe("failed");
    expect(verdicts).toEqual([]);
  });
});

describe("a failing health check", () => {
  it("opens the circuit for isolationDuration: new and queued calls are rejected", async () => {
    let isUp = false;
    const { bulkhead, status } = checked(() => isUp, {
      maxConcurrentCalls: 1,
      isolationDuration: 10,
      healthCheckInterval: 100,
    });
    const busy = gate<string>();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = bulkhead.execute(() => 1).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(await waiting).toBeInstanceOf(BulkheadCircuitOpenError);
    const refused = bulkhead.execute(() => 1);
    await expect(refused).rejects.toMatchObject({ retryAfterSeconds: 10 });
    busy.open("goes on");
    expect((await running).result).toBe("goes on");
    isUp = true;
    await vi.advanceTimersByTimeAsync(9999);
    expect(status()).toBe("OPEN");
    await vi.advanceTimersByTimeAsync(1);
    expect(status()).toBe("HALF_OPEN");
  });

  it("opens a half-open circuit again", async () => {
    let isUp = true;
    const { bulkhead, status } = checked(() => isUp, { failureThreshold: 1 });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(status()).toBe("HALF_OPEN");
    isUp = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(status()).toBe("OPEN");
  });

  it("changes nothing while the circuit is open, but is emitted", async () => {
    const { verdicts, changes, status } = checked(() => false);
    await vi.advanceTimersByTimeAsync(3000);
    expect(status()).toBe("OPEN");
    expect(changes).toHaveLength(1);
    expect(verdicts).toHaveLength(3);
  });

  it("counts no call", async () => {
    const { bulkhead } = checked(() => false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(bulkhead.getStats()).toMatchObject({
      totalExecutions: 0,
      failedExecutions: 0,
      rejectedExecutions: 0,
    });
  });

  it("that a full bulkhead rejected is neutral: the dependency was not asked", async () => {
    const inner = new Bulkhead({ name: "inner", maxConcurrentCalls: 1, maxQueueSize: 0 });
    const itself = checked(() => itself.bulkhead.call(() => "pong"), {
      maxConcurrentCalls: 1,
      maxQueueSize: 0,
    });
    const nested = checked(() => inner.call(() => "pong"));
    const busy = gate();
    const running = [inner, itself.bulkhead].map((full) => full.execute(() => busy.promise));
    await vi.advanceTimersByTimeAsync(1000);
    for (const { verdicts, changes } of [itself, nested]) {
      expect(verdicts).toMatchObject([{ healthy: false, error: { code: "ERR_BULKHEAD_FULL" } }]);
      expect(changes).toEqual([]);
    }
    busy.open();
    await Promise.all(running);
  });

  it("is only emitted when the circuit is switched off", async () => {
    const { bulkhead, verdicts } = checked(() => false, { circuitBreakerEnabled: false });
    await vi.advanceTimersByTimeAsync(1000);
    expect(verdicts).toMatchObject([{ healthy: false }]);
    expect(bulkhead.getState()).toBe("healthy");
    expect((await bulkhead.execute(() => 1)).result).toBe(1);
  });
});

describe("a passing health check", () => {
  it("ends the isolation early: the circuit is half-open and admits probes", async () => {
    const { bulkhead, changes, status } = checked(() => true, {
      failureThreshold: 1,
      successThreshold: 2,
      isolationDuration: 3600,
    });
    await failCalls(bulkhead, 1);
    expect(status()).toBe("OPEN");
    await vi.advanceTimersByTimeAsync(1000);
    expect(status()).toBe("HALF_OPEN");
    expect(bulkhead.getState()).toBe("degraded");
    expect(changes.at(-1)).toEqual({
      from: "OPEN",
      to: "HALF_OPEN",
      reason: "the health check passed",
    });
    await passCalls(bulkhead, 1);
    expect(status()).toBe("HALF_OPEN");
    await passCalls(bulkhead, 1);
    expect(status()).toBe("CLOSED");
  });

  it("ends an opening by a failed health check, and a manual one", async () => {
    let isUp = false;
    const { bulkhead, status } = checked(() => isUp, { isolationDuration: 3600 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(status()).toBe("OPEN");
    isUp = true;
    await vi.advanceTimersByTimeAsync(1000);
    expect(status()).toBe("HALF_OPEN");
    bulkhead.breaker?.open();
    expect(status()).toBe("OPEN");
    await vi.advanceTimersByTimeAsync(1000);
    expect(status()).toBe("HALF_OPEN");
  });

  it("closes nothing by itself: a half-open circuit waits for its probes", async () => {
    const { bulkhead, status } = checked(() => true, { failureThreshold: 1, successThreshold: 1 });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(status()).toBe("HALF_OPEN");
  });

  it("admits no further probes of a half-open circuit", async () => {
    const { bulkhead } = checked(() => true, { failureThreshold: 1, successThreshold: 1 });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    const busy = gate();
    const probe = bulkhead.execute(() => busy.promise);
    await vi.advanceTimersByTimeAsync(5000);
    await expect(bulkhead.execute(() => 1)).rejects.toBeInstanceOf(BulkheadCircuitOpenError);
    busy.open();
    await probe;
  });

  it("does not forgive failures while the circuit is closed", async () => {
    const { bulkhead, status } = checked(() => true, { failureThreshold: 2 });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(5000);
    await failCalls(bulkhead, 1);
    expect(status()).toBe("OPEN");
  });

  it("does not end a manual isolation", async () => {
    const { bulkhead } = checked(() => true);
    bulkhead.isolate();
    await vi.advanceTimersByTimeAsync(5000);
    expect(bulkhead.getState()).toBe("isolated");
  });
});

describe("the shutdown", () => {
  it("ends the checks at once, and leaves no timer", async () => {
    const check = vi.fn();
    const { bulkhead } = checked(check);
    const shutting = bulkhead.shutdown();
    expect(vi.getTimerCount()).toBe(0);
    await shutting;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(check).not.toHaveBeenCalled();
  });

  it("ends the checks at once also when it drains", async () => {
    const check = vi.fn();
    const { bulkhead } = checked(check);
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const shutting = bulkhead.shutdown({ drainSeconds: 10 });
    await vi.advanceTimersByTimeAsync(5000);
    expect(check).not.toHaveBeenCalled();
    busy.open();
    await Promise.all([running, shutting]);
  });

  it.each([
    ["passes", (run: Gate<unknown>) => run.open(true)],
    ["returns false", (run: Gate<unknown>) => run.open(false)],
    ["rejects", (run: Gate<unknown>) => run.fail(new Error("down"))],
  ])("aborts a running check and ignores its verdict when it %s later", async (_, settle) => {
    const { check, runs } = gatedCheck();
    const { bulkhead, verdicts, changes } = checked(check, { timeoutSeconds: 60 });
    await vi.advanceTimersByTimeAsync(1000);
    const signal = check.mock.calls[0]?.[0].signal;
    await bulkhead.shutdown();
    expect(signal?.aborted).toBe(true);
    for (const run of runs) settle(run);
    await vi.advanceTimersByTimeAsync(0);
    expect(vi.getTimerCount()).toBe(0);
    expect(verdicts).toEqual([]);
    expect(changes).toEqual([]);
  });

  it("leaves no timer of a check that never settles", async () => {
    const { bulkhead, verdicts } = checked(() => new Promise(() => {}), { timeoutSeconds: 60 });
    await vi.advanceTimersByTimeAsync(1000);
    await bulkhead.shutdown();
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(verdicts).toEqual([]);
  });
});

describe("a check whose time limit was lost with the timers of a test", () => {
  it("fails when more intervals than its limit have passed, and the next one starts", async () => {
    vi.spyOn(globalThis, "setTimeout").mockReturnValue(0 as unknown as NodeJS.Timeout);
    vi.spyOn(globalThis, "clearTimeout").mockReturnValue(undefined);
    const onVerdict = vi.fn();
    const signals: AbortSignal[] = [];
    const health = new HealthCheck({
      check: ({ signal }) => {
        signals.push(signal);
        return new Promise((_, reject) => signal.addEventListener("abort", reject));
      },
      intervalMs: 100,
      timeoutMs: 200,
      onVerdict,
    });
    // The check starts at 100 ms; its limit ends at 300 ms, and whole intervals are waited for.
    await vi.advanceTimersByTimeAsync(499);
    expect(onVerdict).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(onVerdict.mock.calls).toEqual([
      [false, new Error("The health check took longer than 0.2 s")],
    ]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    await vi.advanceTimersByTimeAsync(100);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    health.stop();
    vi.restoreAllMocks();
  });

  it("may take as long as it likes without a limit", async () => {
    const onVerdict = vi.fn();
    const check = () => new Promise(() => {});
    const health = new HealthCheck({ check, intervalMs: 100, timeoutMs: null, onVerdict });
    await vi.advanceTimersByTimeAsync(100_000);
    expect(onVerdict).not.toHaveBeenCalled();
    health.stop();
  });
});
