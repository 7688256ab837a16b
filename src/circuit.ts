import type OpossumBreaker from "opossum";
import { now } from "./clock.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import { announce, warnOnce } from "./events.js";
import { FailureRate } from "./failure-rate.js";
import { BreakerBase, COUNTED_EVENTS, RollingWindow } from "./opossum.js";
import type { CircuitStatus } from "./storage/storage.js";

/** A call as the circuit sees it. */
export interface CircuitCall {
  /** What the function is called with. */
  readonly args: readonly unknown[];
  /** What the caller gave. */
  readonly givenArgs: readonly unknown[];
  /** The generation that admitted the call. */
  readonly generation: number;
  readonly startedAt: number;
  /** What opossum waits for in the place of a promise. */
  verdict: Verdict | undefined;
  /** What opossum's `fire` returned. */
  fired: Promise<unknown> | undefined;
  /** Runs the function. Must not throw; the result is reported after it has returned. */
  invoke(): void;
}

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
  | {
      readonly status: "HALF_OPEN";
      prober: Prober;
      /** When the lease runs out, on the monotonic clock. A private circuit's lease never does. */
      until: number;
      /** How many more probes may be admitted. */
      places: number;
      successes: number;
    };

export interface CircuitOptions {
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
 * An opossum breaker with rules of its own: failures in a row, several probes, a generation guard,
 * and no timers. Every call still goes through `fire`, so that opossum's events and figures are true.
 *
 * opossum decides by its public accessors (`closed`, `halfOpen`, `pendingClose`, `warmUp`) and changes
 * its state by `open()` and `close()`; this class overrides all of them and keeps the state itself.
 */
export class Circuit extends BreakerBase {
  readonly #config: ResolvedBulkheadConfig;
  readonly #window: RollingWindow;
  readonly #rate: FailureRate | undefined;
  readonly #hooks: CircuitOptions;
  #state: State = { status: "CLOSED", failures: 0 };
  /** Goes up with every change: a verdict on a call of an older generation moves nothing. */
  #generation = 1;
  /** By the clock on the wall, as opossum tells it. */
  #openedAt: number | undefined = undefined;
  /** The call that is being fired: its way through opossum's `fire` to the action is synchronous. */
  #firing: CircuitCall | undefined = undefined;
  /** A verdict is being given to opossum, which must not draw its own conclusion from it. */
  #judging = false;
  #excused = false;

  constructor(config: ResolvedBulkheadConfig, hooks: CircuitOptions) {
    const window = new RollingWindow(config.windowSeconds * 1000, now());
    super(() => this.#act(), {
      name: config.name,
      // Deadlines, permits and opening are this library's work.
      timeout: false,
      resetTimeout: config.isolationDuration * 1000,
      rollingCountTimeout: config.windowSeconds * 1000,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      status: window.status,
      errorFilter: () => this.#excused,
    });
    this.#config = config;
    this.#window = window;
    this.#rate = config.failureRateThreshold === null ? undefined : new FailureRate(window);
    this.#hooks = hooks;
    this.semaphore = NO_SEMAPHORE;
    // The window counts, and closing a half-open circuit on its first success is not our rule.
    for (const event of COUNTED_EVENTS) this.removeAllListeners(event);
    // The last of opossum's own starts the timer that would end the isolation.
    const startTimer = this.listeners("open").at(-1);
    if (startTimer !== undefined) this.off("open", startTimer as () => void);
  }

  /** This circuit as opossum's users know it. */
  get breaker(): OpossumBreaker {
    return this as unknown as OpossumBreaker;
  }

  // What opossum and its users read

  override get closed(): boolean {
    return this.circuitStatus === "CLOSED";
  }

  override get opened(): boolean {
    return this.circuitStatus === "OPEN";
  }

  override get halfOpen(): boolean {
    return this.circuitStatus === "HALF_OPEN";
  }

