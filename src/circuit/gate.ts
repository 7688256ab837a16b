import type CircuitBreaker from "opossum";
import { outsideRequests } from "../common/async-context.js";
import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { type BulkheadError, isRejection } from "../errors.js";
import type { Emit } from "../events.js";
import { circuitOpenError, isolationError } from "../rejections.js";
import { BulkheadState } from "../state.js";
import type { RejectionReason } from "../stats.js";
import type { CircuitStatus, CircuitStorage } from "../storage/circuit-storage.js";
import { Circuit } from "./circuit.js";
import { HealthCheck } from "./health-check.js";
import { FAILURE, type Verdict } from "./judge.js";
import {
  type CallCircuit,
  type CircuitCall,
  MonitoredCircuit,
  NO_CIRCUIT,
} from "./monitored-circuit.js";
import { NewestFailure } from "./newest-failure.js";
import { FailureRate, type OpeningRule } from "./opening-rules.js";
import { RollingWindow } from "./rolling-window.js";
import { SlowCalls } from "./slow-calls.js";
import { StorageConnection } from "./storage-connection.js";
import type { CircuitTransition } from "./transition.js";

/** A call on its way through the gate. */
export interface GatedCall extends CircuitCall {
  /** What has admitted the call. */
  circuit: CallCircuit;
  /** Runs `work` in the `AsyncLocalStorage` context of the call. */
  inContext<A extends unknown[]>(work: (...args: A) => void, self: unknown, ...args: A): void;
}

export interface GateHooks<C extends GatedCall> {
  readonly emit: Emit;
  /** The queued calls that are returned leave the queue, in their order. {@link onRejected} follows. */
  readonly onRejecting: (reason: RejectionReason) => readonly C[];
  /** The storage has answered: each queued call is admitted anew, or is returned as with {@link onRejecting}. */
  readonly onStorageAnswered: () => readonly C[];
  /** Rejects the caller of a call that has left the queue, and emits the event. */
  readonly onRejected: (call: C, reason: RejectionReason, error: BulkheadError) => void;
  /** Queued calls may start, as far as permits are free. */
  readonly onAdmitting: () => void;
  /** An operator has set these fields of the configuration in the storage, instead of those before. */
  readonly onSettings: (values: Readonly<Record<string, unknown>>) => void;
  /** The user has shut opossum's breaker down. */
  readonly onShutdown: () => void;
}

interface PendingChange<C> {
  readonly transition: CircuitTransition;
  /** Queued calls that the change has rejected. */
  rejected: readonly C[];
}

/**
 * Decides whether calls may go to the dependency: manual isolation, the circuit with its storage, and
 * the health check that moves it.
 */
