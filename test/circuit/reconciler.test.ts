import { beforeEach, describe, expect, it, vi } from "vitest";
import { Circuit } from "../../src/circuit/circuit.js";
import { LocalChanges } from "../../src/circuit/local-changes.js";
import { Reconciler } from "../../src/circuit/reconciler.js";
import { newReconcilerState } from "../../src/circuit/reconciler-state.js";
import type { CircuitTransition } from "../../src/circuit/transition.js";
import type { BulkheadConfig, CircuitRecord } from "../../src/index.js";
import { resolveConfig } from "../../src/resolve-config.js";
import { closedRecord } from "../../src/storage/apply-change.js";

const OWNER = "host 1 me";
const HOST = "web-1";

/** The monotonic clock of the process, in milliseconds. */
let time = 0;

beforeEach(() => {
  time = 1_000_000;
  vi.spyOn(performance, "now").mockImplementation(() => time);
  return () => vi.restoreAllMocks();
});

/** The storage's clock. Every record is read at 0, unless it says otherwise. */
const at = (seconds: number) => new Date(1_000_000_000_000 + seconds * 1000);

function closed(version: number, changes: Partial<CircuitRecord> = {}): CircuitRecord {
  return { ...closedRecord(version, at(0)), ...changes };
}

function opened(version: number, seconds: number, changes: Partial<CircuitRecord> = {}) {
  const opening = { openUntil: at(seconds), openedBy: "another 1", openings: 1 };
  return closed(version, { state: "OPEN", ...opening, ...changes });
}

function probed(version: number, owner: string | null, seconds: number, successes = 0) {
  const lease = owner === null ? {} : { probeOwner: owner, probeUntil: at(seconds) };
  return closed(version, { state: "HALF_OPEN", openings: 1, probeSuccesses: successes, ...lease });
}

function newProcess(config: Omit<BulkheadConfig, "name"> = {}) {
  const transitions: CircuitTransition[] = [];
  const state = newReconcilerState(OWNER, HOST);
  const settings = { failureThreshold: 1, successThreshold: 3, isolationDuration: 10, ...config };
  const circuit: Circuit = new Circuit(resolveConfig({ name: "api", ...settings }), [], {
    isShared: () => true,
    leaseMs: 30_000,
    onTransition: (transition) => {
      transitions.push(transition);
      changes.onTransition(transition);
    },
    onLeaseNeeded: () => {},
    onProbeSuccess: () => {},
  });
  const changes = new LocalChanges(circuit, state);
  const reconciler = new Reconciler(circuit, state);
  const next = (options: { needsRead?: boolean; isClosing?: boolean } = {}) =>
    changes.nextRequest({ needsRead: false, isClosing: false, ...options });
  /** Requests what is next, and has the storage answer with the record. */
  const send = (changed: boolean, record: CircuitRecord) => {
    const request = next();
    if (request?.kind !== "change") return expect.unreachable("no change is requested");
    reconciler.applyResult(request.offered, { changed, record });
  };
  const fail = () => circuit.recordFailure("down");
  return { circuit, changes, reconciler, state, transitions, next, send, fail };
}

type Process = ReturnType<typeof newProcess>;

/** One that has read the record. */
function reading(record: CircuitRecord, config: Omit<BulkheadConfig, "name"> = {}): Process {
  const process = newProcess(config);
  process.reconciler.applyRead(record);
  process.transitions.length = 0;
  return process;
}

/** One whose call waits for the lease of a circuit that another process had opened. */
function acquiring(): Process {
  const process = reading(opened(2, 10));
  time += 10_000;
  expect(process.circuit.tryAcquire({ generation: 0 })).toBe(true);
  expect(process.circuit.isAcquiringLease).toBe(true);
  process.transitions.length = 0;
  return process;
}

/** One that probes under a lease of 30 s. */
function probing(): Process {
  const process = acquiring();
  process.send(true, probed(3, OWNER, 30));
  expect(process.circuit.isProbing).toBe(true);
  return process;
}

/** One that probes under a lease of its own, because the storage does not answer. */
function probingAlone(): Process {
  const process = acquiring();
  process.changes.requestFailed();
  process.circuit.leaseGranted(30_000);
  return process;
}

