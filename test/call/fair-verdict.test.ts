import { describe, expect, it } from "vitest";
import { Call } from "../../src/call/call.js";
import { isDeadline, isFairVerdict } from "../../src/call/fair-verdict.js";

/** A call that came at 1000 ms, waited until `startedAt`, and has a limit of a second. */
function callStartedAt(startedAt: number, changes: Partial<Call> = {}): Call {
  const call = new Call(() => 1, [], "execute");
  call.enter(1000);
  return Object.assign(call, { hasWaited: true, limitMs: 1000, startedAt, ...changes });
}

describe("isFairVerdict", () => {
  it("is true for a call that has not waited, however short it ran", () => {
    const call = callStartedAt(1999, { hasWaited: false });
    expect(isFairVerdict(call, 2000, "timeout")).toBe(true);
    expect(isFairVerdict(call, 2000, "deadline")).toBe(true);
  });

  it("is true for a timeout when the function had half of the limit, though the timer was late", () => {
    expect(isFairVerdict(callStartedAt(1500), 2000, "timeout")).toBe(true);
    expect(isFairVerdict(callStartedAt(1501), 2000, "timeout")).toBe(false);
    expect(isFairVerdict(callStartedAt(1900), 2400, "timeout")).toBe(true);
  });

  it("goes by the time that has passed for a deadline of the caller's, whatever the limit is", () => {
    expect(isFairVerdict(callStartedAt(1100), 1200, "deadline")).toBe(true);
    expect(isFairVerdict(callStartedAt(1101), 1200, "deadline")).toBe(false);
  });

  it("goes by the time that has passed for a timeout of a call without a limit", () => {
    const call = callStartedAt(1100, { limitMs: undefined });
    expect(isFairVerdict(call, 1200, "timeout")).toBe(true);
    expect(isFairVerdict(call, 1199, "timeout")).toBe(false);
  });
});

describe("isDeadline", () => {
  it.each([
    ["the reason of AbortSignal.timeout()", new DOMException("late", "TimeoutError"), true],
    ["an error of that name", Object.assign(new Error("late"), { name: "TimeoutError" }), true],
    ["the reason of abort()", new DOMException("gone", "AbortError"), false],
    ["a string", "TimeoutError", false],
    ["nothing", undefined, false],
    ["null", null, false],
  ])("for %s", (_, reason, expected) => {
    expect(isDeadline(reason)).toBe(expected);
  });

  it("is false for a reason whose name cannot be read", () => {
    const reason = {
      get name() {
        throw new Error("no name");
      },
    };
    expect(isDeadline(reason)).toBe(false);
  });
});
