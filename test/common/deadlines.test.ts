import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { hasNativeTimers, now } from "../../src/common/clock.js";
import type { Deadline } from "../../src/common/deadline.js";
import { Deadlines } from "../../src/common/deadlines.js";
import { runs, SEED } from "../fuzz.js";

const LONGEST_MS = 2 ** 31 - 1;

// What is faked here looks like Node's own timers, which deadlines share. Timers that look faked are
// tested in fake-timers.test.ts.
beforeEach(() => {
  vi.useFakeTimers();
  const fake = setTimeout;
  vi.stubGlobal("setTimeout", (callback: () => void, ms: number) =>
    Object.assign(fake(callback, ms), { _onTimeout: callback }),
  );
});

afterEach(() => {
  const left = vi.getTimerCount();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
  expect(left).toBe(0);
});

/** Notes the timers that are set from now on. */
function spyOnTimers() {
  const setTimer = vi.spyOn(globalThis, "setTimeout");
  const { deadlines, set } = noting();
  deadlines.clear(set("first", 1000));
  expect(hasNativeTimers()).toBe(true);
  setTimer.mockClear();
  return setTimer;
}

/** A clock that moves by itself, a little at each look at it, beside the timers that tests move. */
function runningClock(): void {
  const real = performance.now.bind(performance);
  let looks = 0;
  vi.spyOn(performance, "now").mockImplementation(() => real() + looks++ / 1e6);
}

let blockedMs = 0;
/** The monotonic clock goes on, and no timer has its turn meanwhile. */
function blockLoop(ms: number): void {
  if (!vi.isMockFunction(performance.now)) {
    const real = performance.now.bind(performance);
    blockedMs = 0;
    vi.spyOn(performance, "now").mockImplementation(() => real() + blockedMs);
  }
  blockedMs += ms;
}

/** Deadlines that note who was due. */
function noting({ holdsProcess = true } = {}) {
  const due: string[] = [];
  const deadlines = new Deadlines<string>((owner) => due.push(owner), { holdsProcess });
  return { due, deadlines, set: (owner: string, ms: number) => deadlines.set(owner, now(), ms) };
}

