import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { CircuitStatus } from "../storage/circuit-storage.js";
import { isolationMs } from "./isolation.js";
import { ConsecutiveFailures, type OpeningRule } from "./opening-rules.js";
import {
  changeProbes,
  clampSuccesses,
  halfOpen,
  returnProbe,
  setSuccesses,
  takePrivateProbe,
  takeProbe,
} from "./probes.js";
import type { CircuitHooks, CircuitSnapshot, State, TransitionOrigin } from "./transition.js";

interface OpeningOptions {
  /** The failure that led to it. */
  readonly cause?: unknown;
  /** The length of this isolation. Default: as configured. */
  readonly durationMs?: number | undefined;
}

/**
 * A circuit: what opens it, how it probes, when it closes. A pure state machine without I/O and without a timer:
 * it changes when it is used or read.
 *
 * What happens       | CLOSED                     | OPEN                     | HALF_OPEN
 * -------------------|----------------------------|--------------------------|-------------------------------------
 * a call arrives     | admitted                   | rejected                 | admitted while probes are left
 * a success          | recorded; a rate may open  | ignored                  | counted; the last needed one closes
 * a failure          | recorded; a rule may open  | ignored                  | opens
 * no verdict (drop)  | ignored                    | ignored                  | the next call gets the probe's place
 * isolation is over  | -                          | HALF_OPEN                | -
 * probe lease is over| -                          | -                        | the next calls probe; shared: the
 *                    |                            |                          | next one acquires the lease first
 * health check fails | opens                      | ignored                  | opens
 * health check passes| ignored                    | HALF_OPEN                | ignored
 * manual open, close | opens, ignored             | ignored, closes          | opens, closes
 * another process    | follows it                 | follows it               | follows it
 * probes alone       | -                          | HALF_OPEN                | anew, without the shared lease
 *
 * A success, a failure or a drop of a call that was admitted before the last transition is ignored in every
 * state. In a shared circuit, so is the verdict of a probe whose lease is over.
 *
 * Its state is one union. Every change of its status goes through `#transitionTo`; what is counted within a
 * status is changed in place.
 */
export class Circuit {
  readonly #config: ResolvedBulkheadConfig;
  readonly #consecutiveFailures: ConsecutiveFailures;
  #openingRules: readonly OpeningRule[];
  readonly #hooks: CircuitHooks;
  #state: State = { status: "CLOSED" };
  /** Goes up with each change of the circuit: an older call's verdict moves nothing. */
  #generation = 0;
  /** How many times it has opened since it was closed last. */
  #openings = 0;
  /** And since it was created, whatever the reason. */
  #allOpenings = 0;
  #lastFailure: unknown = undefined;
  /** The failure that opened the circuit in this process; `undefined` while it is closed. */
  #cause: unknown = undefined;
  /** By the clock on the wall, as opossum has it. */
  #openedAt: number | undefined = undefined;

  /** @param openingRules beside the one that counts consecutive failures */
  constructor(
    config: ResolvedBulkheadConfig,
    openingRules: readonly OpeningRule[],
    hooks: CircuitHooks,
  ) {
    this.#config = config;
    this.#consecutiveFailures = new ConsecutiveFailures(config);
    this.#openingRules = [this.#consecutiveFailures, ...openingRules];
    this.#hooks = hooks;
  }

  /** @param openingRules beside the one that counts consecutive failures */
  set openingRules(openingRules: readonly OpeningRule[]) {
    this.#openingRules = [this.#consecutiveFailures, ...openingRules];
  }

  get status(): CircuitStatus {
    return this.#current().status;
  }

  /** When the circuit opened last, in milliseconds of the epoch. */
  get openedAt(): number | undefined {
    return this.#openedAt;
  }

  /** How many times the circuit has opened since it was closed last; manual openings do not count. */
  get openings(): number {
    return this.#openings;
  }

  /** How many times the circuit has opened since it was created. */
  get allOpenings(): number {
    return this.#allOpenings;
  }

  /** How many hosts have to vote before the circuit opens for all. */
  get openQuorum(): number {
    return this.#config.openQuorum;
  }

  get consecutiveFailures(): number {
    return this.#consecutiveFailures.count;
  }

  /** The failure that opened the circuit in this process, if it is not closed and one did. */
  get cause(): unknown {
    return this.#cause;
  }

  /** Whether admitted calls must wait for the storage's answer before they start. */
  get isAcquiringLease(): boolean {
    return this.#state.status === "HALF_OPEN" && this.#state.prober === "acquiring";
  }

  /** Whether this process probes under a lease that has not run out. Alone it has none before its first probe. */
  get isProbing(): boolean {
    const state = this.#state;
    if (state.status !== "HALF_OPEN" || state.prober !== "ours") return false;
    return now() < state.until && state.until < Number.POSITIVE_INFINITY;
  }

  /** How many probes have succeeded, when this process has the lease. */
  get successesUnderLease(): number | undefined {
    const state = this.#state;
    return state.status === "HALF_OPEN" && state.prober === "ours" ? state.successes : undefined;
  }

