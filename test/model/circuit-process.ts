import type { Circuit } from "../../src/circuit/circuit.js";
import type { SharedCircuit } from "../../src/circuit/shared-circuit.js";
import type {
  newSharedCircuitState,
  SharedCircuitState,
} from "../../src/circuit/shared-circuit-state.js";
import type { CircuitSnapshot, CircuitTransition } from "../../src/circuit/transition.js";
import type { resolveConfig } from "../../src/resolve-config.js";
import type { applyChange } from "../../src/storage/apply-change.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSubscriber,
} from "../../src/storage/circuit-storage.js";

/** The code under test: the real one, or a mutant of it. */
export interface CircuitCode {
  readonly Circuit: typeof Circuit;
  readonly SharedCircuit: typeof SharedCircuit;
  readonly newSharedCircuitState: typeof newSharedCircuitState;
  readonly resolveConfig: typeof resolveConfig;
  /** Of the storage. */
  readonly applyChange: typeof applyChange;
}

/** A question on its way to the storage, or its answer on its way back. */
export interface Outstanding {
  /** `undefined` for a question about the record. */
  readonly change: CircuitChange | undefined;
  /** What the process had decided when it asked. */
  readonly offered: CircuitTransition | undefined;
  /** How many times the process had opened the circuit then. */
  readonly openings: number;
  readonly answer: CircuitChangeResult | undefined;
  readonly deliver: (answer: CircuitChangeResult) => void;
  readonly fail: (error: unknown) => void;
}

/** A timer that the process has set. */
export interface Timer {
  readonly run: () => void;
  unref(): Timer;
}

/** All of one process: plain data, which is replaced and never changed. */
export interface ProcessState {
  readonly circuit: CircuitSnapshot;
  readonly sync: Readonly<SharedCircuitState>;
  readonly timers: readonly Timer[];
  readonly outstanding: Outstanding | undefined;
  /** Calls of the circuit's newest generation that are under way; some of them never settle. */
  readonly probes: number;
  readonly hanging: number;
}

export interface ProcessOptions {
  readonly owner: string;
  readonly host: string;
  readonly successThreshold: number;
  readonly openQuorum: number;
}

const NO_ANSWER = new Error("no answer");
export const LEASE_MS = 1000;
/** The time, on every clock. Time passes only where the model says that something is over. */
export const NOW_MS = 1_000_000;

/** The process that runs at the moment. */
let running: CircuitProcess | undefined;

/** Runs `act` in a world without real time: clocks stand still, and timers wait for the model. */
export function withoutTime<T>(act: () => T): T {
  const { setTimeout, clearTimeout } = globalThis;
  const { now } = performance;
  const { stackTraceLimit } = Error;
  Object.assign(globalThis, {
    setTimeout: (run: () => void) => running?.setTimer(run),
    clearTimeout: (timer: Timer | undefined) => running?.clearTimer(timer),
  });
  performance.now = () => NOW_MS;
  Error.stackTraceLimit = 0;
  try {
    return act();
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
    performance.now = now;
    Error.stackTraceLimit = stackTraceLimit;
    running = undefined;
  }
}

/**
 * One process with the real circuit and the real sync, on a storage and timers that answer when the model
 * says so. Nothing runs by itself, so the whole process can be put into any state that was saved before.
 */
export class CircuitProcess {
  readonly circuit: Circuit;
  readonly sync: SharedCircuit;
  readonly #state: SharedCircuitState;
  readonly #host: string;
  #subscriber: CircuitSubscriber | undefined = undefined;
  /** A question of it is failing. */
  isFailing = false;
  #timers: readonly Timer[] = [];
  #outstanding: Outstanding | undefined = undefined;
  #probes = 0;
  #hanging = 0;
  /** Told of every transition, before the sync is. */
  onTransition: (transition: CircuitTransition, before: Readonly<SharedCircuitState>) => void =
    () => {};

  constructor(code: CircuitCode, { owner, host, successThreshold, openQuorum }: ProcessOptions) {
    this.#host = host;
    const config = code.resolveConfig({
      name: "model",
      failureThreshold: 1,
      successThreshold,
      openQuorum,
      isolationDuration: LEASE_MS / 1000,
    });
    this.circuit = new code.Circuit(config, [], {
      isShared: () => !this.sync.isAlone,
      leaseMs: 30_000,
      onTransition: (transition) => {
        this.#probes = 0;
        this.#hanging = 0;
        this.onTransition(transition, this.#state);
        this.sync.onTransition(transition);
      },
      onLeaseNeeded: () => this.sync.acquireLease(),
      onProbeSuccess: () => this.sync.renewLease(),
    });
    this.#state = code.newSharedCircuitState(host, owner);
    const hooks = { onError: () => {}, onAnswer: () => {}, onRead: () => {} };
    this.sync = this.#running(() => {
      return new code.SharedCircuit(this.#source(), this.circuit, hooks, this.#state);
    });
  }