describe("Deadlines", () => {
  it("call onDue when the time has come, not before, and once", () => {
    const { due, set } = noting();
    set("a", 1000);
    vi.advanceTimersByTime(999);
    expect(due).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(due).toEqual(["a"]);
    vi.advanceTimersByTime(10_000);
    expect(due).toEqual(["a"]);
  });

  it("count from the time that is given, not from the time of setting", () => {
    const { due, deadlines } = noting();
    const from = now();
    vi.advanceTimersByTime(600);
    deadlines.set("a", from, 1000);
    vi.advanceTimersByTime(399);
    expect(due).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(due).toEqual(["a"]);
  });

  it("expire one that has passed already in a later turn, not while it is set", () => {
    const { due, deadlines } = noting();
    deadlines.set("late", now() - 1000, 500);
    deadlines.set("now", now(), 0);
    expect(due).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(due.toSorted()).toEqual(["late", "now"]);
  });

  it("are due in the order in which they were set when the delay is the same", () => {
    const { due, set } = noting();
    for (const owner of ["a", "b", "c"]) set(owner, 1000);
    vi.advanceTimersByTime(500);
    set("d", 1000);
    vi.advanceTimersByTime(500);
    expect(due).toEqual(["a", "b", "c"]);
    vi.advanceTimersByTime(500);
    expect(due).toEqual(["a", "b", "c", "d"]);
  });

  it("are due by their time when the delays are different", () => {
    const { due, set } = noting();
    set("3 s", 3000);
    set("1 s", 1000);
    set("2 s", 2000);
    vi.advanceTimersByTime(500);
    set("1.5 s", 1000);
    vi.advanceTimersByTime(500);
    expect(due).toEqual(["1 s"]);
    vi.advanceTimersByTime(500);
    expect(due).toEqual(["1 s", "1.5 s"]);
    vi.advanceTimersByTime(1500);
    expect(due).toEqual(["1 s", "1.5 s", "2 s", "3 s"]);
  });

  it("are all due together when the event loop was blocked past them, but not before its next turn", () => {
    const { due, set } = noting();
    for (const ms of [300, 100, 200]) set(`${ms}`, ms);
    blockLoop(1000);
    vi.advanceTimersToNextTimer();
    expect(due).toEqual([]);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersToNextTimer();
    expect(due.toSorted()).toEqual(["100", "200", "300"]);
  });

  it("can be cleared in the turn that they get after the event loop was blocked", () => {
    const { due, deadlines, set } = noting();
    const [answered] = [set("answered", 100), set("hangs", 200)];
    blockLoop(1000);
    vi.advanceTimersToNextTimer();
    deadlines.clear(answered);
    vi.advanceTimersToNextTimer();
    expect(due).toEqual(["hangs"]);
  });

  it("get one turn, not one after another, when the event loop is blocked again and again", () => {
    const { due, set } = noting();
    set("a", 100);
    set("b", 1500);
    blockLoop(1000);
    vi.advanceTimersToNextTimer();
    blockLoop(1000);
    vi.advanceTimersToNextTimer();
    expect(due).toEqual(["a"]);
    blockLoop(1000);
    vi.advanceTimersToNextTimer();
    expect(due).toEqual(["a", "b"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("are due at once when their timer is as late as timers often are", () => {
    const { due, set } = noting();
    set("a", 100);
    blockLoop(1);
    vi.advanceTimersToNextTimer();
    expect(due).toEqual(["a"]);
  });

  it("expire when their timer fires, also when the monotonic clock stands still, as a faked one may", () => {
    const { due, set } = noting();
    set("a", 1000);
    vi.spyOn(performance, "now").mockReturnValue(now());
    vi.advanceTimersByTime(999);
    expect(due).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(due).toEqual(["a"]);
  });

  it("take turns with the rest of the program, when thousands are due together", async () => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
    const due: number[] = [];
    const turns = new Set<number>();
    let turn = 0;
    const deadlines = new Deadlines<number>(
      (owner) => {
        due.push(owner);
        turns.add(turn);
        const until = now() + 0.02;
        while (now() < until);
      },
      { holdsProcess: true },
    );
    const start = now();
    for (let n = 0; n < 1000; n++) deadlines.set(n, start, 1);
    while (due.length < 1000) {
      await new Promise((resolve) => setImmediate(resolve));
      turn++;
    }
    expect(due).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    expect(turns.size).toBeGreaterThan(5);
    vi.useFakeTimers();
  });

  it("set the timer to a whole millisecond that is not too early, so that it fires once", () => {
    const setTimer = spyOnTimers();
    const { due, set } = noting();
    set("a", 1000.4);
    vi.advanceTimersByTime(1001);
    expect(due).toEqual(["a"]);
    expect(setTimer.mock.calls.map(([, ms]) => ms)).toEqual([1001]);
  });

  it("may have delays of a fraction of a millisecond", () => {
    const { due, set } = noting();
    set("a", 0.25);
    vi.advanceTimersByTime(1);
    expect(due).toEqual(["a"]);
  });

  it.each([LONGEST_MS - 1, LONGEST_MS, LONGEST_MS + 1, 2 * LONGEST_MS, 5 * LONGEST_MS])(
    "may have a delay of %i ms: as long as a timer can be, and longer",
    (ms) => {
      const { due, set } = noting();
      set("a", ms);
      vi.advanceTimersByTime(ms - 1);
      expect(due).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(due).toEqual(["a"]);
    },
  );

  it("never set a timer to more than it can hold", () => {
    const setTimer = spyOnTimers();
    const { deadlines, set } = noting();
    const deadline = set("a", 10 * LONGEST_MS);
    expect(setTimer.mock.calls.map(([, ms]) => ms)).toEqual([LONGEST_MS]);
    deadlines.clear(deadline);
  });
});

describe("the timer", () => {
  it("is none without deadlines", () => {
    const { deadlines } = noting();
    deadlines.holdProcess(false);
    deadlines.holdProcess(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is one for thousands of deadlines of many delays", () => {
    const { due, set } = noting();
    for (let n = 0; n < 5000; n++) {
      set(`${n}`, 1000 + (n % 50));
      if (vi.getTimerCount() !== 1) expect(vi.getTimerCount()).toBe(1);
    }
    vi.advanceTimersByTime(1010);
    expect(due).toHaveLength(1100);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(new Set(due).size).toBe(5000);
  });

  it("is set once for thousands of the same delay, however many are cleared", () => {
    const setTimer = spyOnTimers();
    const { deadlines, set } = noting();
    const last = set("last", 1000);
    for (let n = 0; n < 5000; n++) deadlines.clear(set(`${n}`, 1000));
    expect(setTimer).toHaveBeenCalledTimes(1);
    deadlines.clear(last);
  });

  it("is set once for any number of deadlines that are cleared at once, one after another", async () => {
    runningClock();
    const setTimer = spyOnTimers();
    const { deadlines, set } = noting();
    for (let n = 0; n < 100; n++) {
      deadlines.clear(set(`${n}`, 1000));
      await Promise.resolve();
    }
    expect(setTimer.mock.calls.length).toBeLessThanOrEqual(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is set at once while the clock stands still, as faked ones do", () => {
    const { deadlines, set } = noting();
    deadlines.clear(set("brief", 1000));
    const deadline = set("stays", 1000);
    expect(vi.getTimerCount()).toBe(1);
    deadlines.clear(deadline);
  });

  it("is set for the next one all the same, when that stays for longer than a promise takes", async () => {
    runningClock();
    const { due, deadlines, set } = noting();
    deadlines.clear(set("brief", 1000));
    set("stays", 1000);
    await Promise.resolve();
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["stays"]);
  });

  it("is set for one that has passed before promises have their turn", async () => {
    runningClock();
    const { due, deadlines, set } = noting();
    deadlines.clear(set("brief", 1000));
    set("passed", 1000);
    vi.advanceTimersByTime(1000);
    await Promise.resolve();
    expect(due).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(due).toEqual(["passed"]);
  });

  it("is cleared with the last deadline", () => {
    const { due, deadlines, set } = noting();
    const [a, b] = [set("a", 1000), set("b", 2000)];
    deadlines.clear(a);
    expect(vi.getTimerCount()).toBe(1);
    deadlines.clear(b);
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(5000);
    expect(due).toEqual([]);
  });

  it("is gone when the last deadline has passed", () => {
    const { set } = noting();
    set("a", 1000);
    vi.advanceTimersByTime(1000);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is cleared with the last deadline after others have passed", () => {
    const { deadlines, set } = noting();
    set("a", 1000);
    vi.advanceTimersByTime(1000);
    deadlines.clear(set("b", 1000));
    expect(vi.getTimerCount()).toBe(0);
  });

  it("comes back after that", () => {
    const { due, set } = noting();
    set("a", 1000);
    vi.advanceTimersByTime(1000);
    set("b", 1000);
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["a", "b"]);
  });

  it("is brought forward by an earlier deadline", () => {
    const { due, set } = noting();
    set("late", 5000);
    set("early", 100);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(100);
    expect(due).toEqual(["early"]);
    vi.advanceTimersByTime(4900);
    expect(due).toEqual(["early", "late"]);
  });
});

describe("thousands of different delays", () => {
  /** The map that gets `key`: what the deadlines remember of delays. */
  function mapThatGets(key: number, act: () => void): Map<unknown, unknown> {
    const setInMap = vi.spyOn(Map.prototype, "set");
    act();
    const index = setInMap.mock.calls.findIndex(([given]) => given === key);
    const map = setInMap.mock.contexts[index];
    setInMap.mockRestore();
    if (!(map instanceof Map)) throw new Error("no map got the key");
    return map;
  }

  it("are dropped when their deadlines were cleared", () => {
    const { deadlines, set } = noting();
    const kept = set("kept", 1000);
    const map = mapThatGets(2000.5, () => deadlines.clear(set("a", 2000.5)));
    for (let n = 1; n < 2000; n++) deadlines.clear(set("a", 2000.5 + n));
    expect(map.size).toBeLessThan(10);
    deadlines.clear(kept);
  });

  it("are dropped when their deadlines have passed", () => {
    const { due, set } = noting();
    const map = mapThatGets(2000.5, () => set("a", 2000.5));
    for (let n = 1; n < 2000; n++) set("a", 2000.5 + n);
    vi.advanceTimersByTime(10_000);
    expect(due).toHaveLength(2000);
    expect(map.size).toBeLessThan(10);
  });
});

describe("clear", () => {
  it.each([
    ["first to last", [0, 1, 2, 3]],
    ["last to first", [3, 2, 1, 0]],
    ["from within", [1, 3, 0, 2]],
  ])("clears deadlines in any order: %s", (_, order) => {
    const { due, deadlines, set } = noting();
    const all = [0, 1, 2, 3].map((n) => set(`${n}`, 1000));
    set("kept", 1000);
    for (const n of order) {
      const deadline = all[n];
      if (deadline !== undefined) deadlines.clear(deadline);
    }
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["kept"]);
  });

  it("does nothing when it was called for the same one before", () => {
    const { due, deadlines, set } = noting();
    const a = set("a", 1000);
    set("b", 1000);
    deadlines.clear(a);
    deadlines.clear(a);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["b"]);
  });

  it("does nothing when the deadline has passed", () => {
    const { due, deadlines, set } = noting();
    const a = set("a", 1000);
    set("b", 2000);
    vi.advanceTimersByTime(1000);
    deadlines.clear(a);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["a", "b"]);
  });

  it("leaves the others of all delays as they are when the earliest is cleared", () => {
    const { due, deadlines, set } = noting();
    const earliest = set("1", 1000);
    set("2", 2000);
    set("3", 3000);
    deadlines.clear(earliest);
    vi.advanceTimersByTime(2000);
    expect(due).toEqual(["2"]);
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["2", "3"]);
  });
});

