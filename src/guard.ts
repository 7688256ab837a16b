import type OpossumBreaker from "opossum";
import { Circuit, type CircuitCall } from "./circuit.js";
import { CircuitRules, type CircuitTransition } from "./circuit-rules.js";
import { CircuitSync } from "./circuit-sync.js";
import { now } from "./clock.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import type { BulkheadError } from "./errors.js";
import type { Tell } from "./events.js";
import { FailureRate } from "./failure-rate.js";
import { HealthCheck } from "./health-check.js";
import { RollingWindow } from "./opossum.js";
import { circuitOpenError, isolationError } from "./refusals.js";
import { BulkheadState } from "./state.js";
import type { RejectionReason } from "./stats.js";
import type { CircuitStatus, CircuitStorage } from "./storage/storage.js";
import { StoredCircuit } from "./storage/stored-circuit.js";

/** The generation of calls that no circuit guards: their verdicts and their places count nowhere. */
const UNGUARDED = -1;

/** Tells calls that were dismissed, and the listeners, each with an error of its own. */
export type TellDismissed = (makeError: (call: CircuitCall) => BulkheadError) => void;

export interface GuardHooks {
  readonly tell: Tell;
  /** The calls that wait must go; they hear of it when the returned function is called. */
  readonly onClosed: (reason: RejectionReason) => TellDismissed;
  /** The storage has answered: the calls that waited for it are to be admitted anew, or must go. */
  readonly onJudged: () => TellDismissed;
  /** The calls that wait may start, as far as permits are free. */
  readonly onOpened: () => void;
}

interface UntoldChange {
  readonly transition: CircuitTransition;
  tellDismissed: TellDismissed | undefined;
}

/**
 * Knows whether calls may go to the dependency: isolation by hand, the circuit with its storage, and
 * the health check that moves it.
 */
export class Guard {
  readonly #config: ResolvedBulkheadConfig;
  readonly #hooks: GuardHooks;
  readonly #rules: CircuitRules | undefined;
  /** Known from the start when the rules count by it. */
  readonly #window: RollingWindow | undefined;
  /** Made for the first call, or whoever asks for it: an idle bulkhead is small. */
  #circuit: Circuit | undefined = undefined;
  readonly #sync: CircuitSync | undefined;
  readonly #healthCheck: HealthCheck | undefined;
  /** Changes of the circuit that have taken effect, and are still to be told. */
  readonly #untold: UntoldChange[] = [];
  #isTelling = false;
  /** No call will come any more. */
  #isOver = false;
  #isolation: { readonly reason: string | null } | undefined = undefined;

