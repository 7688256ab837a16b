import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Circuit } from "../../../src/circuit/circuit.js";
import { SharedCircuit } from "../../../src/circuit/shared-circuit.js";
import type { CircuitChangeResult, CircuitRecord, CircuitSubscriber } from "../../../src/index.js";
import { applyChange } from "../../../src/index.js";
import { resolveConfig } from "../../../src/resolve-config.js";
import { closedRecord } from "../../../src/storage/apply-change.js";
import type { CircuitSource } from "../../../src/storage/checked-storage.js";
import type { CircuitChange } from "../../../src/storage/circuit-storage.js";
import { gate } from "../../helpers/gate.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const flush = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A storage that answers when a test says so. */
class Source implements CircuitSource {
  readonly queryTimeoutSeconds = 1;
  readonly probeLeaseSeconds = 30;
  readonly host = "web-1";
  record = closedRecord(7, new Date());
  /** What was requested: "load", or the status that is asked for. */
  readonly asked: string[] = [];
  readonly #pending: Array<{ answer: () => void; fail: (error: unknown) => void }> = [];
  subscriber: CircuitSubscriber | undefined = undefined;
  onInvalidRecord: ((error: unknown) => void) | undefined = undefined;
  readonly unsubscribe = vi.fn();

  load(): Promise<CircuitRecord> {
    const { promise, open, fail } = gate<CircuitRecord>();
    this.asked.push("load");
    this.#pending.push({ fail, answer: () => open({ ...this.record, readAt: new Date() }) });
    return promise;
  }

  change(change: CircuitChange): Promise<CircuitChangeResult> {
    const { promise, open, fail } = gate<CircuitChangeResult>();
    this.asked.push(change.to);
    const answer = () => {
      const result = applyChange(this.record, change, new Date(), { leaseSeconds: 30 });
      this.record = result.record;
      open(result);
    };
    this.#pending.push({ answer, fail });
    return promise;
  }

  subscribe(subscriber: CircuitSubscriber, onInvalidRecord: (error: unknown) => void) {
    this.subscriber = subscriber;
    this.onInvalidRecord = onInvalidRecord;
    return this.unsubscribe;
  }

  /** Answers the oldest request. */
  async answer(): Promise<void> {
    this.#pending.shift()?.answer();
    await flush();
  }

  async fail(): Promise<void> {
    this.#pending.shift()?.fail(new Error("down"));
    await flush();
  }

  /** Another process, or an attacker, sends a record. */
  send(changes: Partial<CircuitRecord>): void {
    const updatedAt = new Date();
    this.subscriber?.onRecord({ ...this.record, updatedAt, readAt: updatedAt, ...changes });
  }
}

/** A record of a circuit that another process has opened. */
function opened(version: number, seconds = 60): Partial<CircuitRecord> {
  const openUntil = new Date(Date.now() + seconds * 1000);
  return { state: "OPEN", version, openUntil, openedBy: "another" };
}

function connect(source = new Source(), onChange = () => {}) {
  const onError = vi.fn();
  const onAnswer = vi.fn();
  const config = resolveConfig({
    name: "api",
    failureThreshold: 1,
    successThreshold: 2,
    isolationDuration: 10,
  });
  const circuit: Circuit = new Circuit(config, [], {
    isShared: () => true,
    leaseMs: 30_000,
    onTransition: (transition) => {
      shared.onTransition(transition);
      onChange();
    },
    onLeaseNeeded: () => shared.acquireLease(),
    onProbeSuccess: () => shared.renewLease(),
  });
  const shared = new SharedCircuit(source, circuit, { onRead: vi.fn(), onError, onAnswer });
  const acquire = () => circuit.tryAcquire({ generation: 0 });
  return { source, circuit, shared, acquire, onError, onAnswer };
}

/** One that has loaded a closed circuit. */
async function loaded() {
  const parts = connect();
  await parts.source.answer();
  parts.source.asked.length = 0;
  return parts;
}

/** One that has requested the lease, and has no answer yet. */
async function requesting() {
  const parts = await loaded();
  parts.circuit.open("why", "manual");
  await parts.source.answer();
  await pass(10_000);
  expect(parts.acquire()).toBe(true);
  await flush();
  expect(parts.source.asked).toEqual(["OPEN", "HALF_OPEN"]);
  parts.source.asked.length = 0;
  return parts;
}

/** One that probes under the storage's lease. */
async function probing() {
  const parts = await requesting();
  await parts.source.answer();
  expect(parts.circuit.isProbing).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
  return parts;
}