describe("from within onDue", () => {
  /** Deadlines whose owners are what is to be done when they are due. */
  function acting() {
    const deadlines = new Deadlines<() => void>((act) => act(), { holdsProcess: true });
    return {
      deadlines,
      set: (act: () => void, ms: number) => deadlines.set(act, now(), ms),
    };
  }

  it.each([1000, 500, 2000])("one can be set, with a delay of %i ms", (ms) => {
    const { set } = acting();
    const told = vi.fn();
    set(() => set(told, ms), 1000);
    vi.advanceTimersByTime(1000 + ms - 1);
    expect(told).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(told).toHaveBeenCalledTimes(1);
  });

  it("one can be set again and again", () => {
    const { set } = acting();
    let rounds = 0;
    const again = () => {
      rounds++;
      if (rounds < 10) set(again, 1000);
    };
    set(again, 1000);
    vi.advanceTimersByTime(20_000);
    expect(rounds).toBe(10);
  });

  it("one that is due at the same time can be cleared: it does not expire", () => {
    const { deadlines, set } = acting();
    const told = vi.fn();
    let second: Deadline<() => void> | undefined;
    set(() => {
      if (second !== undefined) deadlines.clear(second);
    }, 1000);
    second = set(told, 1000);
    vi.advanceTimersByTime(5000);
    expect(told).not.toHaveBeenCalled();
  });

  it("the one that expires can be cleared: that does nothing", () => {
    const { deadlines, set } = acting();
    const told = vi.fn();
    let first: Deadline<() => void> | undefined;
    first = set(() => {
      if (first !== undefined) deadlines.clear(first);
    }, 1000);
    set(told, 2000);
    vi.advanceTimersByTime(2000);
    expect(told).toHaveBeenCalledTimes(1);
  });

  it.each([0, 1, 10, 1000])(
    "the last one can be cleared and another set: that one expires, with %i other delays",
    (others) => {
      const { deadlines, set } = acting();
      const told = vi.fn();
      set(() => {
        deadlines.clear(set(vi.fn(), 1000));
        set(told, 1000);
      }, 1000);
      for (let n = 1; n <= others; n++) deadlines.clear(set(vi.fn(), 1000 + n));
      vi.advanceTimersByTime(1000);
      expect(vi.getTimerCount()).toBe(1);
      vi.advanceTimersByTime(1000);
      expect(told).toHaveBeenCalledTimes(1);
    },
  );
});

