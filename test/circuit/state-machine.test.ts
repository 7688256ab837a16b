import { beforeEach, describe, expect, it, vi } from "vitest";
import { Circuit } from "../../src/circuit/circuit.js";
import type { OpeningRule } from "../../src/circuit/opening-rules.js";
import type { CircuitTransition } from "../../src/circuit/transition.js";
import type { BulkheadConfig } from "../../src/config.js";
import { resolveConfig } from "../../src/resolve-config.js";

/** The monotonic clock, in milliseconds. */
let time = 0;

beforeEach(() => {
  time = 1_000_000;
  vi.spyOn(performance, "now").mockImplementation(() => time);
  return () => vi.restoreAllMocks();
});

interface Options {
  readonly shared?: boolean;
  readonly config?: Omit<BulkheadConfig, "name">;
  readonly rules?: readonly OpeningRule[];
}

function newCircuit({ shared = false, config = {}, rules = [] }: Options = {}) {
  const transitions: CircuitTransition[] = [];
  const onLeaseNeeded = vi.fn();
  const onProbeSuccess = vi.fn();
  const settings = { failureThreshold: 2, successThreshold: 3, isolationDuration: 10, ...config };
  const circuit = new Circuit(resolveConfig({ name: "api", ...settings }), rules, {
    isShared: () => shared,
    leaseMs: 30_000,
    onTransition: (transition) => transitions.push(transition),
    onLeaseNeeded,
    onProbeSuccess,
  });
  return { circuit, transitions, onLeaseNeeded, onProbeSuccess };
}

/** The generation that an admitted call gets; `undefined` when the circuit rejects it. */
function acquire(circuit: Circuit): number | undefined {
  const call = { generation: -1 };
  return circuit.tryAcquire(call) ? call.generation : undefined;
}

/** How many calls the circuit admits, of ten. */
function admitted(circuit: Circuit): number {
  return Array.from({ length: 10 }, () => acquire(circuit)).filter((g) => g !== undefined).length;
}

/** A circuit whose isolation is over. */
function halfOpen(options: Options = {}) {
  const parts = newCircuit(options);
  parts.circuit.open("why", "manual");
  time += 10_000;
  expect(parts.circuit.status).toBe("HALF_OPEN");
  parts.transitions.length = 0;
  return parts;
}

/** A shared circuit whose process has asked for the lease. */
function acquiring(config: Options["config"] = {}) {
  const parts = halfOpen({ shared: true, config });
  expect(acquire(parts.circuit)).toBeDefined();
  parts.transitions.length = 0;
  return parts;
}

/** A shared circuit whose process probes, with a lease of 5 s. */
function probing(config: Options["config"] = {}) {
  const parts = acquiring(config);
  parts.circuit.leaseGranted(5000, 0);
  return parts;
}