describe("a process that knows nothing of its circuit", () => {
  it("has nothing to request, and reads the record before it requests a change", () => {
    const { next, circuit, state } = newProcess();
    expect(state).toEqual({
      owner: OWNER,
      host: HOST,
      known: undefined,
      pending: undefined,
      opening: undefined,
      isOwn: false,
      openings: 0,
      needsRenewal: false,
    });
    expect(next()).toBeUndefined();
    expect(next({ needsRead: true })).toEqual({ kind: "load" });
    expect(next({ needsRead: true, isClosing: true })).toBeUndefined();
    circuit.open("why", "manual");
    expect(next()).toEqual({ kind: "load" });
  });

  it.each(["applyRead", "applyNotice"] as const)(
    "keeps its opening at %s of a closed record, also when the isolation is over by then",
    (apply) => {
      const { circuit, reconciler, fail, next } = newProcess();
      fail();
      time += 10_000;
      reconciler[apply](closed(1));
      expect(circuit.status).toBe("HALF_OPEN");
      expect(next()).toMatchObject({ kind: "change", change: { to: "OPEN", version: 1 } });
    },
  );

  it.each(["applyRead", "applyNotice"] as const)("follows an open record at %s", (apply) => {
    const { circuit, reconciler, transitions } = newProcess();
    reconciler[apply](opened(1, 7));
    expect(circuit.retryAfterSeconds).toBe(7);
    expect(transitions).toMatchObject([{ to: "OPEN", reason: "opened by another process" }]);
  });
});

describe("the reason of an opening that the process follows", () => {
  it.each([
    [{ reason: "maintenance", openedBy: null }, "isolated: maintenance"],
    [{ openedBy: null }, "opened by another process"],
    [{ openedBy: "another 1" }, "opened by another process"],
    [{ openedBy: `${OWNER} 4` }, "opened by this process before"],
  ])("of %o", (changes, reason) => {
    const { reconciler, transitions } = reading(closed(1));
    reconciler.applyRead(opened(2, 60, changes));
    expect(transitions).toMatchObject([{ to: "OPEN", reason }]);
  });
});

describe("isIsolatedByOperator", () => {
  it("is true only for an open record with a reason", () => {
    expect(newProcess().reconciler.isIsolatedByOperator).toBe(false);
    const isolated = (record: CircuitRecord) => reading(record).reconciler.isIsolatedByOperator;
    expect(isolated(opened(1, 60, { reason: "maintenance" }))).toBe(true);
    expect(isolated(opened(1, 60))).toBe(false);
    expect(isolated({ ...probed(1, null, 0), reason: "maintenance" })).toBe(false);
  });
});

