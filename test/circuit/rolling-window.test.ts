import { describe, expect, it } from "vitest";
import { RollingWindow } from "../../src/circuit/rolling-window.js";

/** A window of 10 s, whose buckets have 1 s each, that has begun at 100 ms. */
function begun() {
  const window = new RollingWindow({ windowSeconds: 10 });
  window.advance(100);
  return window;
}

/** The successes in each bucket, newest first. */
function successes(window: RollingWindow): number[] {
  return window.status.window.map(({ successes }) => successes);
}

describe("a rolling window", () => {
  it("is due before it has begun, and then after the tenth of its length", () => {
    const window = new RollingWindow({ windowSeconds: 10 });
    expect(window.dueAt).toBe(Number.NEGATIVE_INFINITY);
    expect(() => {
      window.newest.successes++;
    }).toThrow(TypeError);
    window.advance(100);
    expect(window.dueAt).toBe(1100);
    window.newest.successes++;
    expect(successes(window)).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("has the same bucket until it is due, and a new one from then on", () => {
    const window = begun();
    const first = window.newest;
    window.newest.successes = 3;
    window.advance(1099);
    expect(window.newest).toBe(first);
    window.advance(1100);
    window.newest.successes = 5;
    expect(window.newest).not.toBe(first);
    expect(window.dueAt).toBe(2100);
    expect(successes(window)).toEqual([5, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("has an empty bucket for each tenth in which nothing was counted", () => {
    const window = begun();
    window.newest.successes = 3;
    window.advance(4099);
    expect(successes(window)).toEqual([0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
    expect(window.dueAt).toBe(4100);
    window.advance(4100);
    expect(successes(window)).toEqual([0, 0, 0, 0, 3, 0, 0, 0, 0, 0]);
  });

  it("has nothing left after its whole length, however long that was ago", () => {
    const window = begun();
    window.newest.successes = 3;
    window.advance(10_099);
    expect(successes(window)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    window.advance(10_100);
    expect(successes(window)).toEqual(Array(10).fill(0));
    const rotated = window.newest;
    window.advance(1e12);
    expect(window.newest).not.toBe(rotated);
    expect(window.dueAt).toBe(1e12 + 100);
    expect(successes(window)).toEqual(Array(10).fill(0));
  });

  it("stands still while the breaker is disabled", () => {
    const window = begun();
    const { newest } = window;
    // opossum's types leave it out.
    (window.status as unknown as { shutdown(): void }).shutdown();
    window.advance(50_000);
    expect([window.newest, window.dueAt]).toEqual([newest, 1100]);
  });

  it("keeps no latencies: opossum would keep one for every call", () => {
    const window = begun();
    expect(window.status.stats).toMatchObject({ latencyTimes: [] });
    expect(window.newest.latencyTimes).toEqual([]);
  });
});
