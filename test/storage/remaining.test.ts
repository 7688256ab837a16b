import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CircuitRecord } from "../../src/index.js";
import { isolationMsLeft, leaseMsLeft } from "../../src/storage/remaining.js";
import { runs, SEED } from "../fuzz.js";

const HOUR = 3_600_000;

/** A record that was changed at 0, ends at `end`, and was read at `readAt`, by the storage's clock. */
function records(end: number | null, readAt: number) {
  const common = { failureCount: 1, openedBy: null, reason: null, probeSuccesses: 0, version: 1 };
  const times = { updatedAt: new Date(0), readAt: new Date(readAt) };
  const until = end === null ? null : new Date(end);
  const open = { state: "OPEN", openUntil: until, probeUntil: null, probeOwner: null } as const;
  const halfOpen = {
    state: "HALF_OPEN",
    openUntil: null,
    probeUntil: until,
    probeOwner: "a",
  } as const;
  return {
    open: { ...common, ...times, ...open } satisfies CircuitRecord,
    halfOpen: { ...common, ...times, ...halfOpen } satisfies CircuitRecord,
  };
}

describe("what is left of an isolation, and of a lease", () => {
  it.each([
    ["is all of it when it has just begun", 2000, 0, 2000],
    ["is the time until its end", 2000, 500, 1500],
    ["is nothing when it is over", 2000, 2001, 0],
    ["is nothing without an end", null, 0, 0],
    ["is no more than the whole when the clock was set back by an hour", 2000, -HOUR, 2000],
    ["is the time until its end when the clock was set back within it", 2 * HOUR, HOUR, HOUR],
    ["is nothing when the end lies before the change", -1, -HOUR, 0],
  ])("%s", (_, end, readAt, left) => {
    const { open, halfOpen } = records(end, readAt);
    expect(isolationMsLeft(open)).toBe(left);
    expect(leaseMsLeft(halfOpen)).toBe(left);
    expect(leaseMsLeft(open)).toBe(0);
    expect(isolationMsLeft(halfOpen)).toBe(0);
  });

  it.each([undefined, null, new Date(Number.NaN), "yesterday"])(
    "is the time until its end when a custom storage gives %s for updatedAt",
    (updatedAt) => {
      const { open } = records(2000, 500);
      expect(isolationMsLeft({ ...open, updatedAt } as CircuitRecord)).toBe(1500);
    },
  );

  it("is never negative, never more than the whole, and as before while the clock goes forward", () => {
    const time = fc.integer({ min: -1e12, max: 1e12 });
    fc.assert(
      fc.property(time, time, (end, readAt) => {
        const left = isolationMsLeft(records(end, readAt).open);
        expect(left).toBeGreaterThanOrEqual(0);
        expect(left).toBeLessThanOrEqual(Math.max(0, end));
        if (readAt >= 0) expect(left).toBe(Math.max(0, end - readAt));
      }),
      { seed: SEED, numRuns: runs(500) },
    );
  });
});
