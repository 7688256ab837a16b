import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig } from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";
import { failCalls, passCalls } from "../helpers/failing.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const of = (config: Partial<BulkheadConfig>) => new Bulkhead({ name: "api", ...config });
const statusOf = (bulkhead: Bulkhead) => bulkhead.getStats().circuitStatus;

describe("failureWindowSeconds", () => {
  it("opens the circuit when the first and the last failure are no further apart", async () => {
    const bulkhead = of({ failureThreshold: 3, failureWindowSeconds: 10 });
    for (const wait of [0, 5000, 5000]) {
      vi.advanceTimersByTime(wait);
      expect(statusOf(bulkhead)).toBe("CLOSED");
      await failCalls(bulkhead, 1);
    }
    expect(statusOf(bulkhead)).toBe("OPEN");
  });

  it("drops a failure that is older, and goes on with those after it", async () => {
    const bulkhead = of({ failureThreshold: 3, failureWindowSeconds: 10 });
    for (const wait of [0, 5000, 5001]) {
      vi.advanceTimersByTime(wait);
      await failCalls(bulkhead, 1);
    }
    expect(statusOf(bulkhead)).toBe("CLOSED");
    vi.advanceTimersByTime(4999);
    await failCalls(bulkhead, 1);
    expect(statusOf(bulkhead)).toBe("OPEN");
  });

  it("leaves it at that: a success still ends the run", async () => {
    const bulkhead = of({ failureThreshold: 3, failureWindowSeconds: 10 });
    await failCalls(bulkhead, 2);
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 2);
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("lets failures add up however far apart they are when it is null", async () => {
    const bulkhead = of({ failureThreshold: 2 });
    await failCalls(bulkhead, 1);
    vi.advanceTimersByTime(1e9);
    await failCalls(bulkhead, 1);
    expect(statusOf(bulkhead)).toBe("OPEN");
  });

  it("does nothing when failureThreshold is null", async () => {
    const bulkhead = of({
      failureThreshold: null,
      failureRateThreshold: 100,
      failureWindowSeconds: 1,
    });
    await failCalls(bulkhead, 9);
    expect(statusOf(bulkhead)).toBe("CLOSED");
  });

  it("opens exactly when a naive recount of the failures says so", async () => {
    const step = fc.record({ ms: fc.integer({ min: 0, max: 2000 }), fails: fc.boolean() });
    const property = fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(step, { maxLength: 40 }),
      async (failureThreshold, steps) => {
        const bulkhead = of({ failureThreshold, failureWindowSeconds: 2, isolationDuration: 1e6 });
        let run: number[] = [];
        let time = 0;
        for (const { ms, fails } of steps) {
          time += ms;
          vi.advanceTimersByTime(ms);
          await (fails ? failCalls(bulkhead, 1) : passCalls(bulkhead, 1));
          run = fails ? [...run, time] : [];
          const last = run.at(-failureThreshold);
          const opens = last !== undefined && time - last <= 2000;
          expect(statusOf(bulkhead)).toBe(opens ? "OPEN" : "CLOSED");
          if (opens) return;
        }
      },
    );
    await fc.assert(property, { seed: SEED, numRuns: runs(100) });
  });
});
