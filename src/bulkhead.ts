import { EventEmitter } from "node:events";
import type CircuitBreaker from "opossum";
import {
  Call,
  type ExecutionContext,
  type ExecutionResult,
  type RunOptions,
  TaskCall,
} from "./call.js";
import { now } from "./clock.js";
import {
  type BulkheadConfig,
  type BulkheadOptions,
  type ResolvedBulkheadConfig,
  readOptions,
  readRunOptions,
  readShutdownOptions,
  resolveConfig,
  type ShutdownOptions,
  show,
} from "./config.js";
import { Deadlines } from "./deadlines.js";
import { Drains } from "./drains.js";
import { toBulkheadError } from "./errors.js";
import { announce, type BulkheadEvents, type Tell } from "./events.js";
import type { AnyFunction, ArgsOf, ResultOf } from "./function-types.js";
import { Guard, type TellDismissed } from "./guard.js";
import { Lanes } from "./lanes.js";
import { abortReason, fullError, notAFunction, shutdownError, timeoutError } from "./refusals.js";
import { BulkheadState } from "./state.js";
import { type BulkheadStats, Ledger, type RejectionReason } from "./stats.js";
import { isTraced, trace } from "./tracing.js";
import { WaitLine } from "./wait-line.js";

/**
 * Bounds how many calls a dependency can have at once and how many can wait for it, and stops calling
 * it while it fails.
 *
 * Emits the events of {@link BulkheadEvents}. A listener that throws is reported as a process warning
 * (`BulkheadWarning`) and changes nothing. An idle bulkhead owns no timer, except for a health check's,
 * and never keeps the process alive.
 */
