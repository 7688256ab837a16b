import { now } from "./clock.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import type { FailureRate } from "./failure-rate.js";
import type { CircuitStatus } from "./storage/storage.js";

/** A change that the circuit has just made. `from` and `to` can be equal: a lease changed hands. */
export interface CircuitTransition {
  readonly from: CircuitStatus;
  readonly to: CircuitStatus;
  /** In words. */
  readonly reason: string;
  readonly origin: TransitionOrigin;
  /** Failures in a row that led to it. */
  readonly failures: number;
  /** Whether calls waited for the answer to this process's claim, which this is. */
  readonly endsClaim: boolean;
}

/**
 * Where a change came from: a call's verdict or a health check of this process, a hand, the clock,
 * or the storage, that is another process.
 */
export type TransitionOrigin = "verdict" | "hand" | "clock" | "storage";

/**
 * - `ours`: this process probes, until its lease runs out
 * - `claiming`: this process has asked the storage for the lease; its probes wait for the answer
 * - `elsewhere`: another process probes, or nobody does since its lease ran out
 */
type Prober = "ours" | "claiming" | "elsewhere";

type State =
  | { readonly status: "CLOSED"; failures: number }
  | { readonly status: "OPEN"; until: number }
  | HalfOpen;

interface HalfOpen {
  readonly status: "HALF_OPEN";
  prober: Prober;
  /**
   * When the lease runs out, on the monotonic clock. The lease of a private circuit begins with its first
   * probe, and again with each success.
   */
  until: number;
  /** How many more probes may be admitted. */
  places: number;
  successes: number;
}

/** Everything that changes in {@link CircuitRules} but the failure rate. */
export interface CircuitSnapshot {
  readonly state: Readonly<State>;
  readonly generation: number;
}

export interface CircuitRulesHooks {
  /** Whether other processes share the circuit: then a probe needs the storage's lease. */
  readonly shared: boolean;
  /** Told of each change, after it is made. */
  readonly onTransition: (transition: CircuitTransition) => void;
  /** Asked for the lease; answers with `claimed()` or by adopting what the storage has. */
  readonly onClaim: () => void;
  /** Told of each probe that succeeded, but was not the last one needed. */
  readonly onProbeSuccess: () => void;
}

/**
 * The lease of the probes of a private circuit: after it the next calls probe as well, otherwise probes
 * that never settle would keep the circuit half-open for good.
 */
const PRIVATE_LEASE_MS = 30_000;

/**
 * The rules of a circuit: what opens it, how it probes, when it closes. Its state is one union, and every
 * change of its status goes through `#become`; what is counted within a status is changed in place. No
 * timer moves it: it moves on when somebody looks.
 */
export class CircuitRules {
  readonly #config: ResolvedBulkheadConfig;
  readonly #rate: FailureRate | undefined;
  readonly #hooks: CircuitRulesHooks;
  #state: State = { status: "CLOSED", failures: 0 };
  /** Goes up with every change: a verdict on a call of an older generation moves nothing. */
  #generation = 1;
  /** By the clock on the wall, as opossum tells it. */
  #openedAt: number | undefined = undefined;

  constructor(
    config: ResolvedBulkheadConfig,
    rate: FailureRate | undefined,
    hooks: CircuitRulesHooks,
  ) {
    this.#config = config;
    this.#rate = rate;
    this.#hooks = hooks;
  }

  get status(): CircuitStatus {
    return this.#current().status;
  }

  /** Whether another probe may come. */
  get hasPlace(): boolean {
    const state = this.#current();
    return state.status === "HALF_OPEN" && (state.places > 0 || now() >= state.until);
  }

  /** When the circuit opened last, in milliseconds of the epoch. */
  get openedAt(): number | undefined {
    return this.#openedAt;
  }

  /** Whether admitted calls must wait for the storage's answer before they start. */
  get isClaiming(): boolean {
    return this.#state.status === "HALF_OPEN" && this.#state.prober === "claiming";
  }

  /** Whether this process probes under a lease that has not run out. */
  get isProbing(): boolean {
    const state = this.#state;
    return state.status === "HALF_OPEN" && state.prober === "ours" && now() < state.until;
  }

  /** How many probes have succeeded, when this process has the lease. */
  get successesUnderLease(): number | undefined {
    const state = this.#state;
    return state.status === "HALF_OPEN" && state.prober === "ours" ? state.successes : undefined;
  }