export class Gate<C extends GatedCall> {
  readonly #config: ResolvedBulkheadConfig;
  readonly #hooks: GateHooks<C>;
  readonly #circuit: Circuit | undefined;
  readonly #window: RollingWindow;
  // Created when they are switched on first: most bulkheads need neither.
  #slowCalls: SlowCalls | undefined = undefined;
  #failureRate: FailureRate | undefined = undefined;
  /** `undefined` when `circuitBreakerEnabled` is `false`. */
  readonly #monitored: MonitoredCircuit | undefined;
  /** What admits calls now: the bypass while the user has disabled opossum's breaker. */
  #inUse: CallCircuit = NO_CIRCUIT;
  readonly #connection: StorageConnection | undefined = undefined;
  #healthCheck: HealthCheck | undefined;
  /** Changes of the circuit that have taken effect, and are not emitted yet. */
  readonly #pending: PendingChange<C>[] = [];
  readonly #lastFailure = new NewestFailure();
  #isNotifying = false;
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
    this.#window = new RollingWindow(config);
    if (config.circuitBreakerEnabled) {
      const connection =
        storage &&
        new StorageConnection(storage, config.name, config.enforce, {
          onError: (error) => hooks.emit("storageError", error),
          onAnswer: hooks.onAdmitting,
          onSettings: hooks.onSettings,
        });
      this.#connection = connection;
      this.#circuit = new Circuit(config, this.#openingRules, {
        get shared() {
          return connection?.needsLease === true;
        },
        leaseMs: (storage?.probeLeaseSeconds ?? 30) * 1000,
        onTransition: (transition) => this.#onTransition(transition),
        onLeaseNeeded: () => connection?.acquireLease(),
        onProbeSuccess: () => connection?.renewLease(),
      });
      this.#monitored = new MonitoredCircuit(
        config,
        this.#circuit,
        {
          window: this.#window,
          slowCalls: this.#slowCallsInUse,
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
    if (this.#slowCalls !== undefined && this.#inUse === this.#monitored) {
      this.#slowCalls.detect(this.#circuit, now());
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
    if (config.windowSeconds !== before.windowSeconds) this.#window.reschedule(now());
    if (this.#circuit !== undefined && this.#monitored !== undefined) {
      if (config.slowCallSeconds === null) this.#slowCalls?.reset();
      this.#monitored.slowCalls = this.#slowCallsInUse;
      this.#circuit.openingRules = this.#openingRules;
      this.#circuit.changeProbes(config.successThreshold - before.successThreshold);
      this.#monitored.createdBreaker?.reconfigure(config);
      if (config.enforce !== before.enforce && !isClosed) {
        this.#connection?.share(config.enforce, this.#circuit);
      }
    }
    const isSameCheck = HEALTH_CHECK_FIELDS.every((field) => config[field] === before[field]);
    if (isSameCheck || isClosed) return;
    this.#healthCheck?.stop();
    this.#healthCheck = outsideRequests(() => this.#startHealthCheck());
  }

  get #slowCallsInUse(): SlowCalls | undefined {
    if (this.#config.slowCallSeconds === null) return undefined;
    this.#slowCalls ??= new SlowCalls(this.#window, this.#config);
    return this.#slowCalls;
  }

  /** The rules besides the one of consecutive failures. */
  get #openingRules(): OpeningRule[] {
    const rules: OpeningRule[] = [];
    if (this.#config.failureRateThreshold !== null) {
      this.#failureRate ??= new FailureRate(this.#window, this.#config);
      rules.push(this.#failureRate);
    }
    const slowCalls = this.#slowCallsInUse;
    if (slowCalls !== undefined) rules.push(slowCalls);
    return rules;
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
    if (!enabled) this.#slowCalls?.reset();
  }

  /** Everything takes effect first, also of a change that this one leads to; events follow. */
  #onTransition(transition: CircuitTransition): void {
    const change: PendingChange<C> = { transition, rejected: [] };
    this.#pending.push(change);
    const isFirst = !this.#isNotifying;
    this.#isNotifying = true;
    this.#connection?.onTransition(transition);
    change.rejected = this.#rejectQueued(transition);
    if (isFirst) outsideRequests(() => this.#notify());
  }

  #rejectQueued({ to, origin, endsLeaseRequest: endsClaim }: CircuitTransition): readonly C[] {
    if (to === "CLOSED" || this.#inUse !== this.#monitored) return [];
    const wasAwaited = origin === "storage" && (endsClaim || this.#connection?.isLoading === true);
    return wasAwaited ? this.#hooks.onStorageAnswered() : this.#hooks.onRejecting("circuitOpen");
  }

  /** In the order of the changes, also when a listener makes the next one. */
  #notify(): void {
    for (let change = this.#pending.shift(); change !== undefined; change = this.#pending.shift()) {
      const { transition, rejected } = change;
      const { from, to, reason, cause } = transition;
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
    this.#isNotifying = false;
  }

  #rejectByCircuit(call: C, status: CircuitStatus): void {
    this.#hooks.onRejected(call, "circuitOpen", this.circuitRejection(call, status));
  }

  #startHealthCheck(): HealthCheck | undefined {
    const { healthCheck: check, healthCheckInterval, timeoutSeconds } = this.#config;
    if (check === undefined) return undefined;
    return new HealthCheck({
      check,
      intervalMs: healthCheckInterval * 1000,
      timeoutMs: timeoutSeconds === null ? null : timeoutSeconds * 1000,
      onVerdict: (healthy, error) => this.#onHealthCheck(healthy, error),
    });
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

const HEALTH_CHECK_FIELDS = ["healthCheck", "healthCheckInterval", "timeoutSeconds"] as const;