  constructor(
    config: ResolvedBulkheadConfig,
    storage: CircuitStorage | undefined,
    hooks: GuardHooks,
  ) {
    this.#config = config;
    this.#hooks = hooks;
    if (config.circuitBreakerEnabled) {
      if (config.failureRateThreshold !== null) this.#window = newWindow(config);
      const rate = this.#window === undefined ? undefined : new FailureRate(this.#window);
      this.#rules = new CircuitRules(config, rate, {
        shared: storage !== undefined,
        onTransition: (transition) => this.#onTransition(transition),
        onClaim: () => this.#sync?.claim(),
        onProbeSuccess: () => this.#sync?.renew(),
      });
      if (storage !== undefined) {
        this.#sync = new CircuitSync(new StoredCircuit(storage, config.name), this.#rules, {
          onError: (error) => hooks.tell("storageError", error),
          onAnswer: hooks.onOpened,
        });
      }
    }
    this.#healthCheck = this.#startHealthCheck();
  }

  get breaker(): OpossumBreaker | undefined {
    return this.#anyCircuit?.breaker;
  }

  get #anyCircuit(): Circuit | undefined {
    if (this.#circuit !== undefined || this.#rules === undefined) return this.#circuit;
    this.#circuit = new Circuit(this.#config, this.#rules, this.#window ?? newWindow(this.#config));
    if (this.#isOver) this.#circuit.shutdown();
    return this.#circuit;
  }

  get circuitStatus(): CircuitStatus | undefined {
    return this.#rules?.status;
  }

  /** Settles when the circuit is loaded, or could not be in time. Never rejects. */
  get ready(): Promise<void> | undefined {
    return this.#sync?.ready;
  }

  /** Whether admitted calls must wait for an answer of the storage. */
  get isAsking(): boolean {
    if (this.#sync === undefined) return false;
    return !this.#sync.isLoaded || this.#rules?.isClaiming === true;
  }

  /** The state of a bulkhead that is not shut down. */
  get state(): BulkheadState {
    const status = this.circuitStatus;
    if (this.#isolation !== undefined || status === "OPEN") return BulkheadState.ISOLATED;
    return status === "HALF_OPEN" ? BulkheadState.DEGRADED : BulkheadState.HEALTHY;
  }

  // The way of a call

  /** Moves the circuit on when its time has come. A listener may then close the bulkhead. */
  moveOn(): void {
    this.#rules?.moveOn();
  }

  /** The error for callers while the bulkhead is isolated by hand. */
  isolationRefusal(): BulkheadError | undefined {
    if (this.#isolation === undefined) return undefined;
    return isolationError(this.#config.name, this.#isolation.reason);
  }

  /** The circuit's generation that admits a call now, or 0 when the circuit refuses it. */
  admit(): number {
    if (this.#rules === undefined || this.#circuit?.enabled === false) return UNGUARDED;
    return this.#rules.admit();
  }

  /** The error for a call that the circuit refuses; opossum counts it. */
  circuitRefusal(call: CircuitCall, status = this.circuitStatus): BulkheadError {
    const seconds = this.#rules?.retryAfterSeconds ?? 0;
    const error = circuitOpenError(this.#config.name, status, seconds);
    this.#anyCircuit?.refused(call, error);
    return error;
  }

  run(call: CircuitCall): void {
    const circuit = this.#anyCircuit;
    if (circuit === undefined) call.invoke();
    else circuit.run(call);
  }

  succeeded(call: CircuitCall, result: unknown, time: number): void {
    this.#circuit?.succeeded(call, result, time);
  }

  failed(call: CircuitCall, error: unknown, time: number): void {
    this.#circuit?.failed(call, error, time, false);
  }

  timedOut(call: CircuitCall, error: unknown, time: number): void {
    this.#circuit?.failed(call, error, time, true);
  }

  /** An admitted call ended without a verdict on the dependency. */
  forgo(generation: number): void {
    this.#rules?.forgo(generation);
  }

  // Steering

  isolate(reason: string | null): void {
    this.#isolation = { reason };
    const tellDismissed = this.#hooks.onClosed("isolated");
    this.#hooks.tell("isolated", { reason });
    tellDismissed(() => isolationError(this.#config.name, reason));
  }

  release(): void {
    if (this.#isolation === undefined) return;
    this.#isolation = undefined;
    this.#hooks.tell("released");
  }

  stopHealthCheck(): void {
    this.#healthCheck?.stop();
  }

  /** Lets go of the storage. */
  async leaveStorage(): Promise<void> {
    await this.#sync?.close();
  }

  /** No call will come any more. */
  shutDownBreaker(): void {
    this.#isOver = true;
    if (this.#circuit?.isShutdown === false) this.#circuit.shutdown();
  }

  /** Everything takes effect first, also of a change that this one leads to; then they are told. */
  #onTransition(transition: CircuitTransition): void {
    const change: UntoldChange = { transition, tellDismissed: undefined };
    this.#untold.push(change);
    const isFirst = !this.#isTelling;
    this.#isTelling = true;
    this.#sync?.transition(transition);
    change.tellDismissed = this.#dismissWaiting(transition);
    if (!isFirst) return;
    for (let next = this.#untold.shift(); next !== undefined; next = this.#untold.shift()) {
      this.#tellTransition(next.transition, next.tellDismissed);
    }
    this.#isTelling = false;
  }

  #dismissWaiting({ to, origin, endsClaim }: CircuitTransition): TellDismissed | undefined {
    if (to === "CLOSED" || this.#circuit?.enabled === false) return undefined;
    const wasAwaited = origin === "storage" && (endsClaim || this.#sync?.isLoaded === false);
    return wasAwaited ? this.#hooks.onJudged() : this.#hooks.onClosed("circuitOpen");
  }

  /** In the order of the changes, also when a listener makes the next one. */
  #tellTransition(transition: CircuitTransition, tellDismissed: TellDismissed | undefined): void {
    const { from, to, reason } = transition;
    if (from !== to) {
      this.#hooks.tell("stateChange", { from, to, reason });
      this.#circuit?.announce(to);
    }
    tellDismissed?.((call) => this.circuitRefusal(call, to));
    if (to === "CLOSED") this.#hooks.onOpened();
  }

  #startHealthCheck(): HealthCheck | undefined {
    const { healthCheck: check, healthCheckInterval, timeoutSeconds } = this.#config;
    if (check === undefined) return undefined;
    return new HealthCheck({
      check,
      intervalMs: healthCheckInterval * 1000,
      timeoutMs: timeoutSeconds === null ? null : timeoutSeconds * 1000,
      onVerdict: (healthy, error) => {
        this.#hooks.tell("healthCheck", { healthy, error });
        if (!healthy) this.#rules?.healthCheckFailed();
        else if (this.#sync?.isHeld !== true) this.#rules?.healthCheckPassed();
      },
    });
  }
}

function newWindow({ windowSeconds }: ResolvedBulkheadConfig): RollingWindow {
  return new RollingWindow(windowSeconds * 1000, now());
}
