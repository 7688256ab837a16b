import { type CircuitSource, noAnswerError } from "../storage/checked-storage.js";
import type { CircuitRecord } from "../storage/circuit-storage.js";
import { endSubscription } from "../storage/end-subscription.js";
import type { Circuit } from "./circuit.js";
import { LocalChanges } from "./local-changes.js";
import { Reconciler } from "./reconciler.js";
import type { StorageRequest } from "./reconciler-state.js";
import {
  DECIDING,
  FIRST_RETRY_MS,
  IDLE,
  newSharedCircuitState,
  type SharedCircuitState,
} from "./shared-circuit-state.js";
import type { CircuitTransition } from "./transition.js";

const LAST_RETRY_MS = 30_000;
/**
 * A notice is confirmed by one read, this long after it at most, and a fifth of that at least: a fleet of
 * 1000 processes reads about 1250 times a second for 0.8 s, and more notices in that time cost nothing more.
 */
const CONFIRM_MS = 1000;
/** Another process can be the reason that a change is rejected; not ten times in succession. */
const MAX_REQUESTS = 10;

export interface SharedCircuitHooks {
  /** Requests began to fail, or notices stopped arriving. Called again only after a response in between. */
  readonly onError: (error: unknown) => void;
  /** Calls that waited for the storage may start now, if the circuit admits them. */
  readonly onAnswer: () => void;
  /** A record was read. */
  readonly onRead: (record: CircuitRecord) => void;
}

/**
 * Keeps one circuit and its record in a storage in step. The circuit changes at once, by itself; the change
 * is sent to the storage as a compare-and-set; when another process was first, the circuit follows it. There
 * is one request at a time, each with a time limit, and none while nothing changes.
 *
 * A notice is a hint, because every role that may connect to a database can send one: the circuit follows it at
 * once, and then reads the record, which wins.
 *
 * Every step is synchronous: it applies a response, and then sends the next request or becomes idle, before
 * anything else can run. Otherwise a change that is made between the two would never be sent.
 */