describe("an opening", () => {
  it("is sent with a tag of its own, its length, its failures and the openings", () => {
    const { circuit, fail, next, send } = reading(closed(1));
    fail();
    const change = { to: "OPEN", owner: OWNER, byHand: false, openSeconds: 10, failureCount: 1 };
    expect(next()).toEqual({
      kind: "change",
      change: {
        ...change,
        version: 1,
        opening: `${OWNER} 1`,
        openings: 1,
        cause: { rule: "1 consecutive failure", failure: "string", code: null },
      },
      offered: expect.objectContaining({ from: "CLOSED", to: "OPEN" }),
    });
    send(true, opened(2, 10));
    expect(next()).toBeUndefined();
    circuit.close("why", "manual");
    expect(next()).toEqual({
      kind: "change",
      change: { to: "CLOSED", version: 2, owner: OWNER, byHand: true },
      offered: expect.objectContaining({ to: "CLOSED" }),
    });
    send(true, closed(3));
    fail();
    expect(next()).toMatchObject({ change: { opening: `${OWNER} 2`, openings: 1, version: 3 } });
  });

  it("by hand is sent without openings: the storage keeps those that it has", () => {
    const { circuit, next } = reading(closed(1));
    circuit.open("why", "manual");
    const request = next();
    expect(request).toMatchObject({ change: { to: "OPEN", byHand: true } });
    expect(Object.keys(request?.kind === "change" ? request.change : {})).not.toContain("openings");
  });

  it("counts on from the openings of the record that the process missed", () => {
    const { send, fail, circuit, next } = reading(closed(1));
    fail();
    // Another process has opened it three times meanwhile, and its isolation is over.
    send(false, opened(9, 0, { openings: 3 }));
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 9, openings: 3 } });
    expect(circuit.openings).toBe(1);
  });

  it("counts anew after a closing that the storage does not know of", () => {
    const { circuit, fail, next } = reading(opened(4, 60, { openings: 3 }));
    circuit.close("why", "manual");
    fail();
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 4, openings: 1 } });
    // The same isolation, also when a probe fails, or a health check moves the circuit.
    time += 10_000;
    circuit.healthCheckFailed("no pong");
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 4, openings: 2 } });
    circuit.healthCheckPassed();
    circuit.healthCheckFailed("no pong");
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 4, openings: 3 } });
  });

  it("ends by the storage's clock once the storage has recorded it", () => {
    const { circuit, fail, send } = reading(closed(1));
    fail();
    send(true, opened(2, 7));
    expect(circuit.retryAfterSeconds).toBe(7);
  });

  it("keeps its own end when the storage records the one before it", () => {
    const { circuit, reconciler, fail, next } = reading(closed(1));
    fail();
    const first = next();
    circuit.close("why", "manual");
    fail();
    const offered = first?.kind === "change" ? first.offered : undefined;
    reconciler.applyResult(offered, { changed: true, record: opened(2, 7) });
    expect(circuit.retryAfterSeconds).toBe(10);
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 2 } });
  });

  it("that could not be sent is sent late, as long as its isolation lasts", () => {
    const { changes, fail, next } = reading(closed(1));
    changes.requestFailed();
    fail();
    changes.requestFailed();
    time += 9000;
    expect(next()).toMatchObject({ change: { to: "OPEN", openSeconds: 1 } });
  });

  it("that could not be sent is dropped when its isolation is over: the record is read instead", () => {
    const { circuit, changes, reconciler, fail, next } = reading(closed(1));
    fail();
    changes.requestFailed();
    time += 10_000;
    expect(next()).toEqual({ kind: "load" });
    expect(circuit.status).toBe("HALF_OPEN");
    expect(next()).toBeUndefined();
    // The record is what it was: the circuit follows it.
    reconciler.applyRead(closed(1));
    expect(circuit.status).toBe("CLOSED");
  });

  it("that was not late is sent also when its isolation is over", () => {
    const { reconciler, fail, next } = reading(closed(1));
    fail();
    time += 10_000;
    expect(next()).toMatchObject({ change: { to: "OPEN", openSeconds: 0 } });
    // The record has not changed since.
    reconciler.applyRead(closed(1));
    expect(next()).toMatchObject({ change: { to: "OPEN", openSeconds: 0 } });
  });
});