  save(): ProcessState {
    const state = this.#state;
    return {
      circuit: this.circuit.save(),
      sync: {
        ...state,
        reconciler: { ...state.reconciler },
        failures: { ...state.failures },
        timers: { ...state.timers },
      },
      timers: this.#timers,
      outstanding: this.#outstanding,
      probes: this.#probes,
      hanging: this.#hanging,
    };
  }

  restore(saved: ProcessState): void {
    this.circuit.restore(saved.circuit);
    const { reconciler, failures, timers } = this.#state;
    Object.assign(reconciler, saved.sync.reconciler);
    Object.assign(failures, saved.sync.failures);
    Object.assign(timers, saved.sync.timers);
    Object.assign(this.#state, saved.sync, { reconciler, failures, timers });
    this.#timers = saved.timers;
    this.#outstanding = saved.outstanding;
    this.#probes = saved.probes;
    this.#hanging = saved.hanging;
  }

  // What happens to it

  /** Runs something in this process: the timers that it sets are this one's. */
  #running<T>(act: () => T): T {
    running = this;
    return act();
  }

  setTimer(run: () => void): Timer {
    const timer: Timer = { run, unref: () => timer };
    this.#timers = [...this.#timers, timer];
    return timer;
  }

  clearTimer(timer: Timer | undefined): void {
    if (timer !== undefined) this.#timers = this.#timers.filter((each) => each !== timer);
  }

  run(act: (circuit: Circuit, sync: SharedCircuit) => void): void {
    this.#running(() => act(this.circuit, this.sync));
  }

  /** A call comes. Whether the circuit admits it. */
  call(): void {
    this.#running(() => {
      if (this.circuit.tryAcquire({ generation: 0 })) this.#probes++;
    });
  }

  /** A probe ends. */
  settle(outcome: "success" | "failure" | "hangs"): void {
    this.#running(() => {
      if (outcome === "hangs") {
        this.#hanging++;
        return;
      }
      this.#probes--;
      if (!this.circuit.isProbing) return;
      if (outcome === "success") this.circuit.recordSuccess();
      else this.circuit.recordFailure(new Error("down"));
    });
  }

  hear(record: CircuitRecord): void {
    this.#running(() => this.#subscriber?.onRecord(record));
  }

  fire(timer: Timer): void {
    this.clearTimer(timer);
    this.#running(() => timer.run());
  }

  /** The storage has carried the question out; the answer is on its way. */
  carriedOut(answer: CircuitChangeResult): void {
    if (this.#outstanding !== undefined) this.#outstanding = { ...this.#outstanding, answer };
  }

  answered(): void {
    const outstanding = this.#outstanding;
    this.#outstanding = undefined;
    if (outstanding?.answer === undefined) return;
    const { answer, deliver } = outstanding;
    this.#running(() => deliver(answer));
  }

  failed(): void {
    const outstanding = this.#outstanding;
    this.#outstanding = undefined;
    this.isFailing = true;
    this.#running(() => outstanding?.fail(NO_ANSWER));
    this.isFailing = false;
  }

  #source() {
    return {
      queryTimeoutSeconds: 1,
      probeLeaseSeconds: LEASE_MS / 1000,
      host: this.#host,
      load: () => this.#asked<CircuitRecord>(undefined, ({ record }) => record),
      change: (change: CircuitChange) => this.#asked(change, (result) => result),
      subscribe: (subscriber: CircuitSubscriber) => {
        this.#subscriber = subscriber;
        return () => {};
      },
    };
  }

  /** Calls back in the middle of the model's step, as no promise does. */
  #asked<T>(change: CircuitChange | undefined, pick: (result: CircuitChangeResult) => T) {
    const then = (onAnswer: (value: T) => void, onFailure: (error: unknown) => void) => {
      const { pending, openings } = this.#state.reconciler;
      this.#outstanding = {
        change,
        offered: pending?.transition,
        openings,
        answer: undefined,
        deliver: (result) => onAnswer(pick(result)),
        fail: onFailure,
      };
    };
    return { then } as unknown as PromiseLike<T>;
  }
}