export class Bulkhead extends EventEmitter<BulkheadEvents> {
  /** The configuration with its defaults, frozen. */
  readonly config: ResolvedBulkheadConfig;
  readonly #ledger = new Ledger();
  readonly #lanes: Lanes<Call>;
  readonly #line: WaitLine<Call>;
  readonly #deadlines = new Deadlines<Call>((call) => this.#expire(call), { holdsProcess: true });
  readonly #reclaims = new Deadlines<Call>((call) => this.#reclaim(call), { holdsProcess: false });
  readonly #tell: Tell = (event, ...payload) => {
    announce(this, event, payload);
  };
  readonly #onAbort = (call: Call, reason: unknown) => this.#cut(call, "aborted", reason);
  readonly #guard: Guard;
  #isServing = false;
  /** No call is admitted any more. */
  #isClosed = false;
  readonly #drains = new Drains();
  /** The end was told. */
  #isRetired = false;

  /**
   * @throws {TypeError} for a wrong or missing type, and for an unknown field
   * @throws {RangeError} for a value out of range
   */
  constructor(config: BulkheadConfig, options: BulkheadOptions = {}) {
    super();
    this.config = resolveConfig(config);
    const { circuitStorage } = readOptions(options);
    this.#lanes = new Lanes(this.config.maxConcurrentCalls);
    this.#line = new WaitLine(this.config.maxQueueSize);
    this.#guard = new Guard(this.config, circuitStorage, {
      tell: this.#tell,
      onClosed: (reason) => this.#dismissAll(reason),
      onJudged: () => this.#readmitAll(),
      onOpened: () => this.#serve(),
    });
  }

  /** As configured. */
  get name(): string {
    return this.config.name;
  }

  /**
   * The opossum breaker that every call goes through; `undefined` when the circuit is switched off.
   * Its events and `stats` are true. Its `open()` and `close()` move the circuit by hand. It takes no
   * calls of its own (`fire` rejects), and what its `fallback` returns reaches nobody.
   */
  get breaker(): CircuitBreaker | undefined {
    return this.#guard.breaker;
  }

  /** Resolves when the circuit is loaded from storage, or could not be in time. Never rejects. */
  async ready(): Promise<void> {
    await this.#guard.ready;
  }

  // The story of a call: admit, wait, run, settle

  /**
   * Calls `fn(...args)` when a permit is free.
   *
   * Resolves with what came of it, also when `fn` failed (`success: false`). Rejects only when the
   * bulkhead refused or cut the call.
   * @throws {TypeError} `fn` is not a function
   * @throws {BulkheadShutdownError} the bulkhead was shut down
   * @throws {BulkheadIsolationError} the bulkhead is isolated by hand
   * @throws {BulkheadCircuitOpenError} the circuit is open, or half-open without a probe left
   * @throws {BulkheadFullError} every permit and every place in the line is taken
   * @throws {BulkheadTimeoutError} `timeoutSeconds` passed; `fn` may still run and hold its permit
   */
  execute<A extends unknown[], R>(
    fn: (...args: A) => R,
    ...args: A
  ): Promise<ExecutionResult<Awaited<R>>>;
  /** Takes a function whose type is a union, too. */
  execute<F extends AnyFunction>(fn: F, ...args: ArgsOf<F>): Promise<ExecutionResult<ResultOf<F>>>;
  execute(fn: AnyFunction, ...args: unknown[]): Promise<ExecutionResult<unknown>> {
    if (typeof fn !== "function") return Promise.reject(notAFunction("fn", fn));
    return this.#enter(new Call(fn, args), this.config.timeoutSeconds);
  }

  /**
   * Like {@link execute}, for a task that can be stopped: it is given a signal, its caller may pass
   * one, and it can have a time limit of its own.
   * @throws the errors of {@link execute}, and the reason of `options.signal` when the caller aborts
   * @throws {TypeError | RangeError} for wrong options
   */
  run<R>(
    task: (context: ExecutionContext) => R,
    options?: RunOptions,
  ): Promise<ExecutionResult<Awaited<R>>>;
  /**
   * Takes a task whose type is a union, too.
   * @typeParam F the type of the task
   */
  run<F extends (context: ExecutionContext) => unknown>(
    task: F,
    options?: RunOptions,
  ): Promise<ExecutionResult<ResultOf<F>>>;
  run(
    task: (context: ExecutionContext) => unknown,
    options: RunOptions = {},
  ): Promise<ExecutionResult<unknown>> {
    let read: RunOptions;
    try {
      if (typeof task !== "function") throw notAFunction("task", task);
      read = readRunOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    const { signal, timeoutSeconds = this.config.timeoutSeconds } = read;
    return this.#enter(new TaskCall(task, signal, this.name), timeoutSeconds);
  }

  #enter<T>(call: Call, timeoutSeconds: number | null): Promise<ExecutionResult<T>> {
    if (!isTraced()) return this.#admit(call, timeoutSeconds);
    const { name: bulkheadName } = this;
    return trace({ bulkheadName, executionId: call.id }, () => this.#admit(call, timeoutSeconds));
  }

  #admit<T>(call: Call, timeoutSeconds: number | null): Promise<ExecutionResult<T>> {
    if (call.signal?.aborted) return this.#refuse("aborted", abortReason(call.signal));
    this.#guard.moveOn();
    if (this.#isClosed) return this.#refuse("shutdown", shutdownError(this.name));
    const isolation = this.#guard.isolationRefusal();
    if (isolation !== undefined) return this.#refuse("isolated", isolation);
    call.generation = this.#guard.admit();
    if (call.generation === 0) return this.#refuseByCircuit(call);
    if (!this.#line.hasRoom(this.config.maxConcurrentCalls - this.#ledger.inUse)) {
      this.#guard.forgo(call.generation);
      return this.#refuse("full", fullError(this.config));
    }
    const outcome = new Promise<ExecutionResult<T>>((resolve, reject) => {
      call.resolve = resolve as Call["resolve"];
      call.reject = reject;
    });
    call.enteredAt = now();
    call.watch(this.#onAbort);
    if (this.#mayStart && this.#line.size === 0) this.#start(call, call.enteredAt);
    else this.#wait(call);
    if (timeoutSeconds !== null && (call.phase === "waiting" || call.phase === "running")) {
      call.deadline = this.#deadlines.set(call, call.enteredAt, timeoutSeconds * 1000);
    }
    return outcome;
  }

  #refuse(reason: RejectionReason, error: unknown): Promise<never> {
    this.#ledger.refused(reason);
    return this.#tellRefused(reason, error);
  }

  /** The breaker's listeners hear of it first; they, too, find it counted. */
  #refuseByCircuit(call: Call): Promise<never> {
    this.#ledger.refused("circuitOpen");
    return this.#tellRefused("circuitOpen", this.#guard.circuitRefusal(call));
  }

  #tellRefused(reason: RejectionReason, error: unknown): Promise<never> {
    if (this.listenerCount("rejected") > 0) this.#tell("rejected", { reason, error });
    return Promise.reject(error);
  }

  #wait(call: Call): void {
    this.#line.push(call);
    call.keepAsyncContext();
    // A waiting call may depend on a permit that is to be taken back.
    this.#reclaims.holdProcess(true);
  }

  /** Whether a permit is free, and no answer of the storage is awaited. */
  get #mayStart(): boolean {
    return this.#ledger.inUse < this.config.maxConcurrentCalls && !this.#guard.isAsking;
  }

  /**
   * Starts those who wait while permits are free: a loop, since functions can be synchronous.
   * @param freedAt when the permit became free, if that is known
   */
  #serve(freedAt?: number): void {
    if (this.#isServing) return;
    this.#isServing = true;
    let time = freedAt;
    while (this.#mayStart) {
      const call = this.#line.shift();
      if (call === undefined) break;
      time ??= now();
      // A blocked event loop can free a permit before the timer has its turn.
      if (call.deadline !== undefined && call.deadline.at <= time) this.#expire(call);
      else this.#start(call, time);
      time = undefined;
    }
    this.#isServing = false;
    this.#lanes.closeSoon();
    this.#afterLeaving();
  }

  #start(call: Call, time: number): void {
    call.phase = "running";
    call.startedAt = time;
    call.lane = this.#lanes.take(call);
    this.#ledger.started();
    this.#guard.run(call);
    this.#observe(call);
  }

  /** Waits for what the function returned: a value, a promise, or something that claims to be one. */
  #observe(call: Call): void {
    const { returned, threw } = call;
    if (threw || !isObject(returned)) {
      this.#settle(call, !threw, returned);
      return;
    }
    try {
      Promise.resolve(returned).then(
        (value) => this.#settle(call, true, value),
        (error: unknown) => this.#settle(call, false, error),
      );
    } catch (error) {
      this.#settle(call, false, error);
    }
  }

  /** The function has really settled: only now is its permit free, unless it was taken back before. */
  #settle(call: Call, succeeded: boolean, value: unknown): void {
    if (call.phase === "abandoned") this.#giveBack(call, true);
    if (call.phase !== "running") return;
    const time = now();
    this.#leaveCaller(call, "over");
    if (succeeded) this.#succeed(call, value, time);
    else this.#fail(call, value, time);
    this.#leaveLane(call);
    this.#serve(time);
  }

  #succeed(call: Call, result: unknown, time: number): void {
    this.#ledger.succeeded();
    if (this.listenerCount("success") > 0) this.#tell("success", call.times(time));
    this.#guard.succeeded(call, result, time);
    call.resolve({
      success: true,
      result,
      error: null,
      executionTime: call.executionTime(time),
      queuedTime: call.queuedTime,
      bulkheadName: this.name,
      executionId: call.id,
    });
  }

  #fail(call: Call, thrown: unknown, time: number): void {
    const error = toBulkheadError(thrown, this.name);
    this.#ledger.failed();
    if (this.listenerCount("failure") > 0) this.#tell("failure", { ...call.times(time), error });
    this.#guard.failed(call, thrown, time);
    call.resolve({
      success: false,
      result: null,
      error,
      executionTime: call.executionTime(time),
      queuedTime: call.queuedTime,
      bulkheadName: this.name,
      executionId: call.id,
    });
  }

  // When a call ends before its function has settled

  #expire(call: Call): void {
    const { phase } = call;
    if (phase !== "waiting" && phase !== "running") return;
    const error = timeoutError(this.name, call, phase);
    if (phase === "waiting") this.#dismiss(call, "timeout", error);
    else this.#abandon(call, error, true);
  }

  /** The caller, or the shutdown, ends a call. */
  #cut(call: Call, reason: RejectionReason, error: unknown): void {
    if (call.phase === "waiting") this.#dismiss(call, reason, error);
    else if (call.phase === "running") this.#abandon(call, error, false);
  }

  /** A waiting call leaves the line without having started. */
  #dismiss(call: Call, reason: RejectionReason, error: unknown): void {
    this.#takeOut(call, reason);
    this.#tellDismissed(call, reason, error);
  }

  /**
   * All waiting calls leave the line at once. They and the listeners hear of it when the returned
   * function is called: what a listener does then must find everything done.
   */
  #dismissAll(reason: RejectionReason): TellDismissed {
    const dismissed: Call[] = [];
    for (let call = this.#line.first; call !== undefined; call = this.#line.first) {
      this.#takeOut(call, reason);
      dismissed.push(call);
    }
    return this.#tellLater(dismissed, reason);
  }

  /** What the calls waited for is known now: in their order, they are admitted by that or leave. */
  #readmitAll(): TellDismissed {
    const waiting: Call[] = [];
    const dismissed: Call[] = [];
    for (let call = this.#line.shift(); call !== undefined; call = this.#line.shift()) {
      waiting.push(call);
    }
    for (const call of waiting) {
      call.generation = this.#guard.admit();
      if (call.generation !== 0) {
        this.#line.push(call);
      } else {
        this.#takeOut(call, "circuitOpen");
        dismissed.push(call);
      }
    }
    return this.#tellLater(dismissed, "circuitOpen");
  }

  #tellLater(dismissed: readonly Call[], reason: RejectionReason): TellDismissed {
    return (makeError) => {
      for (const call of dismissed) this.#tellDismissed(call, reason, makeError(call));
    };
  }

  #takeOut(call: Call, reason: RejectionReason): void {
    this.#leaveCaller(call, "over");
    this.#guard.forgo(call.generation);
    this.#ledger.refused(reason);
  }

  #tellDismissed(call: Call, reason: RejectionReason, error: unknown): void {
    if (reason === "timeout") this.#tell("timeout", { executionId: call.id, phase: "waiting" });
    if (this.listenerCount("rejected") > 0) this.#tell("rejected", { reason, error });
    call.reject(error);
    this.#afterLeaving();
  }

  /** A running call's caller is told its end; the function runs on and holds the permit. */
  #abandon(call: Call, error: unknown, timedOut: boolean): void {
    const time = now();
    const { reclaimAfterSeconds } = this.config;
    this.#leaveCaller(call, "abandoned");
    this.#ledger.abandon(timedOut);
    if (reclaimAfterSeconds) {
      call.deadline = this.#reclaims.set(call, time, reclaimAfterSeconds * 1000);
    }
    if (timedOut) this.#tell("timeout", { executionId: call.id, phase: "running" });
    if (this.listenerCount("failure") > 0) this.#tell("failure", { ...call.times(time), error });
    this.#tell("abandoned", { executionId: call.id });
    if (timedOut) this.#guard.timedOut(call, error, time);
    else this.#guard.forgo(call.generation);
    call.reject(error);
    call.abort(error);
    if (reclaimAfterSeconds === 0) this.#reclaim(call);
  }

  #reclaim(call: Call): void {
    if (call.phase === "abandoned") this.#giveBack(call, false);
  }

  /** The permit of an abandoned function is free again. */
  #giveBack(call: Call, settled: boolean): void {
    call.phase = "over";
    if (call.deadline !== undefined) this.#reclaims.clear(call.deadline);
    this.#ledger.abandoned--;
    this.#leaveLane(call);
    this.#tell("reclaimed", { executionId: call.id, settled });
    this.#serve();
  }

  #leaveLane(call: Call): void {
    if (call.lane !== undefined) this.#lanes.leave(call.lane);
  }

  /** The caller is about to be told: nothing of its call may fire or stay behind. */
  #leaveCaller(call: Call, phase: "over" | "abandoned"): void {
    call.list?.remove(call);
    call.phase = phase;
    call.unwatch();
    if (call.deadline !== undefined) this.#deadlines.clear(call.deadline);
  }

  #afterLeaving(): void {
    if (this.#line.size === 0) this.#reclaims.holdProcess(false);
    if (!this.#isClosed || !this.#isIdle) return;
    this.#drains.end();
    if (this.#isRetired) this.#guard.shutDownBreaker();
  }

  // What users see and steer

  /** The figures of this instant. */
  getStats(): BulkheadStats {
    const { name, maxConcurrentCalls, maxQueueSize, circuitBreakerEnabled } = this.config;
    const { circuitStatus } = this.#guard;
    return {
      name,
      state: this.getState(),
      ...this.#ledger.figures(),
      queuedTasks: this.#line.size,
      maxConcurrentCalls,
      maxQueueSize,
      circuitBreakerEnabled,
      ...(circuitStatus && { circuitStatus }),
    };
  }

  /** The state, from the circuit's status, `isolate()` and `shutdown()`. */
  getState(): BulkheadState {
    return this.#isClosed ? BulkheadState.FAILED : this.#guard.state;
  }

  /** Whether calls may go through: the state is healthy or degraded. */
  isHealthy(): boolean {
    const state = this.getState();
    return state === BulkheadState.HEALTHY || state === BulkheadState.DEGRADED;
  }

  /** Sets every counter to 0. Calls under way and the circuit are left as they are. */
  resetStats(): void {
    this.#ledger.reset();
  }

  /**
   * Refuses every call, and those that wait, until `release()`. Running calls go on; the circuit is
   * left as it is.
   * @param reason in words, for the error that callers get
   * @throws {TypeError} `reason` is not a string
   */
  isolate(reason?: string | null): void {
    if (typeof (reason ?? "") !== "string") {
      throw new TypeError(`reason must be a string; got ${show(reason)}`);
    }
    this.#guard.isolate(reason ?? null);
  }

  /** Ends what `isolate()` began. */
  release(): void {
    this.#guard.release();
  }

  /** Calls `body` with this bulkhead and returns what it returns. The bulkhead stays in use after it. */
  async context<R>(body: (bulkhead: this) => R): Promise<Awaited<R>> {
    return await body(this);
  }

  /**
   * Refuses new calls for good. By itself it refuses the waiting calls too and lets the running ones
   * go on to their end, without waiting for them; with `drainSeconds` both have that long. May be
   * called again: to wait for a drain that is under way, or to shorten it.
   * @throws {TypeError | RangeError} for a wrong option
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const { drainSeconds } = readShutdownOptions(options);
    this.#isClosed = true;
    this.#guard.stopHealthCheck();
    if (drainSeconds !== undefined) {
      this.#drains.begin(drainSeconds * 1000, () => this.#cutAll());
    } else if (this.#drains.ended === undefined) {
      this.#dismissAll("shutdown")(() => shutdownError(this.name));
    }
    this.#afterLeaving();
    await this.#drains.ended;
    if (!this.#isRetired) {
      this.#isRetired = true;
      this.#tell("shutdown", { drained: this.#isIdle });
      this.#afterLeaving();
    }
    await this.#guard.leaveStorage();
  }

  /** {@link shutdown} without a drain, for `await using`: running calls go on, and are not waited for. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  #cutAll(): void {
    this.#dismissAll("shutdown")(() => shutdownError(this.name));
    for (const call of this.#lanes.holders) {
      if (call.phase === "running") this.#abandon(call, shutdownError(this.name), false);
    }
  }

  get #isIdle(): boolean {
    return this.#ledger.inUse === 0 && this.#line.size === 0;
  }
}

function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