describe("a closed circuit", () => {
  it("admits every call, and has no failure, lease or time to report", () => {
    const { circuit, transitions } = newCircuit();
    expect(admitted(circuit)).toBe(10);
    expect(circuit).toMatchObject({
      status: "CLOSED",
      openedAt: undefined,
      cause: undefined,
      isAcquiringLease: false,
      isProbing: false,
      successesUnderLease: undefined,
      retryAfterSeconds: 0,
    });
    expect(transitions).toEqual([]);
  });

  it("opens after consecutive failures, with their number and the last of them", () => {
    const { circuit, transitions } = newCircuit();
    const wall = vi.spyOn(Date, "now").mockReturnValue(77);
    circuit.recordFailure("first");
    circuit.recordSuccess();
    circuit.recordFailure("second");
    expect(circuit.status).toBe("CLOSED");
    circuit.recordFailure("third");
    wall.mockReturnValue(78);
    expect(circuit).toMatchObject({
      status: "OPEN",
      openedAt: 77,
      cause: "third",
      retryAfterSeconds: 10,
    });
    expect(transitions).toEqual([
      {
        from: "CLOSED",
        to: "OPEN",
        reason: "2 consecutive failures",
        origin: "verdict",
        failures: 2,
        cause: "third",
        isPrescribed: false,
        endsLeaseRequest: false,
      },
    ]);
  });

  it("opens with the first failure when failureThreshold is 1", () => {
    const { circuit, transitions } = newCircuit({ config: { failureThreshold: 1 } });
    circuit.recordFailure("down");
    expect(transitions).toMatchObject([
      { to: "OPEN", reason: "1 consecutive failure", failures: 1 },
    ]);
  });

  it("reports how many failures had preceded when another rule, a health check or an operator opens it", () => {
    for (const open of [
      (circuit: Circuit) => circuit.open("opened manually", "manual"),
      (circuit: Circuit) => circuit.healthCheckFailed("no pong"),
      (circuit: Circuit) => circuit.applyRemoteOpen(1000, "opened by another process"),
    ]) {
      const { circuit, transitions } = newCircuit({ config: { failureThreshold: 5 } });
      circuit.recordFailure("down");
      circuit.recordFailure("down");
      open(circuit);
      expect(transitions).toMatchObject([{ from: "CLOSED", to: "OPEN", failures: 2 }]);
    }
  });

  it("opens with the error of a health check as its cause", () => {
    const { circuit, transitions } = newCircuit();
    circuit.healthCheckFailed("no pong");
    expect(transitions).toMatchObject([
      { reason: "the health check failed", origin: "verdict", cause: "no pong" },
    ]);
    expect(circuit.cause).toBe("no pong");
  });

  it("opens for the first reason that a rule returns, and resets every rule then", () => {
    const returning = (reason: string | undefined) => ({
      recordSuccess: vi.fn(() => reason),
      recordFailure: vi.fn(() => reason),
      reset: vi.fn(),
    });
    const rules = [returning(undefined), returning("too slow"), returning("too many")];
    const { circuit, transitions } = newCircuit({ rules, config: { failureThreshold: 9 } });
    circuit.recordFailure("down");
    expect(transitions).toMatchObject([{ to: "OPEN", reason: "too slow", cause: "down" }]);
    expect(rules.map(({ reset }) => reset.mock.calls.length)).toEqual([1, 1, 1]);
    circuit.close("closed manually", "manual");
    circuit.recordSuccess();
    expect(transitions.at(-1)).toMatchObject({
      to: "OPEN",
      reason: "too slow",
      origin: "verdict",
      cause: "down",
    });
    expect(rules.map(({ reset }) => reset.mock.calls.length)).toEqual([3, 3, 3]);
  });

  it("ignores close, a remote close, a passed health check, a dropped call and what a lease needs", () => {
    const { circuit, transitions } = newCircuit({ shared: true });
    const before = circuit.save();
    circuit.close("closed manually", "manual");
    circuit.applyRemoteClose("closed by another process");
    circuit.healthCheckPassed();
    circuit.drop(before.generation);
    circuit.leaseGranted(5000, 1);
    circuit.leaseRenewed(5000);
    circuit.applyIsolation(5000);
    time += 1_000_000;
    expect(circuit.status).toBe("CLOSED");
    expect(circuit.save()).toEqual(before);
    expect(transitions).toEqual([]);
  });
});