describe("keeping the process alive", () => {
  /** Whether the newest timer keeps the process alive; undefined when there never was one. */
  function watched() {
    const setTimer = spyOnTimers();
    return () => setTimer.mock.results.at(-1)?.value.hasRef();
  }

  it.each([true, false])("is as it was asked for: %s", (holdsProcess) => {
    const holds = watched();
    const { deadlines, set } = noting({ holdsProcess });
    const deadline = set("a", 1000);
    expect(holds()).toBe(holdsProcess);
    deadlines.clear(deadline);
  });

  it("can be changed while there are deadlines", () => {
    const holds = watched();
    const { deadlines, set } = noting({ holdsProcess: false });
    const deadline = set("a", 1000);
    deadlines.holdProcess(true);
    expect(holds()).toBe(true);
    deadlines.holdProcess(true);
    expect(holds()).toBe(true);
    deadlines.holdProcess(false);
    expect(holds()).toBe(false);
    deadlines.clear(deadline);
  });

  it("can be changed while there are none", () => {
    const holds = watched();
    const { deadlines, set } = noting({ holdsProcess: false });
    deadlines.holdProcess(true);
    const deadline = set("a", 1000);
    expect(holds()).toBe(true);
    deadlines.clear(deadline);
  });

  it.each([true, false])("is as it was asked for last when the timer is set anew: %s", (last) => {
    const holds = watched();
    const { due, deadlines, set } = noting({ holdsProcess: !last });
    set("a", 1000);
    set("b", 2000);
    expect(holds()).toBe(!last);
    deadlines.holdProcess(last);
    vi.advanceTimersByTime(1000);
    expect(due).toEqual(["a"]);
    expect(holds()).toBe(last);
    vi.advanceTimersByTime(1000);
  });
});