  /** opossum asks this before it runs a call while the circuit is not closed. */
  override get pendingClose(): boolean {
    if (this.#firing !== undefined) return true;
    const state = this.#current();
    return state.status === "HALF_OPEN" && state.places > 0;
  }

  /** opossum opens by its own percentage after a failure, unless it is told to be warming up. */
  override get warmUp(): boolean {
    return this.#judging;
  }

  override get status(): OpossumBreaker.Status {
    this.#window.advance(now());
    return super.status;
  }

  override get stats(): OpossumBreaker.Stats {
    return this.status.stats;
  }

  /** Says when the circuit opened: a breaker of opossum's own that is made from it ends the isolation then. */
  override toJSON(): { state: object; status: OpossumBreaker.Stats } {
    const { state, status } = super.toJSON();
    return { state: { ...state, lastTimerAt: this.#openedAt }, status };
  }

  /** A listener that throws inside opossum's handling of a result would turn it into a failure. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    this.#window.count(event);
    return this.listenerCount(event) > 0 && announce(this, event, args);
  }

  /** The events that opossum would listen to, as well: tools such as opossum-prometheus look for them here. */
  override eventNames(): Array<string | symbol> {
    return [...new Set([...COUNTED_EVENTS, ...super.eventNames()])];
  }

  // State

  get circuitStatus(): CircuitStatus {
    return this.#current().status;
  }

  /** Whether admitted calls must wait for the storage's answer before they start. */
  get isClaiming(): boolean {
    return this.#state.status === "HALF_OPEN" && this.#state.prober === "claiming";
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

  /** Opens the circuit for `isolationDuration`, by hand. Does nothing when it is open. */
  override open(): void {
    this.#open("opened by hand", "hand");
  }

  /** Closes the circuit, by hand. Does nothing when it is closed. */
  override close(): void {
    if (this.#current().status === "CLOSED") return;
    this.#become({ status: "CLOSED", failures: 0 }, "closed by hand", "hand");
  }

  /** Opens the circuit because a health check failed. Does nothing when it is open. */
  healthCheckFailed(): void {
    this.#open("the health check failed", "verdict");
  }

  /** Lets probes through before the isolation is over. Does nothing unless the circuit is open. */
  healthCheckPassed(): void {
    if (this.#current().status !== "OPEN") return;
    this.#become(this.#halfOpened(), "the health check passed", "verdict");
  }

  /** Emits opossum's event of a change. */
  announce(to: CircuitStatus): void {
    if (to === "CLOSED") this.emit("close");
    else if (to === "OPEN") this.emit("open");
    else this.emit("halfOpen", this.options.resetTimeout);
  }

  // What the storage says

  /**
   * The storage gave the lease that `onClaim` asked for; `Infinity` when it could not be reached.
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

  // The way of a call

  /** Moves the circuit on when the isolation is over. */
  moveOn(): void {
    this.#current();
  }

  /** The generation that admits a call now, or 0 when the circuit refuses it. */
  admit(): number {
    const state = this.#current();
    if (!this.enabled) return UNGUARDED;
    if (state.status === "CLOSED") return this.#generation;
    if (state.status === "OPEN") return 0;
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

  /** An admitted call ends without a verdict: if it was a probe, the next call has its place. */
  forgo(generation: number): void {
    const state = this.#state;
    if (state.status === "HALF_OPEN" && generation === this.#generation) state.places++;
  }

  /** Lets opossum count and tell a call that is refused, as its own `fire` would. */
  refused(call: CircuitCall, error: Error): void {
    this.#window.advance(now());
    this.emit("fire", call.givenArgs);
    this.emit("reject", error);
  }

  /** Runs the call through opossum. */
  run(call: CircuitCall): void {
    if (this.isShutdown) {
      call.invoke();
      return;
    }
    this.#window.advance(call.startedAt);
    const outer = this.#firing;
    this.#firing = call;
    call.fired = this.fire(...call.args);
    this.#firing = outer;
  }

  /** opossum's `fire` comes here. A call that is not a bulkhead's own must not count as a failure. */
  override call(context: unknown, ...args: unknown[]): Promise<unknown> {
    if (this.#firing !== undefined || this.isShutdown) return super.call(context, ...args);
    const message = "This breaker belongs to a bulkhead: call the bulkhead's execute() or run()";
    return Promise.reject(new TypeError(message));
  }

  #act(): Verdict {
    const verdict = new Verdict();
    const call = this.#firing;
    this.#firing = undefined;
    if (call !== undefined) {
      call.verdict = verdict;
      call.invoke();
    }
    return verdict;
  }

  succeeded(call: CircuitCall, value: unknown, time: number): void {
    const outer = this.#beginJudging(time);
    call.verdict?.succeed(value);
    this.#judging = outer;
    if (this.#counts(call, time)) this.#countSuccess();
  }

  /** @param timedOut whether the call was cut by its deadline */
  failed(call: CircuitCall, error: unknown, time: number, timedOut: boolean): void {
    const excused = this.#isExcused(error, call.args);
    const outer = this.#beginJudging(time);
    if (timedOut) this.emit("timeout", error, time - call.startedAt, call.args);
    this.#excused = excused;
    // The caller hears of the failure from the bulkhead; this promise is only opossum's.
    call.fired?.catch(ignore);
    call.verdict?.fail(error);
    this.#judging = outer;
    if (!this.#counts(call, time)) return;
    if (excused) this.#countSuccess();
    else this.#countFailure();
  }

  /** Until the flag is put back, opossum counts and tells a result without a conclusion of its own. */
  #beginJudging(time: number): boolean {
    this.#window.advance(time);
    const outer = this.#judging;
    this.#judging = true;
    return outer;
  }

  #counts(call: CircuitCall, time: number): boolean {
    const state = this.#state;
    if (call.generation !== this.#generation || !this.enabled) return false;
    return state.status !== "HALF_OPEN" || time < state.until;
  }

  #countSuccess(): void {
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
        this.#hooks.onProbeSuccess();
      }
    }
  }

  /** One more probe at least is to be seen here, whatever others ask for. */
  #passable(successes: number): number {
    return Math.max(0, Math.min(successes || 0, this.#config.successThreshold - 1));
  }

  #countFailure(): void {
    const state = this.#state;
    if (state.status === "HALF_OPEN") {
      this.#open("a probe failed", "verdict");
    } else if (state.status === "CLOSED") {
      state.failures++;
      this.#rate?.count(true);
      if (state.failures >= this.#config.failureThreshold) {
        this.#open(`${state.failures} failures in a row`, "verdict");
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
      this.#open(`${failures} of ${calls} calls failed within ${windowSeconds} s`, "verdict");
    }
  }

  #isExcused(error: unknown, args: readonly unknown[]): boolean {
    const { errorFilter } = this.#config;
    if (errorFilter === undefined) return false;
    try {
      const isExcused: unknown = errorFilter(error, ...args);
      if (!(isExcused instanceof Promise)) return Boolean(isExcused);
      isExcused.catch(ignore);
      throw new TypeError("it returned a promise, and an error cannot wait to be judged");
    } catch (thrown) {
      warnOnce(errorFilter, `errorFilter of bulkhead "${this.#config.name}"`, thrown);
      return false;
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

  #open(reason: string, origin: TransitionOrigin): void {
    if (this.#current().status === "OPEN") return;
    const until = now() + this.#config.isolationDuration * 1000;
    this.#become({ status: "OPEN", until }, reason, origin);
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

/** The generation of calls that no circuit guards: their verdicts and their places count nowhere. */
export const UNGUARDED = -1;

/** The permits are p-limit's. opossum's own semaphore, without a limit, makes a promise for each call. */
const NO_SEMAPHORE = {
  test: () => true,
  release: ignore,
  count: Number.MAX_SAFE_INTEGER,
};

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

/**
 * What opossum is given in the place of the function's promise. It attaches its handlers with
 * `.then(…).catch(…)`; calling them directly moves opossum in the same instant as the ledger.
 */
export class Verdict {
  #onSuccess: (value: unknown) => void = ignore;
  #onFailure: (error: unknown) => void = ignore;

  // biome-ignore lint/suspicious/noThenProperty: opossum takes a thenable for the call's promise
  then(onSuccess: (value: unknown) => void, onFailure?: (error: unknown) => void): this {
    this.#onSuccess = onSuccess;
    if (onFailure !== undefined) this.#onFailure = onFailure;
    return this;
  }

  catch(onFailure: (error: unknown) => void): this {
    this.#onFailure = onFailure;
    return this;
  }

  succeed(value: unknown): void {
    this.#onSuccess(value);
  }

  fail(error: unknown): void {
    this.#onFailure(error);
  }
}

function ignore(): void {}
