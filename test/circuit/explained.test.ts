import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadFullError, BulkheadTimeoutError } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";

const NOW = new Date("2026-02-03T04:05:06Z");

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
});
afterEach(() => {
  vi.useRealTimers();
});

const fail = (bulkhead: Bulkhead, error: unknown) =>
  bulkhead.call(() => Promise.reject(error)).catch(() => {});

describe("the statistics of a circuit", () => {
  it("are zero and null before anything happened", () => {
    expect(new Bulkhead({ name: "api" }).getStats()).toMatchObject({
      retryAfterSeconds: 0,
      consecutiveFailures: 0,
      openedAt: null,
      openings: 0,
      lastFailure: null,
    });
  });

  it("count consecutive failures until a success", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    await failCalls(bulkhead, 3);
    expect(bulkhead.getStats().consecutiveFailures).toBe(3);
    await bulkhead.call(() => 1);
    expect(bulkhead.getStats().consecutiveFailures).toBe(0);
  });

  it("say when it opened, how often, and when to retry", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1, isolationDuration: 4 });
    await failCalls(bulkhead, 1);
    expect(bulkhead.getStats()).toMatchObject({
      openedAt: NOW,
      openings: 1,
      retryAfterSeconds: 4,
    });
    vi.advanceTimersByTime(3000);
    expect(bulkhead.getStats().retryAfterSeconds).toBe(1);
    vi.advanceTimersByTime(1000);
    await failCalls(bulkhead, 1);
    const later = new Date(NOW.getTime() + 4000);
    expect(bulkhead.getStats()).toMatchObject({ openedAt: later, openings: 2 });
    bulkhead.breaker?.close();
    bulkhead.breaker?.open();
    bulkhead.resetStats();
    expect(bulkhead.getStats()).toMatchObject({ openings: 3 });
    bulkhead.breaker?.close();
    expect(bulkhead.getStats()).toMatchObject({ openedAt: later, retryAfterSeconds: 0 });
  });

  it("have the newest failure by its name, code and message, on one line", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const error = Object.assign(new RangeError("connection\n  reset"), { code: "ECONNRESET" });
    await fail(bulkhead, error);
    expect(bulkhead.getStats().lastFailure).toEqual({
      name: "RangeError",
      code: "ECONNRESET",
      message: "connection reset",
      at: NOW,
    });
    vi.advanceTimersByTime(1000);
    await fail(bulkhead, "a text");
    expect(bulkhead.getStats().lastFailure).toEqual({
      name: "string",
      code: null,
      message: "a text",
      at: new Date(NOW.getTime() + 1000),
    });
    await fail(bulkhead, Object.assign(new Error("refused"), { code: 7 }));
    expect(bulkhead.getStats().lastFailure?.code).toBe(7);
  });

  it("have a timeout, and a result that is a failure", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
      classify: ({ result }) => (result === 503 ? "failure" : undefined),
    });
    await bulkhead.call(() => 503);
    expect(bulkhead.getStats().lastFailure?.message).toContain("classify took the result");
    const late = expect(bulkhead.call(() => new Promise(() => {}))).rejects.toBeInstanceOf(
      BulkheadTimeoutError,
    );
    await vi.advanceTimersByTimeAsync(1000);
    await late;
    expect(bulkhead.getStats().lastFailure).toMatchObject({
      name: "BulkheadTimeoutError",
      code: "ERR_BULKHEAD_TIMEOUT",
    });
  });

  it("leave out what was excused, neutral or rejected", async () => {
    const bulkhead = new Bulkhead({ name: "api", errorFilter: (error) => error === "excused" });
    await fail(bulkhead, "excused");
    await fail(bulkhead, new BulkheadFullError("full"));
    (await bulkhead.acquire()).drop();
    bulkhead.isolate();
    await bulkhead.call(() => 1).catch(() => {});
    expect(bulkhead.getStats().lastFailure).toBeNull();
  });

  it("have the newest failure of a bulkhead without a circuit", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      circuitBreakerEnabled: false,
      timeoutSeconds: 1,
      reclaimAfterSeconds: 0,
    });
    await fail(bulkhead, new Error("down"));
    expect(bulkhead.getStats()).toMatchObject({
      lastFailure: { message: "down" },
      openings: 0,
      openedAt: null,
    });
    const late = bulkhead.call(() => new Promise(() => {})).catch(() => {});
    await vi.advanceTimersByTimeAsync(1000);
    await late;
    expect(bulkhead.getStats().lastFailure?.name).toBe("BulkheadTimeoutError");
  });
});
