import { getEventListeners } from "node:events";
import { describe, expect, it, vi } from "vitest";
import { Call, TaskCall } from "../../src/call/call.js";

const work = () => "done";

describe("a call", () => {
  it("runs its caller's code as it is before it has entered a bulkhead", () => {
    const call = new Call(work, [], "execute");
    const self = {};
    const seen = call.inContext(
      function (this: unknown, ...args: number[]) {
        return [this, ...args];
      },
      self,
      1,
      2,
    );
    expect(seen).toEqual([self, 1, 2]);
  });

  it("gives its function the arguments, and no `this`", () => {
    const fn = vi.fn(function (this: unknown, ...args: unknown[]) {
      return [this, ...args];
    });
    expect(new Call(fn, [1, "x"], "call").invoke()).toEqual([undefined, 1, "x"]);
  });

  it("has one id, however often it is asked for", () => {
    const call = new Call(work, [], "execute");
    expect(call.id).toBe(call.id);
    expect(new Call(work, [], "execute").id).not.toBe(call.id);
  });

  it.each([
    ["call", true, false],
    ["execute", false, false],
    ["run", false, true],
  ] as const)("of %s: its caller wants the value: %s; it is a task: %s", (kind, value, task) => {
    const call = new Call(work, [], kind);
    expect([call.wantsValue, call.isTask]).toEqual([value, task]);
  });

  it("has no queued time when it found a permit free, whenever its lane opened", () => {
    const call = new Call(work, [], "execute");
    call.enter(1000);
    call.startedAt = 3000;
    expect(call.queuedTime).toBe(0);
    call.hasWaited = true;
    expect(call.queuedTime).toBe(2);
  });

  it("has the time that it waited for the storage as its queued time", () => {
    const call = new Call(work, [], "execute");
    call.enter(1000);
    call.waitsSince = 1500;
    call.startedAt = 1500;
    expect(call.queuedTime).toBe(0.5);
  });

  it("has the times of its events in seconds", () => {
    const call = new Call(work, [], "execute");
    call.enter(1000);
    call.hasWaited = true;
    call.startedAt = 3000;
    call.endedAt = 3500;
    expect(call.executionTime()).toBe(0.5);
    expect(call.times(4000)).toEqual({ executionId: call.id, executionTime: 1, queuedTime: 2 });
  });
});

describe("a task's call", () => {
  function aborting() {
    const controller = new AbortController();
    const { signal } = controller;
    const aborted = vi.fn();
    const newCall = () => new TaskCall(work, signal, "api");
    const listeners = () => getEventListeners(signal, "abort").length;
    return { controller, signal, aborted, newCall, listeners };
  }

  it("does nothing about its own signal before the task has one", () => {
    const call = new TaskCall(work, undefined, "api");
    expect(() => call.abort("why")).not.toThrow();
    expect(call.args).toEqual([]);
  });

  it("gives the task its id, its bulkhead and a signal, and aborts that", () => {
    const call = new TaskCall(work, undefined, "api");
    call.prepare();
    const [context] = call.args as [{ signal: AbortSignal }];
    expect(context).toEqual({
      signal: expect.any(AbortSignal),
      executionId: call.id,
      bulkheadName: "api",
    });
    call.abort("why");
    expect(context.signal.reason).toBe("why");
  });

  it("watches and unwatches nothing without a caller's signal", () => {
    const call = new TaskCall(work, undefined, "api");
    const aborted = vi.fn();
    call.watch(aborted);
    call.abort("why");
    call.unwatch();
    expect(aborted).not.toHaveBeenCalled();
  });

  it("ends with the reason of its caller's signal", () => {
    const { controller, aborted, newCall } = aborting();
    const call = newCall();
    call.watch(aborted);
    controller.abort("gone");
    expect(aborted.mock.calls).toEqual([[call, "gone"]]);
  });

  it("still ends with its caller's signal after another call of the signal is over", () => {
    const { controller, aborted, newCall, listeners } = aborting();
    const [one, other] = [newCall(), newCall()];
    one.watch(aborted);
    other.watch(aborted);
    one.unwatch();
    expect(listeners()).toBe(1);
    controller.abort("gone");
    expect(aborted.mock.calls).toEqual([[other, "gone"]]);
  });

  it("ends with its caller's signal, too, when all calls of the signal before it are over", () => {
    const { controller, aborted, newCall, listeners } = aborting();
    const [one, other] = [newCall(), newCall()];
    one.watch(aborted);
    one.unwatch();
    expect(listeners()).toBe(0);
    other.watch(aborted);
    expect(listeners()).toBe(1);
    controller.abort("gone");
    expect(aborted.mock.calls).toEqual([[other, "gone"]]);
  });

  it("may stop watching twice, or without having begun: the other calls go on watching", () => {
    const { aborted, newCall, listeners } = aborting();
    const [one, other] = [newCall(), newCall()];
    newCall().unwatch();
    other.watch(aborted);
    one.unwatch();
    one.unwatch();
    expect(listeners()).toBe(1);
    other.unwatch();
    other.unwatch();
    expect(listeners()).toBe(0);
  });
});