describe("an opening that a closed record does not include", () => {
  /** The storage was asked to make it, and the answer was lost. */
  function unanswered(record: CircuitRecord): Process {
    const process = reading(closed(1));
    process.fail();
    process.next();
    process.changes.requestFailed();
    process.reconciler.applyRead(record);
    return process;
  }

  it("is sent again: the storage never received it", () => {
    const { circuit, next } = unanswered(closed(2, { openedBy: "another 1" }));
    expect(circuit.status).toBe("OPEN");
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 2, opening: `${OWNER} 1` } });
  });

  it("is sent again when the storage has lost it, but not when its isolation is over", () => {
    const { circuit, reconciler, fail, send, next } = reading(closed(1));
    fail();
    send(true, opened(2, 10, { openedBy: `${OWNER} 1` }));
    reconciler.applyRead(closed(1, { openedBy: "another 1" }));
    expect(circuit.status).toBe("OPEN");
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 1 } });
    time += 10_000;
    expect(next()).toEqual({ kind: "load" });
  });

  it("is over when the record has its tag: another process closed it", () => {
    const { circuit, next } = unanswered(closed(3, { openedBy: `${OWNER} 1` }));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toBeUndefined();
  });

  it("is over when the record has its owner, as of a storage that keeps no tags", () => {
    expect(unanswered(closed(3, { openedBy: OWNER })).circuit.status).toBe("CLOSED");
  });

  it("is over when the record of a custom storage has no openedBy at all", () => {
    const { openedBy: _, ...record } = closed(3);
    expect(unanswered(record as CircuitRecord).circuit.status).toBe("CLOSED");
  });

  it("is over when it was a probe that opened it again: the circuit was open in the storage, too", () => {
    const { circuit, reconciler, fail, next } = probingAlone();
    fail();
    reconciler.applyRead(closed(9, { openedBy: "another 1" }));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toBeUndefined();
  });

  it("is over when this process has closed it since, and the storage knows", () => {
    const { circuit, reconciler, fail, send, next } = reading(closed(1));
    fail();
    send(true, opened(2, 10, { openedBy: `${OWNER} 1` }));
    circuit.close("why", "manual");
    send(true, closed(3, { openedBy: `${OWNER} 1` }));
    reconciler.applyRead(closed(9, { openedBy: "another 1" }));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toBeUndefined();
  });

  it("is not over by the owner alone when it was never sent", () => {
    const { circuit, reconciler, fail, next } = reading(closed(1));
    fail();
    reconciler.applyRead(closed(3, { openedBy: OWNER }));
    expect(circuit.status).toBe("OPEN");
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 3 } });
  });
});

describe("a manual change", () => {
  it("that another process was faster than is requested again on top, also when it is late", () => {
    const { circuit, changes, next, send } = reading(closed(1));
    circuit.open("why", "manual");
    changes.requestFailed();
    send(false, opened(5, 60));
    expect(circuit.retryAfterSeconds).toBe(10);
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 5, byHand: true } });
  });

  it("wins over a record that is read before it is sent", () => {
    const { circuit, reconciler, next } = reading(opened(2, 60));
    circuit.close("why", "manual");
    reconciler.applyRead(opened(3, 60));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toMatchObject({ change: { to: "CLOSED", version: 3, byHand: true } });
  });

  it("that is late yields to what other processes decided meanwhile", () => {
    const { circuit, changes, reconciler, next } = reading(opened(2, 60));
    circuit.close("why", "manual");
    changes.requestFailed();
    reconciler.applyRead(opened(3, 60));
    expect(circuit.status).toBe("OPEN");
    expect(next()).toBeUndefined();
  });

  it("that is late is still sent when the isolation of the record is over, and needs no lease", () => {
    const { circuit, changes, reconciler, next } = reading(opened(2, 60));
    circuit.close("why", "manual");
    changes.requestFailed();
    reconciler.applyRead(opened(3, 0));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toMatchObject({ change: { to: "CLOSED", version: 3, byHand: true } });
  });

  it("of before is no reason to keep a newer verdict", () => {
    const { circuit, reconciler, fail, next } = reading(opened(2, 60));
    circuit.close("why", "manual");
    const closing = next();
    fail();
    const offered = closing?.kind === "change" ? closing.offered : undefined;
    reconciler.applyResult(offered, { changed: false, record: opened(3, 60) });
    expect(circuit.retryAfterSeconds).toBe(60);
    expect(next()).toBeUndefined();
  });
});

