import type CircuitBreaker from "opossum";
import { outsideRequests } from "../common/async-context.js";
import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { type BulkheadError, isRejection } from "../errors.js";
import { circuitOpenError, isolationError } from "../rejections.js";
import { BulkheadState } from "../state.js";
import type { CircuitStatus, CircuitStorage } from "../storage/circuit-storage.js";
import { Circuit } from "./circuit.js";
import type { GateHooks } from "./gate-hooks.js";
import { type HealthCheck, hasSameHealthCheck, startHealthCheck } from "./health-check.js";
import { FAILURE, type Verdict } from "./judge.js";
import {
  type CallCircuit,
  type CircuitCall,
  MonitoredCircuit,
  NO_CIRCUIT,
} from "./monitored-circuit.js";
import { NewestFailure } from "./newest-failure.js";
import { RateRules } from "./rate-rules.js";
import { StorageConnection } from "./storage-connection.js";
import type { CircuitTransition } from "./transition.js";
import { TransitionQueue } from "./transition-queue.js";

/** A call on its way through the gate. */
export interface GatedCall extends CircuitCall {
  /** What has admitted the call. */
  circuit: CallCircuit;
  /** Runs `work` in the `AsyncLocalStorage` context of the call. */
  inContext<A extends unknown[]>(work: (...args: A) => void, self: unknown, ...args: A): void;
}

/**
 * Decides whether calls may go to the dependency: manual isolation, the circuit with its storage, and
 * the health check that moves it.
 */
export class Gate<C extends GatedCall> {
  readonly #config: ResolvedBulkheadConfig;
  readonly #hooks: GateHooks<C>;
  readonly #circuit: Circuit | undefined;
  readonly #rules: RateRules;
  /** `undefined` when `circuitBreakerEnabled` is `false`. */
  readonly #monitored: MonitoredCircuit | undefined;
  /** What admits calls now: the bypass while the user has disabled opossum's breaker. */
  #inUse: CallCircuit = NO_CIRCUIT;
  readonly #connection: StorageConnection | undefined = undefined;
  #healthCheck: HealthCheck | undefined;
  readonly #lastFailure = new NewestFailure();
  /** No call is left. */
  #isEnded = false;
  #isolation: { readonly reason: string | null } | undefined = undefined;

