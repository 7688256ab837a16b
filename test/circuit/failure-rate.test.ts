import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";
import { failCalls, passCalls } from "../helpers/failing.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const WINDOW_SECONDS = 10;
/** opossum counts in ten buckets; the first one begins with the first call. */
const BUCKET_MS = (WINDOW_SECONDS * 1000) / 10;

describe("failureRateThreshold", () => {
  it("opens exactly when a naive recount of the window's buckets says so", async () => {
    const step = fc.record({
      ms: fc.constantFrom(0, 1, 300, 999, 1000, 2500, 9000, 12_000),
      fails: fc.boolean(),
    });
    const property = fc.asyncProperty(
      fc.array(step, { maxLength: 50 }),
      fc.constantFrom(20, 50, 75, 100),
      fc.integer({ min: 1, max: 6 }),
      async (steps, failureRateThreshold, minimumCalls) => {
        const bulkhead = new Bulkhead({
          ...{ name: "api", failureThreshold: null, windowSeconds: WINDOW_SECONDS },
          ...{ failureRateThreshold, minimumCalls, isolationDuration: 1e6 },
        });
        const calls: Array<{ bucket: number; fails: boolean }> = [];
        let time = 0;
        for (const { ms, fails } of steps) {
          if (calls.length > 0) time += ms;
          vi.advanceTimersByTime(calls.length > 0 ? ms : 0);
          await (fails ? failCalls(bulkhead, 1) : passCalls(bulkhead, 1));
          const bucket = Math.floor(time / BUCKET_MS);
          calls.push({ bucket, fails });
          const within = calls.filter((call) => call.bucket > bucket - 10);
          const failed = within.filter((call) => call.fails).length;
          const opens =
            within.length >= minimumCalls && failed * 100 >= within.length * failureRateThreshold;
          expect(bulkhead.getStats().circuitStatus).toBe(opens ? "OPEN" : "CLOSED");
          if (opens) return;
        }
      },
    );
    await fc.assert(property, { seed: SEED, numRuns: runs(200) });
  });
});