describe("an open circuit", () => {
  function opened(options: Options = {}) {
    const parts = newCircuit(options);
    parts.circuit.open("why", "manual", { cause: "down" });
    parts.transitions.length = 0;
    return parts;
  }

  it("rejects calls until its isolation is over, and not a whole millisecond longer", () => {
    const { circuit, transitions } = opened();
    time += 9999;
    expect(acquire(circuit)).toBeUndefined();
    expect(circuit).toMatchObject({ status: "OPEN", retryAfterSeconds: 0.001 });
    time += 0.5;
    expect(circuit.status).toBe("HALF_OPEN");
    expect(transitions).toEqual([
      {
        from: "OPEN",
        to: "HALF_OPEN",
        reason: "the isolation is over",
        origin: "clock",
        failures: 1,
        cause: undefined,
        isPrescribed: false,
        endsLeaseRequest: false,
      },
    ]);
  });

  it("becomes half-open by refresh()", () => {
    const { circuit, transitions } = opened();
    circuit.refresh();
    expect(transitions).toEqual([]);
    time += 10_000;
    circuit.refresh();
    expect(transitions).toMatchObject([{ to: "HALF_OPEN" }]);
  });

  it("ignores successes, failures, dropped calls, another opening and what a lease needs", () => {
    const { circuit, transitions } = opened({ shared: true });
    const before = circuit.save();
    circuit.recordSuccess();
    for (let n = 0; n < 3; n++) circuit.recordFailure("late");
    circuit.drop(before.generation);
    circuit.open("again", "manual", { cause: "another" });
    circuit.healthCheckFailed("no pong");
    circuit.leaseGranted(5000, 1);
    circuit.leaseRenewed(5000);
    expect(circuit.save()).toEqual(before);
    expect(circuit.cause).toBe("down");
    expect(transitions).toEqual([]);
  });

  it("closes manually, without a cause from then on", () => {
    const { circuit, transitions } = opened();
    const { openedAt } = circuit;
    vi.spyOn(Date, "now").mockReturnValue(77);
    circuit.close("closed manually", "manual");
    expect(circuit.openedAt).toBe(openedAt);
    expect(transitions).toMatchObject([
      { from: "OPEN", to: "CLOSED", reason: "closed manually", origin: "manual", failures: 1 },
    ]);
    expect(circuit).toMatchObject({ cause: undefined, retryAfterSeconds: 0 });
    expect(admitted(circuit)).toBe(10);
  });

  it("starts with no failures when it has closed again", () => {
    const { circuit } = opened();
    circuit.close("closed manually", "manual");
    circuit.recordFailure("down");
    circuit.close("closed manually", "manual");
    circuit.open("opened manually", "manual");
    circuit.close("closed manually", "manual");
    circuit.recordFailure("down");
    expect(circuit.status).toBe("CLOSED");
  });

  it("becomes half-open when a health check passes", () => {
    const { circuit, transitions } = opened();
    circuit.healthCheckPassed();
    expect(transitions).toMatchObject([
      { to: "HALF_OPEN", reason: "the health check passed", origin: "verdict" },
    ]);
    expect(circuit.cause).toBe("down");
    expect(admitted(circuit)).toBe(3);
  });

  it("is isolated for as long as the storage counts, when the storage has recorded its opening", () => {
    const { circuit, transitions } = opened({ shared: true });
    circuit.applyIsolation(20_000);
    expect(circuit.retryAfterSeconds).toBe(20);
    time += 10_000;
    expect(circuit.status).toBe("OPEN");
    circuit.applyIsolation(4000);
    expect(circuit.retryAfterSeconds).toBe(4);
    time += 4000;
    expect(circuit.status).toBe("HALF_OPEN");
    expect(transitions).toHaveLength(1);
  });

  it("follows a record: opened for another time, closed, or probed", () => {
    const { circuit, transitions } = opened({ shared: true });
    circuit.applyRemoteOpen(3000, "isolated: maintenance");
    expect(circuit).toMatchObject({ status: "OPEN", retryAfterSeconds: 3, cause: undefined });
    circuit.applyRemoteClose("closed by another process");
    expect(circuit.status).toBe("CLOSED");
    circuit.applyRemoteProbing(2000, 0, "another process probes");
    expect(circuit).toMatchObject({ status: "HALF_OPEN", retryAfterSeconds: 2 });
    expect(transitions.map(({ to, reason, origin }) => [to, reason, origin])).toEqual([
      ["OPEN", "isolated: maintenance", "storage"],
      ["CLOSED", "closed by another process", "storage"],
      ["HALF_OPEN", "another process probes", "storage"],
    ]);
  });
});

