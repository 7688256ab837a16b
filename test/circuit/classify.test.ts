import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadError,
  BulkheadFullError,
  type Classification,
  type FailureEvent,
} from "../../src/index.js";
import { gate, started } from "../helpers/gate.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const of = (config: Partial<BulkheadConfig>) => new Bulkhead({ name: "api", ...config });
const statusOf = (bulkhead: Bulkhead) => bulkhead.getStats().circuitStatus;
const fail = (error: unknown) => () => Promise.reject(error);

describe("classify", () => {
  it("is asked with the value or the error, and the arguments of the call", async () => {
    const classify = vi.fn(() => undefined);
    const bulkhead = of({ classify });
    const error = new Error("down");
    await bulkhead.execute(async (n: number) => n + 1, 1);
    await bulkhead.execute((_text: string) => Promise.reject(error), "a");
    expect(classify.mock.calls).toEqual([
      [{ result: 2 }, 1],
      [{ error }, "a"],
    ]);
  });

  it("leaves it to the plain rule when it returns undefined", async () => {
    const bulkhead = of({ classify: () => undefined, failureThreshold: 2 });
    await bulkhead.execute(fail("down"));
    await bulkhead.execute(() => "up");
    await bulkhead.execute(fail("down"));
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await bulkhead.execute(fail("down"));
    expect(statusOf(bulkhead)).toBe("OPEN");
  });

  it("may return undefined without a warning", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const bulkhead = new Bulkhead({ name: "api", classify: () => undefined });
    await bulkhead.execute(() => "value");
    await bulkhead.execute(() => Promise.reject(new Error("down")));
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it("leaves opossum's listeners the value that it takes for a success", async () => {
    const bulkhead = new Bulkhead({ name: "api", classify: () => "success" });
    const success = vi.fn();
    bulkhead.breaker?.on("success", success);
    await bulkhead.execute(() => "value");
    expect(success.mock.calls).toEqual([["value", expect.any(Number)]]);
  });

  it("makes a value a failure of the circuit, and leaves it a value for the caller", async () => {
    const bulkhead = of({
      classify: ({ result }) => (result?.status >= 500 ? "failure" : undefined),
      failureThreshold: 2,
    });
    const events: unknown[] = [];
    bulkhead.on("success", () => events.push("success"));
    bulkhead.on("stateChange", ({ cause }) => events.push(String(cause)));
    const answer = { status: 503 };
    expect(await bulkhead.execute(() => answer)).toMatchObject({ success: true, result: answer });
    expect(await bulkhead.call(() => answer)).toBe(answer);
    expect(bulkhead.getStats()).toMatchObject({
      successfulExecutions: 2,
      failedExecutions: 0,
      circuitStatus: "OPEN",
    });
    expect(bulkhead.breaker?.stats).toMatchObject({ failures: 2, successes: 0 });
    expect(events).toEqual([
      "success",
      "success",
      "BulkheadError: Execution failed: classify took the result of HTTP status 503 for a failure",
    ]);
  });

  it("excuses an error as a success, which ends a run of failures; the ledger counts it as ignored", async () => {
    const bulkhead = of({
      classify: ({ error }) => (error === "not found" ? "success" : undefined),
      failureThreshold: 2,
    });
    const outcomes: FailureEvent["outcome"][] = [];
    bulkhead.on("failure", ({ outcome }) => outcomes.push(outcome));
    await bulkhead.execute(fail("down"));
    expect(await bulkhead.execute(fail("not found"))).toMatchObject({ success: false });
    await bulkhead.execute(fail("down"));
    expect(bulkhead.getStats()).toMatchObject({
      failedExecutions: 3,
      ignoredExecutions: 1,
      circuitStatus: "CLOSED",
    });
    expect(outcomes).toEqual(["failure", "ignored", "failure"]);
    expect(bulkhead.breaker?.stats).toMatchObject({ failures: 2, successes: 1 });
  });

  it("ignores: neither ends a run of failures nor counts in a rate", async () => {
    const bulkhead = of({
      classify: ({ error, result }) =>
        error === "neither" || result === "neither" ? "ignore" : undefined,
      failureThreshold: 3,
      failureRateThreshold: 50,
      minimumCalls: 4,
    });
    await bulkhead.execute(() => "up");
    await bulkhead.execute(fail("down"));
    for (let n = 0; n < 10; n++) {
      await bulkhead.execute(fail("neither"));
      await bulkhead.execute(() => "neither");
    }
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await bulkhead.execute(fail("down"));
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await bulkhead.execute(fail("down"));
    expect(statusOf(bulkhead)).toBe("OPEN");
    expect(bulkhead.getStats()).toMatchObject({ ignoredExecutions: 10, failedExecutions: 13 });
  });

  it("admits the next call as a probe when the classification of a probe is ignored", async () => {
    const bulkhead = of({
      classify: ({ result }) => (result === "neither" ? "ignore" : undefined),
      successThreshold: 1,
      isolationDuration: 1,
    });
    bulkhead.breaker?.open();
    vi.advanceTimersByTime(1000);
    for (let n = 0; n < 3; n++) await bulkhead.execute(() => "neither");
    expect(statusOf(bulkhead)).toBe("HALF_OPEN");
    await bulkhead.execute(() => "up");
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("judges a timeout, too", async () => {
    const codes: unknown[] = [];
    const bulkhead = of({
      classify: ({ error }) => {
        codes.push(error.code);
        return "ignore";
      },
      failureThreshold: 1,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    const call = bulkhead.execute(() => new Promise(() => {})).catch(() => {});
    await started();
    await vi.advanceTimersByTimeAsync(1000);
    await call;
    expect(codes).toEqual(["ERR_BULKHEAD_TIMEOUT"]);
    expect(bulkhead.getStats()).toMatchObject({
      timedOutExecutions: 1,
      ignoredExecutions: 0,
      circuitStatus: "CLOSED",
    });
  });

  it("is not asked about the rejection of another bulkhead: that is neutral", async () => {
    const classify = vi.fn(() => "failure" as const);
    const bulkhead = of({ classify, failureThreshold: 1 });
    const error = new BulkheadFullError("full", { bulkheadName: "other" });
    await bulkhead.execute(fail(error));
    expect(classify).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({ ignoredExecutions: 1, circuitStatus: "CLOSED" });
  });

  describe("retryAfterSeconds", () => {
    const pausing = (retryAfterSeconds: number, config: Partial<BulkheadConfig> = {}) =>
      of({
        classify: ({ error }) => error && { outcome: "failure", retryAfterSeconds },
        failureThreshold: 100,
        isolationDuration: 5,
        successThreshold: 1,
        ...config,
      });

    it("opens the circuit at once, for that long", async () => {
      const bulkhead = pausing(60);
      const reasons: string[] = [];
      bulkhead.on("stateChange", ({ reason }) => reasons.push(reason));
      await bulkhead.execute(fail("slow down"));
      await expect(bulkhead.call(() => 1)).rejects.toMatchObject({
        code: "ERR_BULKHEAD_CIRCUIT_OPEN",
        retryAfterSeconds: 60,
        cause: "slow down",
      });
      vi.advanceTimersByTime(59_990);
      expect(statusOf(bulkhead)).toBe("OPEN");
      vi.advanceTimersByTime(10);
      expect(statusOf(bulkhead)).toBe("HALF_OPEN");
      expect(reasons[0]).toBe("the dependency asked to retry after 60 s");
    });

    it("sets the length also when a probe gets it", async () => {
      const bulkhead = pausing(60);
      bulkhead.breaker?.open();
      vi.advanceTimersByTime(5000);
      await bulkhead.execute(fail("slow down"));
      vi.advanceTimersByTime(59_990);
      expect(statusOf(bulkhead)).toBe("OPEN");
    });

    it("is an hour at most", async () => {
      const bulkhead = pausing(Number.POSITIVE_INFINITY);
      await bulkhead.execute(fail("slow down"));
      vi.advanceTimersByTime(3_600_000);
      expect(statusOf(bulkhead)).toBe("HALF_OPEN");
    });

    it("is a failure like any other when it is 0 or missing", async () => {
      const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
      const bulkhead = of({
        classify: ({ error }) =>
          error === "zero" ? { outcome: "failure", retryAfterSeconds: 0 } : { outcome: "failure" },
        failureThreshold: 2,
      });
      await bulkhead.execute(fail("zero"));
      expect(statusOf(bulkhead)).toBe("CLOSED");
      await bulkhead.execute(fail("missing"));
      expect(statusOf(bulkhead)).toBe("OPEN");
      expect(warn).not.toHaveBeenCalled();
      warn.mockRestore();
    });

    it("of a call that came before the circuit's last change moves nothing", async () => {
      const bulkhead = pausing(60);
      const work = gate();
      const late = bulkhead.execute(() => work.promise);
      await started();
      bulkhead.breaker?.open();
      bulkhead.breaker?.close();
      work.fail("slow down");
      await late;
      expect(statusOf(bulkhead)).toBe("CLOSED");
    });
  });

  it.each<[string, (n: number) => unknown]>([
    [
      "throws",
      () => {
        throw new Error("a fault in classify");
      },
    ],
    ["returns a promise", async () => "ignore"],
    ["returns an unknown word", () => "fail"],
    ["returns null", () => null],
    ["returns another outcome", () => ({ outcome: "ignore" })],
    ["returns a negative pause", () => ({ outcome: "failure", retryAfterSeconds: -1 })],
    ["returns a pause that is no number", () => ({ outcome: "failure", retryAfterSeconds: "1" })],
    ["returns NaN", () => ({ outcome: "failure", retryAfterSeconds: Number.NaN })],
  ])("holds to the plain rule, and is reported once, when it %s", async (_, faulty) => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const bulkhead = of({ classify: () => faulty(1) as Classification, failureThreshold: 2 });
    expect(await bulkhead.call(() => 7)).toBe(7);
    await bulkhead.execute(fail("down"));
    expect(statusOf(bulkhead)).toBe("CLOSED");
    await bulkhead.execute(fail("down"));
    expect(statusOf(bulkhead)).toBe("OPEN");
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]?.[0]).toMatch(/^The classify of bulkhead "api" threw: /);
    warn.mockRestore();
  });

  it.each<[string, () => unknown, string]>([
    [
      "a promise",
      async () => "ignore",
      "it returned a promise, and a call cannot wait to be judged",
    ],
    [
      "anything else",
      () => "fail",
      'it returned neither "success", "failure", "ignore", undefined nor { outcome: "failure", retryAfterSeconds } with a number of seconds of at least 0',
    ],
  ])("says in the warning what it may return when it returns %s", async (_, faulty, message) => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    await of({ classify: () => faulty() as Classification }).call(() => 7);
    expect(warn).toHaveBeenCalledWith(
      `The classify of bulkhead "api" threw: ${message}`,
      "BulkheadWarning",
    );
    warn.mockRestore();
  });

  it("excludes errorFilter", () => {
    expect(() => of({ classify: () => undefined, errorFilter: () => true })).toThrow(
      new TypeError("classify and errorFilter exclude each other; got both"),
    );
  });

  it("can be all that opens a circuit", () => {
    expect(of({ classify: () => undefined, failureThreshold: null }).isHealthy()).toBe(true);
  });

  it("is not asked when the circuit is switched off", async () => {
    const classify = vi.fn(() => undefined);
    await of({ classify, circuitBreakerEnabled: false }).execute(() => 1);
    expect(classify).not.toHaveBeenCalled();
  });
});

describe("the ledger of failures", () => {
  it("distinguishes aborted calls from timeouts, failures and ignored errors", async () => {
    const bulkhead = of({
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
      errorFilter: (e) => e === 404,
    });
    const outcomes: FailureEvent["outcome"][] = [];
    bulkhead.on("failure", ({ outcome }) => outcomes.push(outcome));
    const hang = () => new Promise(() => {});
    const gone = new AbortController();
    const late = new AbortController();
    const calls = [
      bulkhead.run(hang, { signal: gone.signal }),
      bulkhead.run(hang, { signal: late.signal }),
      bulkhead.run(hang),
      bulkhead.run(fail(404)),
      bulkhead.run(fail(500)),
    ].map((call) => call.catch(() => {}));
    await started();
    gone.abort();
    late.abort(new DOMException("too late", "TimeoutError"));
    await vi.advanceTimersByTimeAsync(1000);
    await Promise.all(calls);
    expect(bulkhead.getStats()).toMatchObject({
      failedExecutions: 5,
      abortedExecutions: 1,
      timedOutExecutions: 1,
      ignoredExecutions: 1,
    });
    expect(outcomes.sort()).toEqual(["aborted", "failure", "failure", "ignored", "timeout"]);
    bulkhead.resetStats();
    expect(bulkhead.getStats()).toMatchObject({
      failedExecutions: 0,
      abortedExecutions: 0,
      timedOutExecutions: 0,
      ignoredExecutions: 0,
    });
  });

  it("counts a call that a shutdown cuts as a failure", async () => {
    const bulkhead = of({});
    const call = bulkhead.execute(() => new Promise(() => {}));
    await started();
    const down = bulkhead.shutdown({ drainSeconds: 0 });
    await expect(call).rejects.toBeInstanceOf(BulkheadError);
    await down;
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 1, abortedExecutions: 0 });
  });
});