describe("any sequence of steps", () => {
  const delay = fc.constantFrom(1, 2, 5, 10, 10, 10, 25, 50, 75, 100);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("set" as const), delay }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("clear" as const), pick: fc.nat(500) }) },
    { weight: 2, arbitrary: fc.constant({ kind: "clear" as const, pick: -1 }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(60) }) },
  );
  type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

  it("expires exactly those that were not cleared, at their time, also in steps within onDue", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60, size: "max" }),
        fc.array(step, { maxLength: 60, size: "max" }),
        async (outer, inner) => {
          vi.clearAllTimers();
          const pending = new Map<number, { at: number; deadline: Deadline<number> }>();
          const told: number[] = [];
          const inside = [...inner];
          let count = 0;
          const deadlines = new Deadlines<number>(
            (owner) => {
              expect(pending.get(owner)?.at).toBe(now());
              pending.delete(owner);
              told.push(owner);
              for (const next of inside.splice(0, 6)) act(next);
            },
            { holdsProcess: true },
          );
          const act = (next: Step) => {
            if (next.kind === "set") {
              const owner = count++;
              const deadline = deadlines.set(owner, now(), next.delay);
              pending.set(owner, { at: now() + next.delay, deadline });
            } else if (next.kind === "clear") {
              const owner = next.pick === -1 ? count - 1 : next.pick % Math.max(count, 1);
              const found = pending.get(owner);
              if (found !== undefined) deadlines.clear(found.deadline);
              pending.delete(owner);
            }
          };
          for (const next of outer) {
            if (next.kind === "wait") await vi.advanceTimersByTimeAsync(next.ms);
            else act(next);
            await Promise.resolve();
            expect(vi.getTimerCount()).toBe(pending.size === 0 ? 0 : 1);
            for (const { at } of pending.values()) expect(at).toBeGreaterThan(now());
          }
          await vi.advanceTimersByTimeAsync(10_000);
          expect(pending.size).toBe(0);
          expect(vi.getTimerCount()).toBe(0);
          expect(new Set(told).size).toBe(told.length);
        },
      ),
      { seed: SEED, numRuns: runs(100) },
    );
  });
});