describe("a private half-open circuit", () => {
  it("admits successThreshold probes, and the next calls when 30 s have passed since the first", () => {
    const { circuit } = halfOpen();
    expect(circuit).toMatchObject({ isProbing: false, retryAfterSeconds: 0 });
    time += 50_000;
    expect(admitted(circuit)).toBe(3);
    expect(circuit).toMatchObject({ isProbing: true, retryAfterSeconds: 30 });
    time += 29_999;
    expect(admitted(circuit)).toBe(0);
    expect(circuit.retryAfterSeconds).toBe(0.001);
    time += 1;
    expect(circuit).toMatchObject({ isProbing: false, retryAfterSeconds: 0 });
    expect(admitted(circuit)).toBe(3);
    expect(circuit.retryAfterSeconds).toBe(30);
  });

  it("counts the 30 s again from each success, and admits only the probes that are still needed", () => {
    const { circuit, onProbeSuccess } = halfOpen();
    expect(admitted(circuit)).toBe(3);
    time += 20_000;
    circuit.recordSuccess();
    expect(onProbeSuccess).toHaveBeenCalledTimes(1);
    expect(circuit.successesUnderLease).toBe(1);
    expect(circuit.retryAfterSeconds).toBe(30);
    time += 30_000;
    expect(admitted(circuit)).toBe(2);
  });

  it("counts the 30 s from the first of several probes, not from the last", () => {
    const { circuit } = halfOpen();
    acquire(circuit);
    time += 20_000;
    expect(admitted(circuit)).toBe(2);
    expect(circuit.retryAfterSeconds).toBe(10);
  });

  it("closes with the last success that it needs", () => {
    const { circuit, transitions, onProbeSuccess } = halfOpen();
    for (let n = 0; n < 3; n++) circuit.recordSuccess();
    expect(transitions).toMatchObject([
      { from: "HALF_OPEN", to: "CLOSED", reason: "3 of 3 probes succeeded", origin: "verdict" },
    ]);
    expect(onProbeSuccess).toHaveBeenCalledTimes(2);
    expect(admitted(circuit)).toBe(10);
  });

  it("opens with the first failure, for a whole isolation", () => {
    const { circuit, transitions } = halfOpen();
    circuit.recordSuccess();
    circuit.recordFailure("still down");
    expect(transitions).toMatchObject([
      { to: "OPEN", reason: "a probe failed", origin: "verdict", failures: 1, cause: "still down" },
    ]);
    expect(circuit.retryAfterSeconds).toBe(10);
  });

  it("opens when a health check fails, and ignores one that passes", () => {
    const { circuit, transitions } = halfOpen();
    circuit.healthCheckPassed();
    expect(transitions).toEqual([]);
    circuit.healthCheckFailed("no pong");
    expect(transitions).toMatchObject([{ to: "OPEN", reason: "the health check failed" }]);
  });

  it("admits another call for each probe that ends without a verdict, and never more than it needs", () => {
    const { circuit } = halfOpen();
    const { generation } = circuit.save();
    circuit.drop(generation);
    expect(admitted(circuit)).toBe(3);
    circuit.drop(generation);
    expect(circuit.retryAfterSeconds).toBe(0);
    expect(admitted(circuit)).toBe(1);
    circuit.drop(generation - 1);
    expect(admitted(circuit)).toBe(0);
    circuit.recordSuccess();
    for (let n = 0; n < 3; n++) circuit.drop(generation);
    expect(admitted(circuit)).toBe(2);
  });

  it("is ended by the verdict of a probe that outlived the 30 s, and by none from before", () => {
    const { circuit } = halfOpen();
    const generation = acquire(circuit) ?? -1;
    expect(circuit.isCurrent(generation, time + 100_000)).toBe(true);
    expect(circuit.isCurrent(generation - 1, time)).toBe(false);
    circuit.close("closed manually", "manual");
    expect(circuit.isCurrent(generation, time)).toBe(false);
    expect(circuit.isCurrent(acquire(circuit) ?? -1, time + 100_000)).toBe(true);
  });

  it("keeps the failure that opened it as its cause", () => {
    const { circuit } = newCircuit({ config: { failureThreshold: 1 } });
    circuit.recordFailure("down");
    time += 10_000;
    expect(circuit).toMatchObject({ status: "HALF_OPEN", cause: "down" });
  });
});

