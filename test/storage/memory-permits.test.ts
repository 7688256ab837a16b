import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { InMemoryStorage, type PermitNotice, type PermitRequest } from "../../src/index.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

let sequence = 0;
function request(owner: string, want: number, changes: Partial<PermitRequest> = {}): PermitRequest {
  const times = { leaseSeconds: 15, renewSeconds: 5 };
  return {
    name: "api",
    owner,
    sequence: ++sequence,
    limit: 10,
    keep: 0,
    want,
    ...times,
    ...changes,
  };
}

describe("an InMemoryStorage", () => {
  it("answers several requests in their order, each by what those before it left", async () => {
    const storage = new InMemoryStorage();
    const grants = await storage.lease([
      request("a", 6),
      request("a", 3, { name: "other", limit: 2 }),
      request("b", 6),
    ]);
    expect(grants.map(({ permits, limit }) => [permits, limit])).toEqual([
      [6, 10],
      [2, 2],
      [4, 10],
    ]);
  });

  it("takes the permits back when the lease is over, whatever the system's clock is set to", async () => {
    const storage = new InMemoryStorage();
    await storage.lease([request("a", 10), request("b", 0, { keep: 1 })]);
    vi.setSystemTime(Date.now() + 3_600_000);
    for (const ms of [5_000, 5_000]) {
      await vi.advanceTimersByTimeAsync(ms);
      await storage.lease([request("c", 1)]);
    }
    await vi.advanceTimersByTimeAsync(4_999);
    const [early] = await storage.lease([request("c", 10)]);
    expect(early).toMatchObject({ permits: 0, processes: 3 });
    await vi.advanceTimersByTimeAsync(1);
    expect(await storage.lease([request("c", 10)])).toMatchObject([{ permits: 10, processes: 1 }]);
  });

  it("emits notices to the subscribers of the name, after the answer was decided", async () => {
    const storage = new InMemoryStorage();
    const heard: Array<[string, PermitNotice]> = [];
    const unsubscribe = storage.subscribeToPermits("api", (n) => heard.push(["one", n]));
    storage.subscribeToPermits("api", (notice) => heard.push(["other", notice]));
    storage.subscribeToPermits("else", (notice) => heard.push(["else", notice]));
    await storage.lease([request("a", 10)]);
    const leasing = storage.lease([request("b", 10)]);
    expect(heard).toEqual([]);
    await leasing;
    await Promise.resolve();
    const notice = { fair: 5, lastTurn: 0, gives: false };
    expect(heard).toEqual([
      ["one", notice],
      ["other", notice],
    ]);
    unsubscribe();
    unsubscribe();
    await vi.advanceTimersByTimeAsync(50);
    await storage.lease([request("b", 10)]);
    await Promise.resolve();
    expect(heard.map(([who]) => who)).toEqual(["one", "other", "other"]);
    await storage.close();
    await vi.advanceTimersByTimeAsync(50);
    await storage.lease([request("b", 10)]);
    await Promise.resolve();
    expect(heard).toHaveLength(3);
  });

  it("forgets a name whose permits were given back", async () => {
    const storage = new InMemoryStorage();
    const [first] = await storage.lease([request("a", 1)]);
    await storage.lease([request("a", 0)]);
    const [again] = await storage.lease([request("a", 1)]);
    expect(again).toEqual(first);
  });

  it("has lease and renewal times of its own", () => {
    expect(new InMemoryStorage()).toMatchObject({ permitLeaseSeconds: 15, permitRenewSeconds: 5 });
    const times = { permitLeaseSeconds: 2, permitRenewSeconds: 0.5 };
    expect(new InMemoryStorage(times)).toMatchObject(times);
  });

  it.each([
    [{ permitLeaseSeconds: 5 }, RangeError, "less than permitLeaseSeconds, which is 5; got 5"],
    [{ permitRenewSeconds: 20 }, RangeError, "permitRenewSeconds must be less than permit"],
    [
      { permitRenewSeconds: 0 },
      RangeError,
      "permitRenewSeconds must be a number of seconds over 0",
    ],
    [{ permitLeaseSeconds: "9" as never }, TypeError, "permitLeaseSeconds must be a number"],
  ])("rejects the options %j", (options, ErrorClass, message) => {
    expect(() => new InMemoryStorage(options)).toThrow(ErrorClass);
    expect(() => new InMemoryStorage(options)).toThrow(message);
  });
});