describe("the probe lease", () => {
  it("is requested for a call that waits for it, and granted with what the storage knows", () => {
    const { circuit, next, send, transitions } = acquiring();
    expect(next()).toEqual({
      kind: "change",
      change: { to: "HALF_OPEN", version: 2, owner: OWNER, host: HOST },
      offered: undefined,
    });
    send(true, probed(3, OWNER, 30, 1));
    expect(circuit).toMatchObject({ isProbing: true, successesUnderLease: 1 });
    expect(next()).toBeUndefined();
    expect(transitions).toEqual([]);
    time += 30_000;
    expect(circuit.isProbing).toBe(false);
  });

  it("is not requested by a process that is about to disconnect", () => {
    expect(acquiring().next({ isClosing: true })).toBeUndefined();
  });

  it("belongs to the process that the storage granted it to: the other follows", () => {
    const { circuit, send, transitions } = acquiring();
    send(false, probed(3, "another", 20));
    expect(circuit).toMatchObject({ isAcquiringLease: false, retryAfterSeconds: 20 });
    expect(transitions).toMatchObject([{ to: "HALF_OPEN", reason: "another process probes" }]);
  });

  it("is renewed with the successes, from the storage's answer on", () => {
    const { circuit, changes, next, send } = probing();
    circuit.recordSuccess();
    expect(next()).toBeUndefined();
    changes.renewLease();
    time += 20_000;
    expect(next()).toEqual({
      kind: "change",
      change: { to: "HALF_OPEN", version: 3, owner: OWNER, host: HOST, successes: 1 },
      offered: undefined,
    });
    changes.renewLease();
    send(true, probed(4, OWNER, 30, 1));
    time += 29_999;
    expect(circuit.isProbing).toBe(true);
    expect(next()).toBeUndefined();
    time += 1;
    expect(circuit.isProbing).toBe(false);
  });

  it("is not renewed when the process does not probe any more", () => {
    const { circuit, changes, next } = probing();
    changes.renewLease();
    circuit.applyRemoteProbing(5000, 0, "another process probes");
    expect(next()).toBeUndefined();
  });

  it("has the rest of it that a read of the same record says", () => {
    const { circuit, reconciler, transitions } = probing();
    time += 1000;
    reconciler.applyRead({ ...probed(3, OWNER, 30), readAt: at(10) });
    time += 19_999;
    expect(circuit.isProbing).toBe(true);
    time += 1;
    expect(circuit.isProbing).toBe(false);
    expect(transitions).toEqual([]);
  });

  it("goes on by a newer record of the same owner, without a change of the circuit", () => {
    const { circuit, reconciler, transitions } = probing();
    time += 20_000;
    reconciler.applyRead(probed(5, OWNER, 30, 1));
    time += 29_999;
    expect(circuit.isProbing).toBe(true);
    expect(transitions).toEqual([]);
  });

  it("is granted by a read, too, when the answer to the request was lost", () => {
    const { circuit, changes, reconciler } = acquiring();
    changes.requestFailed();
    reconciler.applyRead(probed(3, OWNER, 30));
    expect(circuit.isProbing).toBe(true);
  });

  it("is free for the next call when the process has it without probing", () => {
    const { circuit, reconciler, transitions } = reading(closed(1));
    reconciler.applyRead(probed(2, OWNER, 30));
    expect(transitions).toMatchObject([{ to: "HALF_OPEN", reason: "the probe lease is free" }]);
    expect(circuit.tryAcquire({ generation: 0 })).toBe(true);
    expect(circuit.isAcquiringLease).toBe(true);
  });

  it("is not granted by the early end of an isolation, also to a call that came meanwhile", () => {
    const { circuit, next, reconciler } = reading(opened(2, 60));
    circuit.healthCheckPassed();
    const request = next();
    expect(request).toMatchObject({
      change: { to: "HALF_OPEN", version: 2, owner: OWNER, early: true },
    });
    expect(circuit.tryAcquire({ generation: 0 })).toBe(true);
    const offered = request?.kind === "change" ? request.offered : undefined;
    reconciler.applyResult(offered, { changed: true, record: probed(3, null, 0) });
    expect(circuit).toMatchObject({ isAcquiringLease: true, isProbing: false });
    expect(next()).toMatchObject({ change: { to: "HALF_OPEN", version: 3 } });
  });
});

