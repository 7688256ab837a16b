import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Drains } from "../../src/call/drains.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** Begins a drain, and remembers when it has ended. */
function begun(drains: Drains, limitMs: number) {
  const cut = vi.fn();
  const ended = vi.fn();
  drains.begin(limitMs, cut);
  void drains.ended?.then(ended);
  return { cut, ended };
}

describe("a drain", () => {
  it("has no promise, and costs no timer, before it begins", () => {
    expect(new Drains().ended).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("ends when the bulkhead is idle: nothing is cut, and no timer is left", async () => {
    const drains = new Drains();
    const { cut, ended } = begun(drains, 1000);
    await pass(999);
    expect(ended).not.toHaveBeenCalled();
    drains.end();
    expect(drains.ended).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
    await pass(1000);
    expect(ended).toHaveBeenCalledTimes(1);
    expect(cut).not.toHaveBeenCalled();
  });

  it("is cut at the end of its limit, once", async () => {
    const drains = new Drains();
    const { cut, ended } = begun(drains, 1000);
    await pass(999);
    expect(cut).not.toHaveBeenCalled();
    await pass(1);
    expect(cut).toHaveBeenCalledTimes(1);
    expect(ended).toHaveBeenCalledTimes(1);
    expect(drains.ended).toBeUndefined();
  });

  it("without time is cut at once: no promise and no timer is left", () => {
    const drains = new Drains();
    const { cut } = begun(drains, 0);
    expect(cut).toHaveBeenCalledTimes(1);
    expect(drains.ended).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("ends together with those that began before it, at the shortest limit", async () => {
    const drains = new Drains();
    const long = begun(drains, 60_000);
    const promise = drains.ended;
    const short = begun(drains, 1000);
    expect(drains.ended).toBe(promise);
    await pass(1000);
    expect(short.cut).toHaveBeenCalledTimes(1);
    expect(short.ended).toHaveBeenCalledTimes(1);
    expect(long.ended).toHaveBeenCalledTimes(1);
    expect(long.cut).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("may begin again after one has ended", async () => {
    const drains = new Drains();
    begun(drains, 1000);
    drains.end();
    const again = begun(drains, 1000);
    expect(drains.ended).toBeDefined();
    await pass(1000);
    expect(again.cut).toHaveBeenCalledTimes(1);
    expect(again.ended).toHaveBeenCalledTimes(1);
  });

  it("keeps the process alive until it has ended", () => {
    const setTimer = vi.spyOn(globalThis, "setTimeout");
    begun(new Drains(), 1000);
    expect(setTimer.mock.results.map(({ value }) => value.hasRef())).toEqual([true]);
    setTimer.mockRestore();
  });
});
