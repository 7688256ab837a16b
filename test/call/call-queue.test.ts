import { describe, expect, it } from "vitest";
import { Call } from "../../src/call/call.js";
import { CallQueue } from "../../src/call/call-queue.js";
import { TypicalRunTime } from "../../src/call/typical-run-time.js";
import { Deadline } from "../../src/common/deadline.js";
import type { BulkheadConfig } from "../../src/config.js";
import { resolveConfig } from "../../src/resolve-config.js";

/** A queue of a bulkhead whose calls usually run for `typicalMs`. */
function queueOf(config: Partial<BulkheadConfig> = {}, typicalMs = 0) {
  const typical = new TypicalRunTime();
  if (typicalMs > 0) for (let n = 0; n < 10; n++) typical.record(typicalMs);
  return new CallQueue(resolveConfig({ name: "api", ...config }), typical);
}

function callAt(time: number, changes: Partial<Call> = {}): Call {
  const call = new Call(() => 1, [], "execute");
  call.enter(time);
  return Object.assign(call, changes);
}

describe("CallQueue.isHopeless", () => {
  it("is false for a call without a limit, however long functions usually run", () => {
    expect(queueOf({}, 1000).isHopeless(callAt(0), 1e9)).toBe(false);
  });

  it("is true from the end of the call's time on, also while the typical run time is unknown", () => {
    const call = callAt(0, { limitMs: 100, deadline: new Deadline(100, 100, callAt(0)) });
    const queue = queueOf();
    expect(queue.isHopeless(call, 99)).toBe(false);
    expect(queue.isHopeless(call, 100)).toBe(true);
  });

  it("is true from the end of the wait on, whatever is left of the call's time", () => {
    const call = callAt(0, { limitMs: 1000, deadline: new Deadline(50, 50, callAt(0)) });
    const queue = queueOf();
    expect(queue.isHopeless(call, 49)).toBe(false);
    expect(queue.isHopeless(call, 50)).toBe(true);
  });

  it("is true when less than twice the typical run time is left of the whole call", () => {
    const call = callAt(500, { limitMs: 1000 });
    const queue = queueOf({}, 100);
    expect(queue.isHopeless(call, 1300)).toBe(false);
    expect(queue.isHopeless(call, 1301)).toBe(true);
  });
});

describe("CallQueue.isOverdue", () => {
  it("is false without queueTargetSeconds", () => {
    const queue = queueOf();
    const call = callAt(0);
    queue.push(call);
    expect(queue.isOverdue(call, 1e12)).toBe(false);
  });

  it("is true for a wait of more than the target once the queue was not empty for twice the target", () => {
    const queue = queueOf({ queueTargetSeconds: 0.1 });
    const [first, second] = [callAt(1000), callAt(1101)];
    queue.push(first);
    queue.push(second);
    expect(queue.isOverdue(first, 1199)).toBe(false);
    expect(queue.isOverdue(first, 1200)).toBe(true);
    expect(queue.isOverdue(second, 1201)).toBe(false);
    expect(queue.isOverdue(second, 1202)).toBe(true);
  });

  it("counts from the first call after the queue was empty", () => {
    const queue = queueOf({ queueTargetSeconds: 0.1 });
    queue.push(callAt(1000));
    queue.shift();
    const call = callAt(2000);
    queue.push(call);
    expect(queue.isOverdue(call, 2199)).toBe(false);
    expect(queue.isOverdue(call, 2200)).toBe(true);
  });

  it("counts from the storage's answer, for the queue and for its calls", () => {
    const queue = queueOf({ queueTargetSeconds: 0.1 });
    const held = callAt(1000, { isHeld: true });
    queue.push(held);
    queue.endHold(0, 1500);
    expect(queue.isOverdue(held, 1699)).toBe(false);
    expect(queue.isOverdue(held, 1700)).toBe(true);
  });
});

describe("CallQueue.endHold", () => {
  it("makes the held calls wait for a permit, as far as none is free for them", () => {
    const queue = queueOf();
    const earlier = callAt(900);
    const held = [1000, 1001, 1002].map((time) => callAt(time, { isHeld: true }));
    for (const call of [earlier, ...held]) queue.push(call);
    queue.endHold(2, 1500);
    expect(held.map(({ isHeld }) => isHeld)).toEqual([false, false, false]);
    expect(held.map(({ hasWaited }) => hasWaited)).toEqual([false, true, true]);
    expect(held.map(({ waitsSince }) => waitsSince)).toEqual([1500, 1500, 1500]);
    expect([earlier.hasWaited, earlier.waitsSince]).toEqual([false, 900]);
  });
});

describe("CallQueue.waiting", () => {
  it("has those that wait for a permit or for the storage, in their order", () => {
    const queue = queueOf();
    const calls = [
      callAt(1, { hasWaited: true }),
      callAt(2),
      callAt(3, { isHeld: true }),
      callAt(4, { hasWaited: true }),
    ];
    for (const call of calls) queue.push(call);
    expect(queue.waiting()).toEqual([calls[0], calls[2], calls[3]]);
  });
});

describe("CallQueue.drainSeconds", () => {
  it("is the queue's length times the typical run time, over the permits", () => {
    const queue = queueOf({}, 200);
    expect(queue.drainSeconds(4)).toBe(0);
    for (let n = 0; n < 6; n++) queue.push(callAt(n));
    expect(queue.drainSeconds(4)).toBeCloseTo(0.3, 9);
  });
});
