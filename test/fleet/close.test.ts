import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, InMemoryStorage } from "../../src/index.js";

const SECOND = 1000;
const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

describe("a bulkhead with a limit for the fleet that is shut down", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("has no timer when the storage failed it, and told it that another bulkhead lacks permits", async () => {
    const storage = new InMemoryStorage({ permitLeaseSeconds: 15, permitRenewSeconds: 5 });
    const open = () =>
      new Bulkhead(
        {
          name: "partner",
          maxConcurrentCalls: 2,
          fleetMaxConcurrentCalls: 2,
          circuitBreakerEnabled: false,
        },
        { circuitStorage: storage },
      );
    const bulkhead = open();
    const other = open();
    const ends: Array<() => void> = [];
    const calls = [1, 2].map(() => {
      return bulkhead.call(() => new Promise<void>((resolve) => ends.push(resolve)));
    });
    await vi.advanceTimersByTimeAsync(SECOND);
    expect(bulkhead.getStats().fleet).toMatchObject({ permits: 2, leased: true });

    // Its renewal gets no answer, and before it tries again the other bulkhead asks.
    const lease = vi.spyOn(storage, "lease").mockRejectedValueOnce(new Error("away"));
    while (lease.mock.calls.length === 0) await vi.advanceTimersByTimeAsync(10);
    const waiting = other.call(() => delay(SECOND));
    await vi.advanceTimersByTimeAsync(10);
    for (const end of ends) end();
    await Promise.all(calls);
    await bulkhead.shutdown();

    await vi.advanceTimersByTimeAsync(60 * SECOND);
    await waiting;
    await other.shutdown();
    expect(vi.getTimerCount()).toBe(0);
  });
});