  /** Seconds until a probe may be let through, as far as is known; 0 while probes are under way here. */
  get retryAfterSeconds(): number {
    const state = this.#state;
    if (state.status === "CLOSED") return 0;
    if (state.status === "HALF_OPEN" && state.prober !== "elsewhere") return 0;
    return Math.max(0, state.until - now()) / 1000;
  }

  /** Opens the circuit for `isolationDuration`. Does nothing when it is open. */
  open(reason: string, origin: TransitionOrigin): void {
    if (this.#current().status === "OPEN") return;
    const until = now() + this.#config.isolationDuration * 1000;
    this.#become({ status: "OPEN", until }, reason, origin);
  }

  /** Closes the circuit. Does nothing when it is closed. */
  close(reason: string, origin: TransitionOrigin): void {
    if (this.#current().status === "CLOSED") return;
    this.#become({ status: "CLOSED", failures: 0 }, reason, origin);
  }

  /** Opens the circuit because a health check failed. Does nothing when it is open. */
  healthCheckFailed(): void {
    this.open("the health check failed", "verdict");
  }

  /** Lets probes through before the isolation is over. Does nothing unless the circuit is open. */
  healthCheckPassed(): void {
    if (this.#current().status !== "OPEN") return;
    this.#become(this.#halfOpened(), "the health check passed", "verdict");
  }

  // What the storage says

  /**
   * The storage gave the lease that `onClaim` asked for; or it did not answer, and this process probes under
   * a lease of its own.
   * @param successes of probes, as far as the storage knows of them
   */
  claimed(leaseMs: number, successes?: number): void {
    const state = this.#state;
    if (state.status !== "HALF_OPEN" || state.prober !== "claiming") return;
    state.prober = "ours";
    state.until = now() + leaseMs;
    if (successes === undefined) return;
    const known = this.#passable(successes);
    state.places += state.successes - known;
    state.successes = known;
  }

  /** This process goes on having the lease. */
  renewed(leaseMs: number): void {
    const state = this.#state;
    if (state.status === "HALF_OPEN" && state.prober === "ours") state.until = now() + leaseMs;
  }

  /** The storage took this process's opening, and counts the isolation by its own clock. */
  isolatedFor(isolationMs: number): void {
    if (this.#state.status === "OPEN") this.#state.until = now() + isolationMs;
  }

  openedElsewhere(isolationMs: number, reason: string): void {
    this.#become({ status: "OPEN", until: now() + isolationMs }, reason, "storage");
  }

  closedElsewhere(reason: string): void {
    if (this.#state.status === "CLOSED") return;
    this.#become({ status: "CLOSED", failures: 0 }, reason, "storage");
  }

  /** Another process holds the probe lease for `leaseMs` more, or nobody does when it is 0. */
  probedElsewhere(leaseMs: number, successes: number, reason: string): void {
    this.#become(halfOpen("elsewhere", now() + leaseMs, 0, successes), reason, "storage");
  }

  // For the model of the fleet, which goes back to states that it has seen

  save(): CircuitSnapshot {
    return { state: { ...this.#state }, generation: this.#generation };
  }

  restore({ state, generation }: CircuitSnapshot): void {
    this.#state = { ...state };
    this.#generation = generation;
  }

  // The way of a call

  /** Moves the circuit on when the isolation is over. */
  moveOn(): void {
    this.#current();
  }

  /** The generation that admits a call now, or 0 when the circuit refuses it. */
  admit(): number {
    const state = this.#current();
    if (state.status === "CLOSED") return this.#generation;
    if (state.status === "OPEN") return 0;
    if (!this.#hooks.shared) return this.#admitPrivateProbe(state);
    if (now() >= state.until) {
      const successes = this.#passable(state.successes);
      const places = this.#config.successThreshold - successes - 1;
      const claiming = halfOpen("claiming", Number.POSITIVE_INFINITY, places, successes);
      this.#become(claiming, "the probe lease is free", "clock");
      this.#hooks.onClaim();
      return this.#generation;
    }
    if (state.places <= 0) return 0;
    state.places--;
    return this.#generation;
  }

  /**
   * No other process probes a private circuit. So the verdicts of probes that outlive the lease still
   * count; otherwise a dependency that takes longer than the lease could never close the circuit.
   */
  #admitPrivateProbe(state: HalfOpen): number {
    const time = now();
    if (time >= state.until) {
      state.places = this.#config.successThreshold - state.successes;
      state.until = Number.POSITIVE_INFINITY;
    }
    if (state.places <= 0) return 0;
    state.places--;
    if (state.until === Number.POSITIVE_INFINITY) state.until = time + PRIVATE_LEASE_MS;
    return this.#generation;
  }

  /** An admitted call ends without a verdict: if it was a probe, the next call has its place. */
  forgo(generation: number): void {
    const state = this.#state;
    if (state.status !== "HALF_OPEN" || generation !== this.#generation) return;
    state.places = Math.min(state.places + 1, this.#config.successThreshold - state.successes);
  }

  /** Whether a verdict at `time` on a call of that generation moves the circuit. */
  counts(generation: number, time: number): boolean {
    const state = this.#state;
    if (generation !== this.#generation) return false;
    return state.status !== "HALF_OPEN" || !this.#hooks.shared || time < state.until;
  }

  /** A call has succeeded, whose verdict {@link counts}. */
  countSuccess(): void {
    const state = this.#state;
    if (state.status === "CLOSED") {
      state.failures = 0;
      this.#rate?.count(false);
      this.#openByRate();
    } else if (state.status === "HALF_OPEN") {
      state.successes++;
      const { successThreshold } = this.#config;
      if (state.successes === successThreshold) {
        const reason = `${successThreshold} of ${successThreshold} probes succeeded`;
        this.#become({ status: "CLOSED", failures: 0 }, reason, "verdict");
      } else {
        if (!this.#hooks.shared) state.until = now() + PRIVATE_LEASE_MS;
        this.#hooks.onProbeSuccess();
      }
    }
  }

  /** One more probe at least is to be seen here, whatever others ask for. */
  #passable(successes: number): number {
    return Math.max(0, Math.min(successes || 0, this.#config.successThreshold - 1));
  }

  /** A call has failed, whose verdict {@link counts}. */
  countFailure(): void {
    const state = this.#state;
    if (state.status === "HALF_OPEN") {
      this.open("a probe failed", "verdict");
    } else if (state.status === "CLOSED") {
      state.failures++;
      this.#rate?.count(true);
      if (state.failures >= this.#config.failureThreshold) {
        this.open(`${state.failures} failures in a row`, "verdict");
      } else {
        this.#openByRate();
      }
    }
  }

  #openByRate(): void {
    const { failureRateThreshold, minimumCalls, windowSeconds } = this.#config;
    if (this.#rate === undefined || failureRateThreshold === null) return;
    const { calls, failures } = this.#rate.total();
    if (calls >= minimumCalls && failures * 100 >= calls * failureRateThreshold) {
      this.open(`${failures} of ${calls} calls failed within ${windowSeconds} s`, "verdict");
    }
  }

  get #failures(): number {
    const state = this.#state;
    return state.status === "CLOSED" ? state.failures : 1;
  }

  /** The state, moved on when its time has come. */
  #current(): State {
    if (this.#state.status === "OPEN" && isOver(this.#state.until)) {
      this.#become(this.#halfOpened(), "the isolation is over", "clock");
    }
    return this.#state;
  }

  #halfOpened(): State {
    return this.#hooks.shared
      ? halfOpen("elsewhere", now(), 0, 0)
      : halfOpen("ours", Number.POSITIVE_INFINITY, this.#config.successThreshold, 0);
  }

  #become(state: State, reason: string, origin: TransitionOrigin): void {
    const { status: from } = this.#state;
    const failures = this.#failures;
    const endsClaim = this.isClaiming;
    this.#state = state;
    this.#generation++;
    if (state.status === "OPEN") this.#openedAt = Date.now();
    this.#rate?.reset();
    this.#hooks.onTransition({ from, to: state.status, reason, origin, failures, endsClaim });
  }
}

/**
 * A Node timer can fire up to a millisecond early by the monotonic clock: whoever sleeps for the whole
 * isolation must find it over.
 */
function isOver(until: number): boolean {
  return until - now() < 1;
}

function halfOpen(prober: Prober, until: number, places: number, successes: number): State {
  return { status: "HALF_OPEN", prober, until, places, successes };
}