  constructor(
    config: ResolvedBulkheadConfig,
    storage: CircuitStorage | undefined,
    hooks: GateHooks<C>,
  ) {
    this.#config = config;
    this.#hooks = hooks;
    this.#rules = new RateRules(config);
    if (config.circuitBreakerEnabled) {
      const connection =
        storage &&
        new StorageConnection(storage, config.name, config.enforce, {
          onError: (error) => hooks.emit("storageError", error),
          onAnswer: hooks.onAdmitting,
          onSettings: hooks.onSettings,
        });
      this.#connection = connection;
      const transitions = new TransitionQueue<C>({
        onEffect: (transition) => this.#applyTransition(transition),
        onNotify: (transition, rejected) => this.#emitTransition(transition, rejected),
      });
      this.#circuit = new Circuit(config, this.#rules.inUse, {
        isShared: () => connection?.needsLease === true,
        leaseMs: (storage?.probeLeaseSeconds ?? 30) * 1000,
        onTransition: (transition) => transitions.push(transition),
        onLeaseNeeded: () => connection?.acquireLease(),
        onProbeSuccess: () => connection?.renewLease(),
      });
      this.#monitored = new MonitoredCircuit(
        config,
        this.#circuit,
        {
          window: this.#rules.window,
          slowCalls: this.#rules.slowCalls,
          lastFailure: this.#lastFailure,
        },
        {
          onSwitched: (enabled) => this.#switch(enabled),
          onShutdown: hooks.onShutdown,
        },
      );
      this.#inUse = this.#monitored;
      connection?.connect(this.#circuit);
    }
    this.#healthCheck = outsideRequests(() => this.#startHealthCheck());
  }

  get breaker(): CircuitBreaker | undefined {
    const isNew = this.#monitored?.createdBreaker === undefined;
    const breaker = this.#monitored?.breaker;
    if (isNew && this.#isEnded) breaker?.end();
    return breaker?.published;
  }

  get circuitStatus(): CircuitStatus | undefined {
    this.refresh();
    return this.#circuit?.status;
  }

  get stats() {
    const { openedAt, allOpenings, consecutiveFailures, retryAfterSeconds } = this.#circuit ?? {};
    return {
      retryAfterSeconds: retryAfterSeconds ?? 0,
      consecutiveFailures: consecutiveFailures ?? 0,
      openedAt: openedAt === undefined ? null : new Date(openedAt),
      openings: allOpenings ?? 0,
      lastFailure: this.#lastFailure.describe(),
    };
  }

  /** Settles when the circuit is loaded, or could not be in time. Never rejects. */
  get ready(): Promise<void> | undefined {
    return this.#connection?.ready;
  }

  /** Whether admitted calls must wait for an answer of the storage. */
  get isAwaitingStorage(): boolean {
    if (this.#connection === undefined) return false;
    const isAcquiringLease = this.#connection.isShared && this.#circuit?.isAcquiringLease === true;
    return isAcquiringLease || this.#connection.isLoading;
  }

  /** The state of a bulkhead that is not shut down. */
  get state(): BulkheadState {
    const status = this.circuitStatus;
    if (this.#isolation !== undefined || status === "OPEN") return BulkheadState.ISOLATED;
    return status === "HALF_OPEN" ? BulkheadState.DEGRADED : BulkheadState.HEALTHY;
  }

  // The path of a call

  /** Moves the circuit on when its time has come. A listener may then close the bulkhead. */
  refresh(): void {
    if (this.#circuit === undefined) return;
    const slowCalls = this.#rules.createdSlowCalls;
    if (slowCalls !== undefined && this.#inUse === this.#monitored) {
      slowCalls.detect(this.#circuit, now());
    }
    this.#circuit.refresh();
  }

  /** The error for callers while the bulkhead is isolated manually. */
  isolationRejection(): BulkheadError | undefined {
    if (this.#isolation === undefined) return undefined;
    return isolationError(this.#config.name, this.#isolation.reason);
  }

  /** Whether the circuit admits the call. */
  tryAcquire(call: GatedCall): boolean {
    call.circuit = this.#inUse;
    return call.circuit.tryAcquire(call);
  }

  /** The error for a call that the circuit rejects; opossum counts it. */
  circuitRejection(call: CircuitCall, status = this.circuitStatus): BulkheadError {
    const { retryAfterSeconds = 0, cause } = this.#circuit ?? {};
    const error = circuitOpenError(this.#config.name, status, retryAfterSeconds, cause);
    this.#monitored?.recordRejection(call, error);
    return error;
  }

  /** An admitted call is rejected because the bulkhead is full. */
  recordFull(call: GatedCall, error: Error): void {
    call.circuit.drop(call);
    this.#monitored?.recordFull(call, error);
  }

  /** The call's function returned a value. */
  recordResult(call: GatedCall, result: unknown, time: number): void {
    const { circuit } = call;
    if (circuit === this.#inUse) circuit.recordResult(call, result, time);
    else circuit.drop(call);
  }

  /** What the error of a call says of the dependency; {@link recordError} follows. */
  judge(call: GatedCall, error: unknown): Verdict {
    const { circuit } = call;
    return circuit === this.#inUse ? circuit.judge(call, error) : FAILURE;
  }

  recordError(call: GatedCall, verdict: Verdict, error: unknown, time: number): void {
    const { circuit } = call;
    if (this.#monitored === undefined && verdict.outcome === "failure") {
      this.#lastFailure.record(error);
    }
    if (circuit === this.#inUse) circuit.recordError(call, verdict, error, time);
    else circuit.drop(call);
  }

  /** A verdict before the call has settled; nothing that the call does from now on is one. */
  recordVerdict(call: GatedCall, verdict: Verdict, error: unknown, time: number): void {
    this.recordError(call, verdict, error, time);
    call.circuit = NO_CIRCUIT;
  }

  recordTimeout(call: GatedCall, error: unknown, time: number): void {
    const { circuit } = call;
    if (this.#monitored === undefined) this.#lastFailure.record(error);
    if (circuit === this.#inUse) circuit.recordTimeout(call, error, time);
    else circuit.drop(call);
  }

  // Manual changes and shutdown

  isolate(reason: string | null): void {
    this.#isolation = { reason };
    const rejected = this.#hooks.onRejecting("isolated");
    this.#hooks.emit("isolated", { reason });
    for (const call of rejected) {
      this.#hooks.onRejected(call, "isolated", isolationError(this.#config.name, reason));
    }
  }

  release(): void {
    if (this.#isolation === undefined) return;
    this.#isolation = undefined;
    this.#hooks.emit("released");
  }

  stopHealthCheck(): void {
    this.#healthCheck?.stop();
  }

  /** The configuration has changed; most of it is read where it is used. */
  reconfigure(before: ResolvedBulkheadConfig, isClosed: boolean): void {
    const config = this.#config;
    this.#rules.reconfigure(before);
    if (this.#circuit !== undefined && this.#monitored !== undefined) {
      this.#monitored.slowCalls = this.#rules.slowCalls;
      this.#circuit.openingRules = this.#rules.inUse;
      this.#circuit.changeProbes(config.successThreshold - before.successThreshold);
      this.#monitored.createdBreaker?.reconfigure(config);
      if (config.enforce !== before.enforce && !isClosed) {
        this.#connection?.share(config.enforce, this.#circuit);
      }
    }
    if (isClosed || hasSameHealthCheck(config, before)) return;
    this.#healthCheck?.stop();
    this.#healthCheck = outsideRequests(() => this.#startHealthCheck());
  }

  /** Disconnects from the storage. */
  async disconnect(): Promise<void> {
    await this.#connection?.disconnect();
  }

  /** No call is left, and none will come. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#monitored?.createdBreaker?.end();
  }

  // Transitions

  #switch(enabled: boolean): void {
    if (this.#monitored === undefined) return;
    this.#inUse = enabled ? this.#monitored : this.#monitored.bypass;
    if (!enabled) this.#rules.createdSlowCalls?.reset();
  }

  #applyTransition(transition: CircuitTransition): readonly C[] {
    this.#connection?.onTransition(transition);
    return this.#rejectQueued(transition);
  }

  #rejectQueued({ to, origin, endsLeaseRequest: endsClaim }: CircuitTransition): readonly C[] {
    if (to === "CLOSED" || this.#inUse !== this.#monitored) return [];
    const wasAwaited = origin === "storage" && (endsClaim || this.#connection?.isLoading === true);
    return wasAwaited ? this.#hooks.onStorageAnswered() : this.#hooks.onRejecting("circuitOpen");
  }

  #emitTransition({ from, to, reason, cause }: CircuitTransition, rejected: readonly C[]): void {
    if (from !== to) {
      this.#hooks.emit("stateChange", {
        from,
        to,
        reason,
        ...(cause !== undefined && { cause }),
      });
      this.#monitored?.createdBreaker?.emitTransition(to);
    }
    for (const call of rejected) call.inContext(this.#rejectByCircuit, this, call, to);
    if (to === "CLOSED") this.#hooks.onAdmitting();
  }

  #rejectByCircuit(call: C, status: CircuitStatus): void {
    this.#hooks.onRejected(call, "circuitOpen", this.circuitRejection(call, status));
  }

  #startHealthCheck(): HealthCheck | undefined {
    return startHealthCheck(this.#config, (healthy, error) => this.#onHealthCheck(healthy, error));
  }

  #onHealthCheck(healthy: boolean, error: unknown): void {
    this.#hooks.emit("healthCheck", { healthy, error });
    if (!healthy) {
      this.#monitored?.createdBreaker?.emit("healthCheckFailed", error);
      // A bulkhead that is full, perhaps this one, says nothing of the dependency.
      if (!isRejection(error)) this.#circuit?.healthCheckFailed(error);
    } else if (this.#connection?.isIsolatedByOperator !== true) {
      this.#circuit?.healthCheckPassed();
    }
  }
}
