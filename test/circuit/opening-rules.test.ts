import { beforeEach, describe, expect, it, vi } from "vitest";
import { ConsecutiveFailures, FailureRate } from "../../src/circuit/opening-rules.js";
import { RollingWindow } from "../../src/circuit/rolling-window.js";
import { SlowCalls } from "../../src/circuit/slow-calls.js";
import type { BulkheadConfig } from "../../src/config.js";
import { resolveConfig } from "../../src/resolve-config.js";

/** The monotonic clock, in milliseconds. */
let time = 0;

beforeEach(() => {
  time = 1_000_000;
  vi.spyOn(performance, "now").mockImplementation(() => time);
  return () => vi.restoreAllMocks();
});

const configOf = (config: Omit<BulkheadConfig, "name">) =>
  resolveConfig({ name: "api", failureRateThreshold: 50, minimumCalls: 4, ...config });

describe("ConsecutiveFailures", () => {
  it("opens at the threshold, and says how many there were", () => {
    const rule = new ConsecutiveFailures(configOf({ failureThreshold: 2 }));
    expect(rule.recordFailure()).toBeUndefined();
    expect(rule.recordFailure()).toBe("2 consecutive failures");
    expect(rule.count).toBe(2);
    const first = new ConsecutiveFailures(configOf({ failureThreshold: 1 }));
    expect(first.recordFailure()).toBe("1 consecutive failure");
  });

  it("counts anew after a success, and after a change of the circuit", () => {
    const rule = new ConsecutiveFailures(configOf({ failureThreshold: 2 }));
    for (const begin of [() => rule.recordSuccess(), () => rule.reset()]) {
      rule.recordFailure();
      expect(begin()).toBeUndefined();
      expect(rule.count).toBe(0);
    }
    expect(rule.recordFailure()).toBeUndefined();
  });

  it("counts those within the window, its edge included", () => {
    const rule = new ConsecutiveFailures(
      configOf({ failureThreshold: 3, failureWindowSeconds: 10 }),
    );
    rule.recordFailure();
    time += 1;
    rule.recordFailure();
    time += 10_000;
    expect(rule.recordFailure()).toBeUndefined();
    expect(rule.count).toBe(2);
    rule.reset();
    rule.recordFailure();
    time += 10_000;
    rule.recordFailure();
    expect(rule.recordFailure()).toBe("3 consecutive failures");
  });

  it("without a threshold counts all of them, and opens at none", () => {
    const rule = new ConsecutiveFailures(
      configOf({ failureThreshold: null, failureWindowSeconds: 10 }),
    );
    for (let n = 0; n < 3; n++) {
      expect(rule.recordFailure()).toBeUndefined();
      time += 60_000;
    }
    expect(rule.count).toBe(3);
  });
});

describe("FailureRate", () => {
  function rateOf(config: Omit<BulkheadConfig, "name"> = {}) {
    const resolved = configOf({ failureRateThreshold: 50, ...config });
    const window = new RollingWindow(resolved);
    window.advance(0);
    return { window, rule: new FailureRate(window, resolved) };
  }

  it("opens at its share of at least minimumCalls, by a success, too", () => {
    const { rule } = rateOf();
    for (let n = 0; n < 2; n++) expect(rule.recordFailure()).toBeUndefined();
    expect(rule.recordSuccess()).toBeUndefined();
    expect(rule.recordSuccess()).toBe("2 of 4 calls failed within 10 s");
    expect(rule.recordSuccess()).toBeUndefined();
    expect(rule.recordFailure()).toBe("3 of 6 calls failed within 10 s");
  });

  it("adds up what lies within the window", () => {
    const { window, rule } = rateOf();
    rule.recordFailure();
    window.advance(5000);
    rule.recordFailure();
    rule.recordFailure();
    window.advance(10_500);
    // The first has left the window.
    expect(rule.recordFailure()).toBeUndefined();
    expect(rule.recordFailure()).toBe("4 of 4 calls failed within 10 s");
  });

  it("counts anew after a change of the circuit", () => {
    const { rule } = rateOf();
    for (let n = 0; n < 3; n++) rule.recordFailure();
    rule.reset();
    expect(rule.recordFailure()).toBeUndefined();
  });
});

describe("SlowCalls", () => {
  function slowCalls(status = "CLOSED") {
    const config = configOf({ slowCallSeconds: 1, slowCallRateThreshold: 50, minimumCalls: 2 });
    const window = new RollingWindow(config);
    window.advance(0);
    const rule = new SlowCalls(window, config);
    const circuit = { status, isCurrent: vi.fn(() => true), open: vi.fn() };
    return { rule, circuit };
  }

  it("asks whether a call counted at the moment when it became slow, however late it is looked at", () => {
    const { rule, circuit } = slowCalls();
    rule.start(500, 7);
    rule.detect(circuit, 1499);
    expect(circuit.isCurrent).not.toHaveBeenCalled();
    rule.detect(circuit, 60_000);
    expect(circuit.isCurrent.mock.calls).toEqual([[7, 1500]]);
    const fast = rule.start(70_000, 8);
    rule.end(circuit, fast, { time: 70_900, hasVerdict: true });
    expect(circuit.isCurrent).toHaveBeenLastCalledWith(8, 70_900);
  });

  it("opens by those that are current, and by no others", () => {
    const { rule, circuit } = slowCalls();
    circuit.isCurrent.mockReturnValue(false);
    for (let n = 0; n < 4; n++) rule.start(n, 7);
    rule.detect(circuit, 2000);
    expect(circuit.open).not.toHaveBeenCalled();
    circuit.isCurrent.mockReturnValue(true);
    for (let n = 0; n < 2; n++) rule.start(2000, 7);
    rule.detect(circuit, 3000);
    expect(circuit.open.mock.calls).toEqual([
      ["2 of 2 calls ran for 1 s or longer within 10 s", "verdict"],
    ]);
  });

  it("counts a call that ends in time only when it has a verdict", () => {
    const { rule, circuit } = slowCalls();
    for (const hasVerdict of [false, false, false, true]) {
      rule.end(circuit, rule.start(0, 7), { time: 500, hasVerdict });
    }
    rule.start(0, 7);
    rule.detect(circuit, 1000);
    expect(circuit.open).toHaveBeenLastCalledWith(expect.stringMatching(/^1 of 2 /), "verdict");
  });

  it("opens a half-open circuit by the first slow probe, and by no fast one", () => {
    const { rule, circuit } = slowCalls("HALF_OPEN");
    for (let n = 0; n < 3; n++) {
      rule.end(circuit, rule.start(0, 7), { time: 999, hasVerdict: true });
    }
    expect(circuit.open).not.toHaveBeenCalled();
    rule.start(0, 7);
    rule.detect(circuit, 1000);
    expect(circuit.open.mock.calls).toEqual([["a probe was slow", "verdict"]]);
  });

  it("leaves calls from before a change of the circuit alone", () => {
    const { rule, circuit } = slowCalls();
    const old = rule.start(0, 7);
    rule.reset();
    rule.detect(circuit, 5000);
    rule.end(circuit, old, { time: 5000, hasVerdict: true });
    expect(circuit.isCurrent).not.toHaveBeenCalled();
  });
});
