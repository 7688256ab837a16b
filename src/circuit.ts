import type OpossumBreaker from "opossum";
import type { CircuitRules } from "./circuit-rules.js";
import { now } from "./clock.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import { announce, warnOnce } from "./events.js";
import { BreakerBase, COUNTED_EVENTS, type RollingWindow } from "./opossum.js";
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
  /** Tell opossum how the call ended. */
  onSuccess: (value: unknown) => void;
  onFailure: (error: unknown) => void;
  /** What opossum's `fire` returned. */
  fired: Promise<unknown> | undefined;
  /** Runs the function. Must not throw; the result is reported after it has returned. */
  invoke(): void;
}

/**
 * An opossum breaker that is moved by {@link CircuitRules} and owns no timers. Every call still goes
 * through `fire`, so that opossum's events and figures are true.
 *
 * opossum decides by its public accessors (`closed`, `halfOpen`, `pendingClose`, `warmUp`) and changes
 * its state by `open()` and `close()`; this class overrides all of them.
 */
export class Circuit extends BreakerBase {
  readonly #rules: CircuitRules;
  readonly #config: ResolvedBulkheadConfig;
  readonly #window: RollingWindow;
  /** The call that is being fired: its way through opossum's `fire` to the action is synchronous. */
  #firing: CircuitCall | undefined = undefined;
  /** A verdict is being given to opossum, which must not draw its own conclusion from it. */
  #judging = false;
  #excused = false;
  /** The call whose handlers opossum is about to attach. */
  #acted: CircuitCall | undefined = undefined;
  /**
   * What opossum is given in the place of every function's promise. It attaches its handlers with
   * `.then(…).catch(…)` as soon as it has it; calling them directly moves opossum in the same instant as
   * the ledger.
   */
  readonly #promise = {
    // biome-ignore lint/suspicious/noThenProperty: opossum takes a thenable for the call's promise
    then: (onSuccess: (value: unknown) => void) => {
      if (this.#acted !== undefined) this.#acted.onSuccess = onSuccess;
      return this.#promise;
    },
    catch: (onFailure: (error: unknown) => void) => {
      if (this.#acted !== undefined) this.#acted.onFailure = onFailure;
      return this.#promise;
    },
  };

  constructor(config: ResolvedBulkheadConfig, rules: CircuitRules, window: RollingWindow) {
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
    this.#rules = rules;
    this.semaphore = NO_SEMAPHORE;
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
    return this.#rules.status === "CLOSED";
  }

  override get opened(): boolean {
    return this.#rules.status === "OPEN";
  }

  override get halfOpen(): boolean {
    return this.#rules.status === "HALF_OPEN";
  }

  /** opossum asks this before it runs a call while the circuit is not closed. */
  override get pendingClose(): boolean {
    return this.#firing !== undefined || this.#rules.hasPlace;
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
    return { state: { ...state, lastTimerAt: this.#rules.openedAt }, status };
  }

  /** A listener that throws inside opossum's handling of a result would turn it into a failure. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    this.#window.count(event);
    return this.listenerCount(event) > 0 && announce(this, event, args);
  }

  /**
   * What opossum would listen to itself, while it is constructed, the window counts; and closing a
   * half-open circuit on its first success is not our rule.
   */
  override on(event: string | symbol, listener: (...args: unknown[]) => void): this {
    const isOpossums = !(#window in this);
    return isOpossums && COUNTED_EVENTS.has(event) ? this : super.on(event, listener);
  }

  /** The events that opossum would listen to, as well: tools such as opossum-prometheus look for them here. */
  override eventNames(): Array<string | symbol> {
    return [...new Set([...COUNTED_EVENTS, ...super.eventNames()])];
  }

  /** Opens the circuit for `isolationDuration`, by hand. Does nothing when it is open. */
  override open(): void {
    this.#rules.open("opened by hand", "hand");
  }

  /** Closes the circuit, by hand. Does nothing when it is closed. */
  override close(): void {
    this.#rules.close("closed by hand", "hand");
  }

  /** Emits opossum's event of a change. */
  announce(to: CircuitStatus): void {
    if (to === "CLOSED") this.emit("close");
    else if (to === "OPEN") this.emit("open");
    else this.emit("halfOpen", this.options.resetTimeout);
  }

  // The way of a call

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
    const fired: unknown = this.fire(...call.args);
    this.#firing = outer;
    this.#acted = undefined;
    // A breaker that is disabled gives back what the function returned.
    if (fired instanceof Promise) call.fired = fired;
  }

  /** opossum's `fire` comes here. A call that is not a bulkhead's own must not count as a failure. */
  override call(context: unknown, ...args: unknown[]): Promise<unknown> {
    if (this.#firing !== undefined || this.isShutdown) return super.call(context, ...args);
    const message = "This breaker belongs to a bulkhead: call the bulkhead's execute() or run()";
    return Promise.reject(new TypeError(message));
  }

  #act(): unknown {
    const call = this.#firing;
    this.#firing = undefined;
    call?.invoke();
    this.#acted = call;
    return this.#promise;
  }

  succeeded(call: CircuitCall, value: unknown, time: number): void {
    const outer = this.#beginJudging(time);
    call.onSuccess(value);
    this.#judging = outer;
    if (this.#counts(call, time)) this.#rules.countSuccess();
  }

  /** @param timedOut whether the call was cut by its deadline */
  failed(call: CircuitCall, error: unknown, time: number, timedOut: boolean): void {
    const excused = this.#isExcused(error, call.args);
    const outer = this.#beginJudging(time);
    if (timedOut) this.emit("timeout", error, time - call.startedAt, call.args);
    this.#excused = excused;
    // The caller hears of the failure from the bulkhead; this promise is only opossum's.
    call.fired?.catch(ignore);
    call.onFailure(error);
    this.#judging = outer;
    if (!this.#counts(call, time)) return;
    if (excused) this.#rules.countSuccess();
    else this.#rules.countFailure();
  }

  /** Until the flag is put back, opossum counts and tells a result without a conclusion of its own. */
  #beginJudging(time: number): boolean {
    this.#window.advance(time);
    const outer = this.#judging;
    this.#judging = true;
    return outer;
  }

  #counts(call: CircuitCall, time: number): boolean {
    return this.enabled && this.#rules.counts(call.generation, time);
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
}

/** The permits are p-limit's. opossum's own semaphore, without a limit, makes a promise for each call. */
const NO_SEMAPHORE = {
  test: () => true,
  release: ignore,
  count: Number.MAX_SAFE_INTEGER,
};

function ignore(): void {}