describe("a shared half-open circuit", () => {
  it("needs the lease when its isolation is over: the first call asks for it, at once", () => {
    const { circuit, transitions, onLeaseNeeded } = halfOpen({ shared: true });
    expect(circuit).toMatchObject({
      isAcquiringLease: false,
      isProbing: false,
      successesUnderLease: undefined,
      retryAfterSeconds: 0,
    });
    expect(onLeaseNeeded).not.toHaveBeenCalled();
    expect(acquire(circuit)).toBe(circuit.save().generation);
    expect(onLeaseNeeded).toHaveBeenCalledTimes(1);
    expect(circuit).toMatchObject({ isAcquiringLease: true, isProbing: false });
    expect(circuit.successesUnderLease).toBeUndefined();
    expect(transitions).toMatchObject([
      {
        from: "HALF_OPEN",
        to: "HALF_OPEN",
        reason: "the probe lease is free",
        origin: "clock",
        isPrescribed: false,
        endsLeaseRequest: false,
      },
    ]);
  });

  it("admits successThreshold calls while it asks for the lease, however long that takes", () => {
    const { circuit, onLeaseNeeded } = acquiring();
    time += 1_000_000;
    expect(admitted(circuit)).toBe(2);
    expect(circuit.retryAfterSeconds).toBe(30);
    expect(onLeaseNeeded).toHaveBeenCalledTimes(1);
  });

  it("probes when the lease is granted, until the lease is over", () => {
    const { circuit, transitions } = probing();
    expect(circuit).toMatchObject({
      isAcquiringLease: false,
      isProbing: true,
      successesUnderLease: 0,
    });
    expect(admitted(circuit)).toBe(2);
    expect(circuit.retryAfterSeconds).toBe(5);
    time += 4999;
    expect(circuit.isProbing).toBe(true);
    time += 1;
    expect(circuit.isProbing).toBe(false);
    expect(transitions).toEqual([]);
  });

  it("counts on from the successes that the storage knows, but needs one more at least", () => {
    for (const [known, left] of [
      [undefined, 2],
      [0, 2],
      [1, 1],
      [2, 0],
      [3, 0],
      [99, 0],
      [-1, 2],
      [Number.NaN, 2],
    ] as const) {
      const { circuit } = acquiring();
      circuit.leaseGranted(5000, known);
      expect(admitted(circuit), `${known} known`).toBe(left);
      expect(circuit.successesUnderLease, `${known} known`).toBe(2 - left);
    }
  });

  it("keeps the successes that it knows when the storage does not answer", () => {
    const { circuit } = probing();
    circuit.recordSuccess();
    time += 5000;
    acquire(circuit);
    circuit.leaseGranted(5000);
    expect(circuit.successesUnderLease).toBe(1);
    expect(admitted(circuit)).toBe(1);
  });

  it("ignores a lease that it has not asked for", () => {
    for (const parts of [probing(), halfOpen({ shared: true })]) {
      const before = parts.circuit.save();
      parts.circuit.leaseGranted(60_000, 2);
      expect(parts.circuit.save()).toEqual(before);
    }
  });

  it("goes on probing when its lease is renewed", () => {
    const { circuit } = probing();
    const generation = circuit.save().generation;
    time += 4000;
    circuit.leaseRenewed(5000);
    time += 4999;
    expect(circuit.isProbing).toBe(true);
    expect(circuit.isCurrent(generation, time)).toBe(true);
    time += 1;
    expect(circuit.isProbing).toBe(false);
    expect(circuit.isCurrent(generation, time)).toBe(false);
  });

  it("has no lease to renew while it asks for one, or while another process probes", () => {
    const other = newCircuit({ shared: true });
    other.circuit.applyRemoteProbing(2000, 0, "another process probes");
    for (const { circuit } of [acquiring(), other]) {
      const before = circuit.save();
      circuit.leaseRenewed(60_000);
      circuit.applyIsolation(60_000);
      expect(circuit.save()).toEqual(before);
    }
  });

  it("leaves the lease to the storage when a probe succeeds", () => {
    const { circuit, onProbeSuccess } = probing();
    time += 1000;
    circuit.recordSuccess();
    expect(onProbeSuccess).toHaveBeenCalledTimes(1);
    expect(admitted(circuit)).toBe(2);
    expect(circuit.retryAfterSeconds).toBe(4);
    expect(circuit.successesUnderLease).toBe(1);
  });

  it("asks for the lease again when it has run out, and admits the probes that are still needed", () => {
    const { circuit, transitions, onLeaseNeeded } = probing();
    circuit.recordSuccess();
    time += 5000;
    expect(admitted(circuit)).toBe(2);
    expect(onLeaseNeeded).toHaveBeenCalledTimes(2);
    expect(transitions).toMatchObject([{ from: "HALF_OPEN", to: "HALF_OPEN", origin: "clock" }]);
  });

  it("admits no call while another process probes, and asks for the lease when that is over", () => {
    const { circuit, onLeaseNeeded } = newCircuit({ shared: true });
    circuit.applyRemoteProbing(2000, 1, "another process probes");
    expect(circuit).toMatchObject({
      isProbing: false,
      isAcquiringLease: false,
      successesUnderLease: undefined,
      retryAfterSeconds: 2,
    });
    expect(admitted(circuit)).toBe(0);
    time += 1999;
    expect(admitted(circuit)).toBe(0);
    time += 1;
    expect(admitted(circuit)).toBe(2);
    expect(onLeaseNeeded).toHaveBeenCalledTimes(1);
  });

  it("reports that a transition ends the request for the lease", () => {
    for (const end of [
      (circuit: Circuit) => circuit.applyRemoteOpen(1000, "opened by another process"),
      (circuit: Circuit) => circuit.applyRemoteClose("closed by another process"),
      (circuit: Circuit) => circuit.applyRemoteProbing(1000, 0, "another process probes"),
      (circuit: Circuit) => circuit.close("closed manually", "manual"),
    ]) {
      const { circuit, transitions } = acquiring();
      end(circuit);
      expect(transitions).toMatchObject([{ from: "HALF_OPEN", endsLeaseRequest: true }]);
    }
    const { circuit, transitions } = probing();
    circuit.close("closed manually", "manual");
    expect(transitions).toMatchObject([{ endsLeaseRequest: false }]);
  });

  it("ignores the verdict of a probe whose lease is over, at the very end of it too", () => {
    const { circuit } = probing();
    const { generation } = circuit.save();
    expect(circuit.isCurrent(generation, time + 4999)).toBe(true);
    expect(circuit.isCurrent(generation, time + 5000)).toBe(false);
    circuit.applyRemoteClose("closed by another process");
    expect(circuit.isCurrent(circuit.save().generation, time + 100_000)).toBe(true);
  });
});

describe("save and restore", () => {
  it("bring a circuit back to what it was, whatever has happened since", () => {
    const { circuit } = probing();
    const saved = circuit.save();
    const copy = structuredClone(saved);
    circuit.recordSuccess();
    expect(saved).toEqual(copy);
    circuit.close("closed manually", "manual");
    circuit.restore(saved);
    expect(circuit).toMatchObject({ status: "HALF_OPEN", isProbing: true, successesUnderLease: 0 });
    circuit.recordSuccess();
    expect(saved).toEqual(copy);
    expect(circuit.isCurrent(saved.generation, time)).toBe(true);
  });
});