describe("a record whose isolation or lease is over", () => {
  it("yields to a closing that this process decided, which needs the lease first", () => {
    const { circuit, reconciler, next, send } = probingAlone();
    for (let n = 0; n < 3; n++) circuit.recordSuccess();
    expect(circuit.status).toBe("CLOSED");
    reconciler.applyRead(opened(5, 0));
    expect(circuit.status).toBe("CLOSED");
    const lease = { to: "HALF_OPEN", version: 5, owner: OWNER };
    expect(next()).toMatchObject({ kind: "change", change: lease });
    send(true, probed(6, OWNER, 30));
    expect(next()).toMatchObject({ change: { to: "CLOSED", version: 6, byHand: false } });
    send(true, closed(7));
    expect(next()).toBeUndefined();
  });

  it("yields to an opening that this process decided, which needs no lease", () => {
    const { circuit, reconciler, fail, next } = probingAlone();
    fail();
    reconciler.applyRead(probed(5, "another", 0));
    expect(circuit.status).toBe("OPEN");
    expect(next()).toMatchObject({ change: { to: "OPEN", version: 5 } });
  });

  it("yields to the probes of this process, which then request the lease", () => {
    const { circuit, reconciler, next, transitions } = probingAlone();
    circuit.recordSuccess();
    reconciler.applyRead(probed(5, "another", 0));
    expect(circuit.isProbing).toBe(true);
    expect(transitions).toEqual([]);
    expect(next()).toMatchObject({ change: { to: "HALF_OPEN", version: 5, successes: 1 } });
  });

  it("yields to a call that waits for the lease", () => {
    const { circuit, reconciler, next, transitions } = acquiring();
    reconciler.applyRead(probed(5, "another", 0));
    expect(circuit.isAcquiringLease).toBe(true);
    expect(transitions).toEqual([]);
    expect(next()).toMatchObject({ change: { to: "HALF_OPEN", version: 5 } });
  });

  it("ends the wish for an early end of the isolation: it has been granted", () => {
    const { circuit, reconciler, next } = reading(opened(2, 60));
    circuit.healthCheckPassed();
    reconciler.applyRead(opened(3, 0));
    expect(next()).toBeUndefined();
    expect(circuit.status).toBe("HALF_OPEN");
  });

  it("is followed by a process that has decided nothing", () => {
    const { circuit, reconciler, transitions } = reading(closed(1));
    reconciler.applyRead(probed(2, null, 0));
    expect(circuit.status).toBe("HALF_OPEN");
    expect(transitions).toMatchObject([{ reason: "the probe lease is free" }]);
  });
});

describe("a record that is unchanged", () => {
  it.each([closed(2), opened(2, 60), probed(2, "another", 60)])(
    "changes nothing: $state",
    (record) => {
      const { reconciler, transitions, next } = reading(record);
      reconciler.applyRead(record);
      expect(transitions).toEqual([]);
      expect(next()).toBeUndefined();
    },
  );

  it("does not end the probing of a process that is without the storage's lease: it requests that", () => {
    const process = reading(probed(2, "another", 5));
    time += 5000;
    process.circuit.tryAcquire({ generation: 0 });
    process.changes.requestFailed();
    process.circuit.leaseGranted(30_000);
    process.transitions.length = 0;
    expect(process.next()).toBeUndefined();
    process.reconciler.applyRead({ ...probed(2, "another", 5), readAt: at(5) });
    expect(process.transitions).toEqual([]);
    expect(process.next()).toMatchObject({ change: { to: "HALF_OPEN", successes: 0 } });
  });

  it("does not isolate again when the isolation is over by this process's clock", () => {
    const { circuit, reconciler, transitions, next } = reading(opened(2, 10));
    time += 10_000;
    reconciler.applyRead({ ...opened(2, 10), readAt: at(9.99) });
    expect(circuit.status).toBe("HALF_OPEN");
    expect(transitions).toMatchObject([{ origin: "clock" }]);
    expect(next()).toBeUndefined();
  });

  it("leads to no request by a process that does not probe", () => {
    const { reconciler, state, next } = reading(probed(2, "another", 5));
    reconciler.applyRead(probed(2, "another", 5));
    expect(state.needsRenewal).toBe(false);
    expect(next()).toBeUndefined();
  });

  it("is followed when this process has closed the circuit and has nothing left to send", () => {
    const { circuit, reconciler, state } = reading(opened(2, 60));
    circuit.close("why", "manual");
    state.pending = undefined;
    reconciler.applyRead(opened(2, 60));
    expect(circuit.status).toBe("OPEN");
  });

  it("changes nothing about what is still to be sent", () => {
    const { circuit, reconciler, next } = reading(opened(2, 60));
    circuit.healthCheckPassed();
    reconciler.applyRead(opened(2, 60));
    expect(next()).toMatchObject({ change: { to: "HALF_OPEN", early: true } });
  });
});