  /**
   * Seconds until a call is admitted at the latest, as far as is known: the rest of the isolation, or of the
   * lease of the probes that are under way. A client that waits for that long is not rejected again.
   */
  get retryAfterSeconds(): number {
    const state = this.#state;
    if (state.status === "CLOSED") return 0;
    if (state.status === "HALF_OPEN" && state.probesLeft > 0) return 0;
    const left = Number.isFinite(state.until) ? state.until - now() : this.#hooks.leaseMs;
    return Math.max(0, left) / 1000;
  }

  /** Opens the circuit, for `isolationDuration` unless its length is given. Does nothing when it is open. */
  open(reason: string, origin: TransitionOrigin, { cause, durationMs }: OpeningOptions = {}): void {
    if (this.#current().status === "OPEN") return;
    // A manual opening, and one of a length of its own, says nothing of how the last isolation served.
    const isPrescribed = durationMs !== undefined;
    const counts = origin !== "manual" && !isPrescribed;
    if (counts) this.#openings++;
    const { isolationDuration } = this.#config;
    const until =
      now() + (durationMs ?? isolationMs(isolationDuration, counts ? this.#openings : 1));
    this.#transitionTo({ status: "OPEN", until }, reason, origin, cause, isPrescribed);
  }

  /** Closes the circuit. Does nothing when it is closed. */
  close(reason: string, origin: TransitionOrigin): void {
    if (this.#current().status === "CLOSED") return;
    this.#transitionTo({ status: "CLOSED" }, reason, origin);
  }

  /** Opens the circuit because a health check failed. Does nothing when it is open. */
  healthCheckFailed(error: unknown): void {
    this.open("the health check failed", "verdict", { cause: error });
  }

  /** Lets probes through before the isolation is over. Does nothing unless the circuit is open. */
  healthCheckPassed(): void {
    if (this.#current().status !== "OPEN") return;
    this.#transitionTo(this.#halfOpened(), "the health check passed", "verdict");
  }

  // What the storage answered

  /**
   * The storage granted the requested lease; or it did not answer, and this process probes under
   * a lease of its own.
   * @param successes of probes, as far as the storage knows
   * @param openings since the circuit was closed last, as far as the storage knows
   */
  leaseGranted(leaseMs: number, successes?: number, openings = this.#openings): void {
    const state = this.#state;
    if (state.status !== "HALF_OPEN" || state.prober !== "acquiring") return;
    state.prober = "ours";
    state.until = now() + leaseMs;
    // This process may have opened it more often while the storage was away.
    this.#openings = Math.max(this.#openings, openings);
    if (successes !== undefined) {
      setSuccesses(state, successes, this.#config.successThreshold);
    }
  }

  /** This process keeps the lease. */
  leaseRenewed(leaseMs: number): void {
    const state = this.#state;
    if (state.status === "HALF_OPEN" && state.prober === "ours") state.until = now() + leaseMs;
  }

  /** The storage recorded this process's opening; the isolation ends by the storage's clock. */
  applyIsolation(isolationMs: number): void {
    if (this.#state.status === "OPEN") this.#state.until = now() + isolationMs;
  }

  /** @param openings of the circuit since it was closed last, as far as the storage knows */
  applyRemoteOpen(isolationMs: number, reason: string, openings = this.#openings): void {
    this.#openings = openings;
    this.#transitionTo({ status: "OPEN", until: now() + isolationMs }, reason, "storage");
  }

  applyRemoteClose(reason: string): void {
    if (this.#state.status === "CLOSED") return;
    this.#transitionTo({ status: "CLOSED" }, reason, "storage");
  }

  /** Another process holds the probe lease for `leaseMs` more, or no process does when it is 0. */
  applyRemoteProbing(
    leaseMs: number,
    successes: number,
    reason: string,
    openings = this.#openings,
  ): void {
    this.#openings = openings;
    this.#transitionTo(halfOpen("elsewhere", now() + leaseMs, 0, successes), reason, "storage");
  }

  /** The record is closed, but this process opened its circuit itself, and probes until its own probes close it. */
  probeAlone(reason: string): void {
    this.#transitionTo(this.#halfOpenedAlone(), reason, "storage");
  }

  /** `successThreshold` has changed by `difference`: so many more probes are admitted, or fewer. */
  changeProbes(difference: number): void {
    if (this.#state.status === "HALF_OPEN") changeProbes(this.#state, difference);
  }

  // For the model of the fleet, which goes back to states that it has seen

  save(): CircuitSnapshot {
    return { state: { ...this.#state }, generation: this.#generation, openings: this.#openings };
  }

  restore({ state, generation, openings }: CircuitSnapshot): void {
    this.#openings = openings;
    this.#state = { ...state };
    this.#generation = generation;
  }

  // The path of a call

  /** Moves the circuit on when the isolation is over. */
  refresh(): void {
    this.#current();
  }

  /** Admits a call, as a probe when the circuit is half-open, and sets its generation. */
  tryAcquire(call: { generation: number }): boolean {
    if (!this.#canAdmit()) return false;
    call.generation = this.#generation;
    return true;
  }

  #canAdmit(): boolean {
    const state = this.#current();
    if (state.status === "CLOSED") return true;
    if (state.status === "OPEN") return false;
    const { successThreshold } = this.#config;
    if (!this.#hooks.isShared())
      return takePrivateProbe(state, successThreshold, this.#hooks.leaseMs);
    if (now() >= state.until) {
      const successes = clampSuccesses(state.successes, successThreshold);
      const places = successThreshold - successes - 1;
      const acquiring = halfOpen("acquiring", Number.POSITIVE_INFINITY, places, successes);
      this.#transitionTo(acquiring, "the probe lease is free", "clock");
      this.#hooks.onLeaseNeeded();
      return true;
    }
    return takeProbe(state);
  }

  /** An admitted call ends without a verdict: if it was a probe, the next call gets its place. */
  drop(generation: number): void {
    const state = this.#state;
    if (state.status !== "HALF_OPEN" || generation !== this.#generation) return;
    returnProbe(state, this.#config.successThreshold);
  }

  /** Whether a verdict at `time` on a call of that generation moves the circuit. */
  isCurrent(generation: number, time: number): boolean {
    const state = this.#state;
    if (generation !== this.#generation) return false;
    return state.status !== "HALF_OPEN" || !this.#hooks.isShared() || time < state.until;
  }

  /** Records a success that {@link isCurrent}. */
  recordSuccess(): void {
    const state = this.#state;
    if (state.status === "CLOSED") {
      let reason: string | undefined;
      for (const rule of this.#openingRules) reason ??= rule.recordSuccess();
      if (reason !== undefined) this.open(reason, "verdict", { cause: this.#lastFailure });
    } else if (state.status === "HALF_OPEN") {
      state.successes++;
      const { successThreshold } = this.#config;
      if (state.successes >= successThreshold) {
        const reason = `${successThreshold} of ${successThreshold} probes succeeded`;
        this.#transitionTo({ status: "CLOSED" }, reason, "verdict");
      } else {
        if (!this.#hooks.isShared()) state.until = now() + this.#hooks.leaseMs;
        this.#hooks.onProbeSuccess();
      }
    }
  }

  /**
   * Records a failure that {@link isCurrent}.
   * @param retryAfterSeconds the pause that the dependency asked for: it opens the circuit at once for that long
   */
  recordFailure(error: unknown, retryAfterSeconds?: number): void {
    const { status } = this.#state;
    this.#lastFailure = error;
    let reason: string | undefined;
    if (status === "CLOSED") {
      for (const rule of this.#openingRules) reason ??= rule.recordFailure();
    } else if (status === "HALF_OPEN") {
      reason = "a probe failed";
    }
    const durationMs = retryAfterSeconds === undefined ? undefined : retryAfterSeconds * 1000;
    if (durationMs !== undefined) {
      reason = `the dependency asked to retry after ${retryAfterSeconds} s`;
    }
    if (reason !== undefined) this.open(reason, "verdict", { cause: error, durationMs });
  }

  /** The state, moved on when its time has come. */
  #current(): State {
    if (this.#state.status === "OPEN" && isOver(this.#state.until)) {
      this.#transitionTo(this.#halfOpened(), "the isolation is over", "clock");
    }
    return this.#state;
  }

  #halfOpened(): State {
    return this.#hooks.isShared() ? halfOpen("elsewhere", now(), 0, 0) : this.#halfOpenedAlone();
  }

  #halfOpenedAlone(): State {
    return halfOpen("ours", Number.POSITIVE_INFINITY, this.#config.successThreshold, 0);
  }

  #transitionTo(
    state: State,
    reason: string,
    origin: TransitionOrigin,
    cause?: unknown,
    isPrescribed = false,
  ): void {
    const { status: from } = this.#state;
    const failures = from === "CLOSED" ? this.#consecutiveFailures.count : 1;
    const endsClaim = this.isAcquiringLease;
    this.#state = state;
    this.#generation++;
    if (state.status === "OPEN") {
      this.#openedAt = Date.now();
      if (from !== "OPEN") this.#allOpenings++;
    }
    // A half-open circuit is still the one that this failure opened.
    if (state.status !== "HALF_OPEN") this.#cause = cause;
    if (state.status === "CLOSED") this.#openings = 0;
    for (const rule of this.#openingRules) rule.reset();
    this.#hooks.onTransition({
      from,
      to: state.status,
      reason,
      origin,
      failures,
      cause,
      isPrescribed,
      endsLeaseRequest: endsClaim,
    });
  }
}

/**
 * A Node timer can fire up to a millisecond early by the monotonic clock: a caller that sleeps for the whole
 * isolation must find it over.
 */
function isOver(until: number): boolean {
  return until - now() < 1;
}