export class SharedCircuit {
  readonly #source: CircuitSource;
  readonly #circuit: Circuit;
  readonly #hooks: SharedCircuitHooks;
  readonly #state: SharedCircuitState;
  readonly #changes: LocalChanges;
  readonly #reconciler: Reconciler;
  readonly #unsubscribe: () => void;
  #onLoaded = () => {};
  #onDisconnected = () => {};
  readonly #disconnected = new Promise<void>((resolve) => {
    this.#onDisconnected = resolve;
  });
  /** Settles when the circuit is loaded, or the storage's time limit has passed. Never rejects. */
  readonly ready = new Promise<void>((resolve) => {
    this.#onLoaded = resolve;
  });

  constructor(
    source: CircuitSource,
    circuit: Circuit,
    hooks: SharedCircuitHooks,
    state = newSharedCircuitState(source.host),
  ) {
    this.#source = source;
    this.#circuit = circuit;
    this.#hooks = hooks;
    this.#state = state;
    this.#changes = new LocalChanges(circuit, state.reconciler);
    this.#reconciler = new Reconciler(circuit, state.reconciler);
    this.#unsubscribe = this.#subscribe();
    state.needsRead = true;
    this.#run();
  }

  /** Whether calls may start: the circuit was loaded, or it took too long. */
  get isLoaded(): boolean {
    return this.#state.isLoaded;
  }

  /** Whether an operator has isolated the circuit for the whole fleet: no health check ends that. */
  get isIsolatedByOperator(): boolean {
    return this.#reconciler.isIsolatedByOperator;
  }

  /** Whether this process probes without the lease, because its circuit alone is open. */
  get isAlone(): boolean {
    return this.#reconciler.isAlone;
  }

  /** The circuit has changed. A decision of this process is sent to the storage. */
  onTransition(transition: CircuitTransition): void {
    // A request of the lease that was under way is answered by the change.
    this.#clear("leaseRequest");
    this.#changes.onTransition(transition);
    this.#run();
  }

  /**
   * Requests the probe lease. The circuit gets an answer within the storage's time limit, also when other
   * requests come first.
   */
  acquireLease(): void {
    const { timers, isClosed } = this.#state;
    if (isClosed) return;
    timers.leaseRequest = setTimeout(() => {
      timers.leaseRequest = undefined;
      this.#leaseRequestTimedOut();
    }, this.#source.queryTimeoutSeconds * 1000);
    this.#run();
  }

  #leaseRequestTimedOut(): void {
    if (!this.#circuit.isAcquiringLease) return;
    this.#probeWithoutStorage();
    // As soon as the storage answers, the process requests the lease that it probes without.
    this.#changes.renewLease();
    this.#emitError("requests", noAnswerError(this.#source.queryTimeoutSeconds));
    this.#hooks.onAnswer();
  }

  /**
   * A probe succeeded under the lease. Not sent at once: when the last probe succeeds in the same turn of the
   * event loop, the closing includes it.
   */
  renewLease(): void {
    const { timers, isClosed } = this.#state;
    if (isClosed) return;
    // Set anew each time: one that a test has left behind with its fake timers never fires.
    this.#clear("renew");
    timers.renew = setTimeout(() => {
      timers.renew = undefined;
      this.#changes.renewLease();
      this.#run();
    }, 0).unref();
  }

  /** Unsubscribes and sends nothing more, except for the return of a lease that this process holds. */
  disconnect(): Promise<void> {
    const state = this.#state;
    if (state.isClosed) return this.#disconnected;
    state.isClosed = true;
    this.#clear("read");
    this.#clear("renew");
    this.#clear("leaseRequest");
    endSubscription(this.#unsubscribe);
    if (state.io.kind === "idle") this.#returnLease();
    return this.#disconnected;
  }

  #returnLease(): void {
    const change = this.#changes.finalChange();
    if (change === undefined) this.#onDisconnected();
    // When this fails, the lease runs out.
    else this.#source.change(change).then(this.#onDisconnected, this.#onDisconnected);
  }

  #subscribe(): () => void {
    try {
      return this.#source.subscribe(
        {
          onRecord: (record) => this.#receive(record),
          onError: (error) => this.#emitError("notices", error),
        },
        (error) => {
          this.#emitError("notices", error);
          this.#readLater();
        },
      );
    } catch (error) {
      // Not at once: listeners can be attached only after the bulkhead is constructed.
      queueMicrotask(() => this.#emitError("notices", error));
      return () => {};
    }
  }

  #receive(record: CircuitRecord): void {
    const state = this.#state;
    if (state.isClosed) return;
    state.failures.notices = false;
    state.notice = newer(state.notice, record);
    this.#run();
  }

  // Requests. Each of these is one synchronous step.

  /** Sends the next request, unless one is under way. */
  #run(): void {
    const state = this.#state;
    if (state.isClosed || state.io.kind !== "idle") return;
    const question = this.#decide();
    if (question === undefined) this.#setIdle();
    else this.#send(question);
  }

  #decide(): StorageRequest | undefined {
    const state = this.#state;
    state.io = DECIDING;
    // What listeners do here is part of this step.
    do {
      this.#circuit.refresh();
      this.#applyNotice();
    } while (state.notice !== undefined);
    return this.#changes.nextRequest({ needsRead: state.needsRead, isClosing: state.isClosed });
  }

  #applyNotice(): void {
    const { notice } = this.#state;
    this.#state.notice = undefined;
    if (notice === undefined || !this.#reconciler.applyNotice(notice)) return;
    if (this.#state.timers.read === undefined && !this.#state.isClosed) {
      this.#readAfter(CONFIRM_MS * (0.2 + Math.random() * 0.8));
    }
  }

  #send(question: StorageRequest): void {
    const state = this.#state;
    state.io = question;
    state.requests++;
    // Every response contains the record, so it confirms a notice like a read does.
    state.needsRead = false;
    this.#clear("read");
    const onFailure = (error: unknown) => {
      this.#onFailure(error);
      this.#hooks.onAnswer();
    };
    if (question.kind === "load") {
      this.#source
        .load()
        .then(
          (record) => this.#onResponse(record, () => this.#reconciler.applyRead(record)),
          onFailure,
        );
    } else {
      const { change, offered } = question;
      this.#source
        .change(change)
        .then(
          (result) =>
            this.#onResponse(result.record, () => this.#reconciler.applyResult(offered, result)),
          onFailure,
        );
    }
  }

  #onResponse(record: CircuitRecord, apply: () => void): void {
    const state = this.#state;
    state.io = DECIDING;
    apply();
    if (!state.isClosed) this.#hooks.onRead(record);
    if (!this.#circuit.isAcquiringLease) this.#clear("leaseRequest");
    this.#setLoaded();
    const question = this.#decide();
    if (question === undefined) {
      state.failures.requests = false;
      state.failures.notices = false;
      state.retryMs = FIRST_RETRY_MS;
      this.#setIdle();
    } else if (state.requests >= MAX_REQUESTS) {
      this.#onFailure(new Error("The circuit storage rejected 10 changes in succession"));
    } else {
      this.#send(question);
    }
    this.#hooks.onAnswer();
  }

  #onFailure(error: unknown): void {
    this.#state.io = DECIDING;
    this.#changes.requestFailed();
    this.#probeWithoutStorage();
    this.#setLoaded();
    this.#applyNotice();
    this.#setIdle();
    this.#readLater();
    this.#emitError("requests", error);
  }

  /**
   * Lets the calls that wait for the lease probe without it, for as long as a lease lasts. Without an end, probes that
   * never settle would keep the circuit half-open after the storage is back.
   */
  #probeWithoutStorage(): void {
    this.#clear("leaseRequest");
    this.#circuit.leaseGranted(this.#source.probeLeaseSeconds * 1000);
  }

  #setLoaded(): void {
    this.#state.isLoaded = true;
    this.#onLoaded();
  }

  #setIdle(): void {
    const state = this.#state;
    state.io = IDLE;
    state.requests = 0;
    if (state.isClosed) this.#returnLease();
  }

  // Failures

  #emitError(where: "requests" | "notices", error: unknown): void {
    const { failures, isClosed } = this.#state;
    if (isClosed) return;
    const isKnown = failures.requests || failures.notices;
    failures[where] = true;
    if (!isKnown) this.#hooks.onError(error);
  }

  /** Reads the circuit again after a while, so that both sides catch up; full jitter, as AWS advises. */
  #readLater(): void {
    const state = this.#state;
    if (state.isClosed) return;
    const delayMs = state.retryMs * (0.5 + Math.random() / 2);
    state.retryMs = Math.min(state.retryMs * 2, LAST_RETRY_MS);
    this.#readAfter(delayMs);
  }

  #readAfter(delayMs: number): void {
    const state = this.#state;
    this.#clear("read");
    state.timers.read = setTimeout(() => {
      state.timers.read = undefined;
      state.needsRead = true;
      this.#run();
    }, delayMs).unref();
  }

  #clear(timer: keyof SharedCircuitState["timers"]): void {
    const { timers } = this.#state;
    clearTimeout(timers[timer]);
    timers[timer] = undefined;
  }
}

function newer(one: CircuitRecord | undefined, other: CircuitRecord): CircuitRecord {
  return one !== undefined && one.version > other.version ? one : other;
}
