import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Gate, gate, started } from "../helpers/gate.js";

// p-limit decides how many functions run: with another p-limit, another number runs, whatever is configured.

beforeEach(() => {
  vi.resetModules();
});
afterEach(() => {
  vi.doUnmock("p-limit");
});

/** Six calls of a bulkhead for two, over a p-limit that opens `slots`; each runs until its gate is opened. */
async function callsOver(slots: number) {
  const actual = await vi.importActual<typeof import("p-limit")>("p-limit");
  vi.doMock("p-limit", () => ({ default: () => actual.default(slots) }));
  const { Bulkhead } = await import("../../src/index.js");
  const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2, timeoutSeconds: 60 });
  const running: Gate<number>[] = [];
  let most = 0;
  const work = () => {
    const work = gate<number>();
    running.push(work);
    most = Math.max(most, running.length);
    return work.promise;
  };
  const calls = Array.from({ length: 6 }, () => bulkhead.execute(work));
  const finish = async () => {
    for (let n = 1; n <= 6; n++) {
      await started();
      running.shift()?.open(n);
    }
    return (await Promise.all(calls)).map(({ result }) => result);
  };
  await started();
  return { bulkhead, running, finish, most: () => most };
}

describe("an idle bulkhead", () => {
  it("has returned every slot but one to p-limit, also after calls one after another", async () => {
    const actual = await vi.importActual<typeof import("p-limit")>("p-limit");
    const limit = actual.default(2);
    vi.doMock("p-limit", () => ({ default: () => limit }));
    const { Bulkhead } = await import("../../src/index.js");
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2 });
    for (let round = 0; round < 2; round++) {
      const work = gate();
      const calls = [1, 2, 3].map(() => bulkhead.execute(() => work.promise));
      await started();
      expect(limit.activeCount).toBe(2);
      work.open();
      await Promise.all(calls);
      for (let n = 0; n < 3; n++) await bulkhead.execute(() => n);
      await started();
      expect([limit.activeCount, limit.pendingCount]).toEqual([1, 0]);
    }
  });

  it("starts a call of a later turn at once, in the slot that it has kept", async () => {
    const { Bulkhead } = await import("../../src/index.js");
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2 });
    await bulkhead.execute(() => 1);
    await started();
    let hasRun = false;
    const call = bulkhead.execute(() => {
      hasRun = true;
    });
    expect(hasRun).toBe(true);
    await call;
  });

  it("has given up the kept slot when its limit is lowered and more functions run than that", async () => {
    const actual = await vi.importActual<typeof import("p-limit")>("p-limit");
    const limit = actual.default(2);
    vi.doMock("p-limit", () => ({ default: () => limit }));
    const { Bulkhead } = await import("../../src/index.js");
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2 });
    const work = gate();
    const calls = [work.promise, undefined].map((result) => bulkhead.execute(() => result));
    await started();
    expect(limit.activeCount).toBe(2);
    bulkhead.configure({ maxConcurrentCalls: 1 });
    await started();
    expect(limit.activeCount).toBe(1);
    const late = bulkhead.execute(() => "late");
    await started();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, queuedTasks: 1 });
    work.open();
    expect(await late).toMatchObject({ result: "late" });
    await Promise.all(calls);
  });
});

describe("p-limit is the gate", () => {
  it.each([
    [1, 1],
    [2, 2],
    [5, 5],
    [100, 6],
  ])("with a p-limit of %d, %d of 6 calls run at once", async (slots, expected) => {
    const { bulkhead, running, finish, most } = await callsOver(slots);

    expect(running).toHaveLength(expected);
    expect(bulkhead.getStats()).toMatchObject({
      activeTasks: expected,
      queuedTasks: 6 - expected,
    });
    expect(await finish()).toEqual([1, 2, 3, 4, 5, 6]);
    expect(most()).toBe(expected);
  });

  it("a call that p-limit does not let in waits, and its time limit ends the wait", async () => {
    vi.useFakeTimers();
    const { bulkhead } = await callsOver(1);
    const late = vi.fn();
    const waiting = expect(bulkhead.run(late, { timeoutSeconds: 1 })).rejects.toMatchObject({
      code: "ERR_BULKHEAD_TIMEOUT",
    });
    await vi.advanceTimersByTimeAsync(1000);
    await waiting;
    expect(late).not.toHaveBeenCalled();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, rejections: { timeout: 1 } });
    vi.useRealTimers();
  });
});