describe("the request of the lease", () => {
  it("has no timer left when the circuit is closed manually before the answer", async () => {
    const { circuit } = await requesting();
    expect(vi.getTimerCount()).toBe(1);
    circuit.close("why", "manual");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("has no timer left when the storage fails: the process probes under a lease of its own", async () => {
    const { source, circuit } = await requesting();
    await source.fail();
    expect(circuit.isProbing).toBe(true);
    // The next attempt to read the record.
    expect(vi.getTimerCount()).toBe(1);
  });

  it("has no timer left when the process disconnects", async () => {
    const { shared } = await requesting();
    void shared.disconnect();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is not made after the process has disconnected", async () => {
    const { source, circuit, shared, acquire } = await loaded();
    circuit.open("why", "manual");
    await source.answer();
    await shared.disconnect();
    await pass(10_000);
    expect(acquire()).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
    expect(source.asked).toEqual(["OPEN"]);
  });

  it("is reported once when its time is over and the storage then fails, and again after an answer", async () => {
    const { source, circuit, shared, onError } = await requesting();
    await pass(1000);
    expect(circuit.isProbing).toBe(true);
    expect(onError.mock.calls).toEqual([
      [new Error("The circuit storage did not answer within 1 s")],
    ]);
    await source.fail();
    expect(onError).toHaveBeenCalledTimes(1);
    await pass(1000);
    // The record, and the lease that the process probes without.
    await source.answer();
    await source.answer();
    shared.renewLease();
    await pass(1);
    await source.fail();
    expect(onError).toHaveBeenCalledTimes(2);
  });
});

describe("the renewal of the lease", () => {
  it("is requested once for two successes of the same moment", async () => {
    const { source, shared } = await probing();
    shared.renewLease();
    shared.renewLease();
    expect(vi.getTimerCount()).toBe(1);
    await pass(1);
    expect(source.asked).toEqual(["HALF_OPEN"]);
  });

  it("is left out when the process disconnects before or after the success", async () => {
    const { source, shared } = await probing();
    shared.renewLease();
    void shared.disconnect();
    expect(vi.getTimerCount()).toBe(0);
    shared.renewLease();
    expect(vi.getTimerCount()).toBe(0);
    // The return of the lease.
    expect(source.asked).toEqual(["HALF_OPEN"]);
  });
});

describe("disconnecting", () => {
  it("unsubscribes and returns the lease once, however often it is called", async () => {
    const { source, shared } = await probing();
    const both = [shared.disconnect(), shared.disconnect()];
    expect(source.asked).toEqual(["HALF_OPEN"]);
    expect(source.unsubscribe).toHaveBeenCalledTimes(1);
    await source.answer();
    await Promise.all(both);
    expect(source.record).toMatchObject({ state: "HALF_OPEN", probeOwner: null });
  });

  it("in the middle of a request returns the lease when that is answered", async () => {
    const { source, shared } = await probing();
    shared.renewLease();
    await pass(1);
    const left = shared.disconnect();
    await flush();
    expect(source.asked).toEqual(["HALF_OPEN"]);
    await source.answer();
    expect(source.asked).toEqual(["HALF_OPEN", "HALF_OPEN"]);
    await source.answer();
    await left;
    expect(source.record).toMatchObject({ state: "HALF_OPEN", probeOwner: null });
  });

  it("in the middle of a request drops every notice that arrives after it", async () => {
    const { source, circuit, shared } = connect();
    const left = shared.disconnect();
    source.send(opened(9));
    await source.answer();
    await left;
    expect(circuit.status).toBe("CLOSED");
  });

  it("in the middle of a request follows the notice from before it, and does not confirm that", async () => {
    const { source, circuit, shared } = connect();
    source.send(opened(9));
    const left = shared.disconnect();
    await source.answer();
    await left;
    expect(circuit.status).toBe("OPEN");
    expect(vi.getTimerCount()).toBe(0);
    expect(source.asked).toEqual(["load"]);
  });

  it("in the middle of a request reports no failure of it, and does not try again", async () => {
    const { source, shared, onError } = connect();
    const left = shared.disconnect();
    await source.fail();
    await left;
    expect(onError).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("notices", () => {
  it.each([
    ["newer", 9, 8],
    ["newer", 8, 9],
  ])("that arrive during a request: the %s of %i and %i is followed", async (_, one, other) => {
    const { source, circuit } = connect();
    source.send(opened(one, one * 10));
    source.send(opened(other, other * 10));
    await source.answer();
    expect(circuit.retryAfterSeconds).toBe(90);
  });

  it("that arrive during a request with the same version: the last is followed", async () => {
    const { source, circuit } = connect();
    source.send(opened(9, 20));
    source.send(opened(9, 30));
    await source.answer();
    expect(circuit.retryAfterSeconds).toBe(30);
  });

  it("that keep arriving do not put off the read that confirms the first", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    const { source } = await loaded();
    for (let version = 8; version < 20; version++) {
      source.send(opened(version));
      await pass(100);
    }
    expect(source.asked).toEqual(["load"]);
  });

  it("are awaited by one timer when an invalid record follows that has the circuit read sooner", async () => {
    const { source } = await loaded();
    source.send(opened(8));
    source.onInvalidRecord?.(new Error("malformed"));
    expect(vi.getTimerCount()).toBe(1);
    await pass(2000);
    expect(source.asked).toEqual(["load"]);
  });

  it("that stop arriving are reported once, and again after one has arrived", async () => {
    const { source, onError } = await loaded();
    const lost = new Error("connection lost");
    source.subscriber?.onError(lost);
    source.subscriber?.onError(lost);
    expect(onError.mock.calls).toEqual([[lost]]);
    source.send({});
    source.subscriber?.onError(lost);
    expect(onError).toHaveBeenCalledTimes(2);
  });

  it("that are malformed are reported once, until the circuit was read", async () => {
    const { source, onError } = await loaded();
    const malformed = new Error("malformed");
    source.onInvalidRecord?.(malformed);
    source.onInvalidRecord?.(malformed);
    expect(onError.mock.calls).toEqual([[malformed]]);
    await pass(2000);
    await source.answer();
    source.onInvalidRecord?.(malformed);
    expect(onError).toHaveBeenCalledTimes(2);
  });

  it("that arrive while one is followed are followed in the same step", async () => {
    const source = new Source();
    let isFirst = true;
    const { circuit } = connect(source, () => {
      if (isFirst) source.send({ state: "CLOSED", version: 10 });
      isFirst = false;
    });
    await source.answer();
    source.send(opened(9));
    expect(circuit.status).toBe("CLOSED");
  });

  it("cannot be subscribed to: reports it, and goes on without them", async () => {
    const source = new Source();
    const broken = new Error("no listener");
    source.subscribe = () => {
      throw broken;
    };
    const { shared, circuit, onError } = connect(source);
    expect(onError).not.toHaveBeenCalled();
    await source.fail();
    expect(onError.mock.calls).toEqual([[broken]]);
    await pass(500);
    await source.answer();
    circuit.open("why", "manual");
    await source.answer();
    expect(source.record.state).toBe("OPEN");
    await shared.disconnect();
  });
});

describe("a storage that does not answer", () => {
  it.each([
    [0, 250],
    [0.5, 375],
    [0.999, 499.75],
  ])("is read again after 250 to 500 ms: %d", async (random, ms) => {
    vi.spyOn(Math, "random").mockReturnValue(random);
    const { source } = connect();
    await source.fail();
    await pass(Math.floor(ms) - 1);
    expect(source.asked).toEqual(["load"]);
    await pass(1);
    expect(source.asked).toEqual(["load", "load"]);
  });

  it("is read less and less often, every 30 s at last", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const { source } = connect();
    const pauses: number[] = [];
    for (let n = 0; n < 9; n++) {
      await source.fail();
      const begin = Date.now();
      await vi.advanceTimersToNextTimerAsync();
      pauses.push(Date.now() - begin);
    }
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  });
});

describe("a storage that rejects every change", () => {
  it("gets ten requests in succession, and then an error is emitted and a pause follows", async () => {
    const { source, circuit, onError } = await loaded();
    circuit.open("why", "manual");
    for (let n = 0; n < 12; n++) {
      // Another process is always a moment faster.
      source.record = { ...source.record, version: source.record.version + 1 };
      await source.answer();
    }
    expect(source.asked).toEqual(Array(10).fill("OPEN"));
    expect(onError.mock.calls).toEqual([
      [new Error("The circuit storage rejected 10 changes in succession")],
    ]);
    await pass(500);
    expect(source.asked.slice(10)).toEqual(["load"]);
    await source.answer();
    await source.answer();
    expect(source.record.state).toBe("OPEN");
    expect(circuit.status).toBe("OPEN");
  });
});