describe("a notice", () => {
  it("is nothing new with a version that is known", () => {
    const { circuit, reconciler } = reading(closed(3));
    expect(reconciler.applyNotice(opened(3, 60))).toBe(false);
    expect(reconciler.applyNotice(opened(2, 60))).toBe(false);
    expect(circuit.status).toBe("CLOSED");
    expect(reconciler.applyNotice(opened(4, 60))).toBe(true);
    expect(circuit.status).toBe("OPEN");
  });

  it("does not make the lease of a prober longer, as a forged one could for ever", () => {
    const { circuit, reconciler, next, transitions } = probing();
    expect(reconciler.applyNotice(probed(9, OWNER, 1e9))).toBe(true);
    time += 30_000;
    expect(circuit.isProbing).toBe(false);
    expect(transitions).toEqual([]);
    expect(next()).toBeUndefined();
  });

  it("of an open circuit stops a prober, whatever lease it has besides", () => {
    const { circuit, reconciler } = probing();
    reconciler.applyNotice(opened(9, 60, { probeOwner: OWNER, probeUntil: at(60) }));
    expect(circuit.status).toBe("OPEN");
  });

  it("grants no lease to a call that waits for it", () => {
    const { circuit, reconciler } = acquiring();
    reconciler.applyNotice(probed(9, OWNER, 1e9));
    expect(circuit.isAcquiringLease).toBe(true);
  });

  it("of the own lease keeps the verdict that is still to be sent", () => {
    const { circuit, reconciler, next } = probing();
    for (let n = 0; n < 3; n++) circuit.recordSuccess();
    reconciler.applyNotice(probed(9, OWNER, 30));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toMatchObject({ change: { to: "CLOSED", version: 9 } });
  });

  it("of the own lease is followed by a process that neither probes nor has anything to send", () => {
    const { circuit, reconciler } = reading(closed(1));
    reconciler.applyNotice(probed(2, OWNER, 30));
    expect(circuit.status).toBe("HALF_OPEN");
  });
});

describe("a verdict under the own lease", () => {
  it("is kept when a record of that lease is read before it is sent", () => {
    const { circuit, reconciler, next } = probing();
    for (let n = 0; n < 3; n++) circuit.recordSuccess();
    reconciler.applyRead(probed(5, OWNER, 30, 2));
    expect(circuit.status).toBe("CLOSED");
    expect(next()).toMatchObject({ change: { to: "CLOSED", version: 5 } });
  });

  it("is dropped when another process has the lease by then", () => {
    const { circuit, reconciler, next } = probing();
    for (let n = 0; n < 3; n++) circuit.recordSuccess();
    reconciler.applyRead(probed(5, "another", 30));
    expect(circuit.status).toBe("HALF_OPEN");
    expect(next()).toBeUndefined();
  });
});

describe("finalChange", () => {
  it("is none for a process that has no lease, also when another has one", () => {
    expect(newProcess().changes.finalChange()).toBeUndefined();
    expect(reading(closed(1)).changes.finalChange()).toBeUndefined();
    expect(reading(probed(2, "another", 30)).changes.finalChange()).toBeUndefined();
  });

  it("returns the lease, with the successes", () => {
    const { circuit, changes } = probing();
    circuit.recordSuccess();
    const lease = { to: "HALF_OPEN", version: 3, owner: OWNER, early: true };
    expect(changes.finalChange()).toEqual({ ...lease, successes: 1 });
  });

  it("returns a lease that the process does not probe under with the successes of the record", () => {
    const { changes } = reading(probed(2, OWNER, 30, 2));
    const lease = { to: "HALF_OPEN", version: 2, owner: OWNER, early: true };
    expect(changes.finalChange()).toEqual({ ...lease, successes: 2 });
  });

  it("is the verdict of the probes that is still to be sent", () => {
    const { circuit, changes } = probing();
    for (let n = 0; n < 3; n++) circuit.recordSuccess();
    expect(changes.finalChange()).toEqual({
      to: "CLOSED",
      version: 3,
      owner: OWNER,
      byHand: false,
    });
  });
});
