import { EventEmitter } from "node:events";
import type CircuitBreaker from "opossum";
import { Call, TaskCall, VALUE } from "./call/call.js";
import { Drains } from "./call/drains.js";
import { type Lane, Lanes } from "./call/lanes.js";
import { callChannel, trace } from "./call/tracing.js";
import { TypicalRunTime } from "./call/typical-run-time.js";
import { Gate } from "./circuit/gate.js";
import { now } from "./common/clock.js";
import { Deadlines } from "./common/deadlines.js";
import type { AnyFunction, ArgsOf, ResultOf } from "./common/function-types.js";
import { LinkedList } from "./common/linked-list.js";
import { format } from "./common/validation.js";
import {
  type BulkheadConfig,
  type BulkheadOptions,
  type ResolvedBulkheadConfig,
  readOptions,
  readRunOptions,
  readShutdownOptions,
  resolveConfig,
  type ShutdownOptions,
} from "./config.js";
import { type BulkheadError, toBulkheadError } from "./errors.js";
import { announce, type BulkheadEvents, type Tell } from "./events.js";
import { abortReason, fullError, notAFunction, shutdownError, timeoutError } from "./rejections.js";
import type { ExecutionContext, ExecutionResult, RunOptions } from "./result.js";
import { BulkheadState } from "./state.js";
import { type BulkheadStats, Ledger, type RejectionReason } from "./stats.js";

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
  /** First in, first out; p-limit's own queue can only be cleared whole. */
  readonly #queue = new LinkedList<Call>();
  readonly #deadlines = new Deadlines<Call>((call) => this.#expire(call), { holdsProcess: true });
  readonly #reclaims = new Deadlines<Call>((call) => this.#reclaim(call), { holdsProcess: false });
  readonly #emit: Tell = (event, ...payload) => {
    announce(this, event, payload);
  };
  readonly #onAbort = (call: Call, reason: unknown) => this.#cancel(call, "aborted", reason);
  readonly #typicalRunTime = new TypicalRunTime();
  readonly #gate: Gate<Call>;
  #isServing = false;
  /** No call is admitted any more. */
  #isClosed = false;
  readonly #drains = new Drains();
  /** `shutdown` was emitted. */
  #isRetired = false;

  /**
   * @throws {TypeError} for a wrong or missing type, and for an unknown field
   * @throws {RangeError} for a value out of range
   */
  constructor(config: BulkheadConfig, options: BulkheadOptions = {}) {
    super();
    this.config = resolveConfig(config);
    const { circuitStorage } = readOptions(options);
    this.#lanes = new Lanes(this.config.maxConcurrentCalls, {
      onOpen: () => this.#startQueued(),
      onSettled: (call, succeeded, value) => this.#settle(call, succeeded, value),
    });
    this.#gate = new Gate<Call>(this.config, circuitStorage, {
      emit: this.#emit,
      onRejecting: (reason) => this.#rejectAllQueued(reason),
      onStorageAnswered: () => this.#readmitAll(),
      onRejected: (call, reason, error) => this.#notifyRejected(call, reason, error),
      onAdmitting: () => this.#startQueued(),
      onShutdown: () => void this.shutdown(),
    });
  }

  /** As configured. */
  get name(): string {
    return this.config.name;
  }

  /**
   * The circuit as an opossum breaker; `undefined` when the circuit is switched off. Its events and
   * `stats` are those of the bulkhead's calls. `open()` and `close()` move the circuit by hand,
   * `shutdown()` shuts the bulkhead down, `fire()` rejects, and a `fallback` is never called.
   */
  get breaker(): CircuitBreaker | undefined {
    return this.#gate.breaker;
  }

  /** Resolves when the circuit is loaded from storage, or could not be in time. Never rejects. */
  async ready(): Promise<void> {
    await this.#gate.ready;
  }

  // The story of a call: admit, wait, run, settle

  /**
   * Calls `fn(...args)` when a permit is free; resolves with its value, and rejects with the very error that
   * it threw.
   *
   * Rejects with a {@link BulkheadError} when the bulkhead rejected or cut the call.
   * @throws {TypeError} `fn` is not a function
   * @throws the errors of {@link execute}
   * @example const user = await bulkhead.call(loadUser, id);
   */
  call<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): Promise<Awaited<R>>;
  /** Takes a function whose type is a union, too. */
  call<F extends AnyFunction>(fn: F, ...args: ArgsOf<F>): Promise<ResultOf<F>>;
  call(fn: AnyFunction, ...args: unknown[]): Promise<unknown> {
    if (typeof fn !== "function") return Promise.reject(notAFunction("fn", fn));
    const call = new Call(fn, args, VALUE);
    if (callChannel.hasSubscribers) return this.#admitTraced(call, this.config.timeoutSeconds);
    return this.#admit(call, this.config.timeoutSeconds);
  }

  /**
   * Calls `fn(...args)` when a permit is free; resolves with an {@link ExecutionResult}, also when `fn` failed
   * (`success: false`).
   *
   * Rejects only when the bulkhead rejected or cut the call.
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
    const call = new Call(fn, args);
    if (callChannel.hasSubscribers) return this.#admitTraced(call, this.config.timeoutSeconds);
    return this.#admit(call, this.config.timeoutSeconds);
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
    const call = new TaskCall(task, signal, this.name);
    if (callChannel.hasSubscribers) return this.#admitTraced(call, timeoutSeconds);
    return this.#admit(call, timeoutSeconds);
  }

  #admitTraced<T>(call: Call, timeoutSeconds: number | null): Promise<T> {
    return trace<T>(call, this.name, () => this.#admit(call, timeoutSeconds));
  }

  #admit<T>(call: Call, timeoutSeconds: number | null): Promise<T> {
    if (call.signal?.aborted) return this.#reject("aborted", abortReason(call.signal));
    this.#gate.refresh();
    if (this.#isClosed) return this.#reject("shutdown", shutdownError(this.name));
    const isolation = this.#gate.isolationRejection();
    if (isolation !== undefined) return this.#reject("isolated", isolation);
    if (!this.#gate.tryAcquire(call)) return this.#rejectByCircuit(call);
    const { maxConcurrentCalls, maxQueueSize } = this.config;
    const freePermits = maxConcurrentCalls - this.#ledger.active - this.#ledger.abandoned;
    // A call that waits for its lane, or for the storage, needs no place as long as a permit is free.
    if (this.#queue.size >= maxQueueSize + freePermits) return this.#rejectFull(call);
    const outcome = new Promise<T>((resolve, reject) => {
      call.resolve = resolve as Call["resolve"];
      call.reject = reject;
    });
    call.enter(now());
    if (call.signal !== undefined) call.watch(this.#onAbort);
    const mustWait = this.#queue.size > 0 || this.#gate.isAwaitingStorage;
    const lane = mustWait ? undefined : this.#lanes.take(call);
    if (lane === undefined) this.#enqueue(call);
    else this.#start(call, lane, call.enteredAt);
    if (timeoutSeconds !== null && (call.phase === "waiting" || call.phase === "running")) {
      call.deadline = this.#deadlines.set(call, call.enteredAt, timeoutSeconds * 1000);
    }
    return outcome;
  }

  #reject(reason: RejectionReason, error: unknown): Promise<never> {
    this.#ledger.refused(reason);
    return this.#notifyRejection(reason, error);
  }

  /** Counted first: the breaker's listeners find it in the statistics. */
  #rejectByCircuit(call: Call): Promise<never> {
    this.#ledger.refused("circuitOpen");
    return this.#notifyRejection("circuitOpen", this.#gate.circuitRejection(call));
  }

  #rejectFull(call: Call): Promise<never> {
    const error = fullError(this.config);
    this.#ledger.refused("full");
    this.#gate.recordFull(call, error);
    return this.#notifyRejection("full", error);
  }

  #notifyRejection(reason: RejectionReason, error: unknown): Promise<never> {
    if (this.listenerCount("rejected") > 0) this.#emit("rejected", { reason, error });
    return Promise.reject(error);
  }

  #enqueue(call: Call): void {
    const isAwaitingStorage = this.#gate.isAwaitingStorage;
    const free = this.#lanes.count - this.#ledger.active - this.#ledger.abandoned;
    call.hasWaited = isAwaitingStorage || this.#queue.size >= free;
    this.#queue.push(call);
    // A queued call may depend on a permit that is to be reclaimed.
    this.#reclaims.holdProcess(true);
    if (!isAwaitingStorage) this.#lanes.request();
  }

  /**
   * Starts queued calls in idle lanes, and requests another lane for those that are left: a loop, since
   * functions can be synchronous.
   * @param freedAt when the permit became free, if that is known
   */
  #startQueued(freedAt?: number): void {
    if (this.#isServing) return;
    this.#isServing = true;
    let time = freedAt;
    for (let call = this.#queue.first; call !== undefined; call = this.#queue.first) {
      if (this.#gate.isAwaitingStorage) break;
      time ??= now();
      if (call.hasWaited && this.#isHopeless(call, time)) {
        this.#expire(call);
        continue;
      }
      const lane = this.#lanes.take(call);
      if (lane === undefined) {
        this.#lanes.request();
        break;
      }
      this.#queue.shift();
      call.inContext(this.#start, this, call, lane, time);
      time = undefined;
    }
    this.#isServing = false;
    this.#lanes.closeIdleSoon();
    this.#checkIdle();
  }

  /**
   * Whether too little of the call's time is left for its function: to start it would be in vain, and would take
   * the permit from a call that has time. Also when its time is over, as a blocked event loop can free a
   * permit before the timer has its turn.
   */
  #isHopeless({ deadline }: Call, time: number): boolean {
    if (deadline === undefined) return false;
    const leftMs = deadline.at - time;
    return leftMs <= 0 || leftMs < this.#typicalRunTime.neededMs(deadline.delayMs);
  }

  #start(call: Call, lane: Lane<Call>, time: number): void {
    call.phase = "running";
    call.startedAt = time;
    call.lane = lane;
    this.#ledger.active++;
    if (call.isTask) call.prepare();
    call.circuit.recordStart(call);
    let returned: unknown;
    try {
      returned = call.invoke();
    } catch (error) {
      this.#settle(call, false, error);
      return;
    }
    if (!isObject(returned)) {
      this.#settle(call, true, returned);
      return;
    }
    try {
      // As `await` does it: whatever `then` an object has, it settles the call once.
      promiseThen.call(Promise.resolve(returned), lane.onFulfilled, lane.onRejected);
    } catch (error) {
      this.#settle(call, false, error);
    }
    if (call.isOverdue) this.#expire(call);
  }

  /** The function has really settled: only now is its permit free, unless it was reclaimed before. */
  #settle(call: Call, succeeded: boolean, value: unknown): void {
    if (call.phase === "abandoned") this.#releaseAbandoned(call, true);
    if (call.phase !== "running") return;
    const time = now();
    call.endedAt = time;
    this.#detachCaller(call, "over");
    if (succeeded) this.#succeed(call, value, time);
    else this.#fail(call, value, time);
    if (call.lane !== undefined) this.#lanes.release(call.lane);
    if (this.#queue.size > 0) this.#startQueued(time);
    else this.#rest();
  }

  /** There is nothing to start. */
  #rest(): void {
    this.#lanes.closeIdleSoon();
    if (this.#isClosed) this.#checkIdle();
  }

  #succeed(call: Call, result: unknown, time: number): void {
    this.#ledger.active--;
    this.#ledger.successful++;
    this.#typicalRunTime.record(time - call.startedAt);
    if (this.listenerCount("success") > 0) this.#emit("success", call.times(time));
    this.#gate.recordSuccess(call, result, time);
    if (call.wantsValue) call.resolve(result);
    else this.#answer(call, true, result, null);
  }

  #fail(call: Call, thrown: unknown, time: number): void {
    this.#ledger.failed();
    const isObserved = this.listenerCount("failure") > 0;
    const error = isObserved || !call.wantsValue ? toBulkheadError(thrown, this.name) : null;
    if (isObserved && error !== null) this.#emit("failure", { ...call.times(time), error });
    this.#gate.recordFailure(call, thrown, time);
    if (call.wantsValue) call.reject(thrown);
    else this.#answer(call, false, null, error);
  }

  #answer(call: Call, success: boolean, result: unknown, error: BulkheadError | null): void {
    call.resolve({
      success,
      result,
      error,
      executionTime: call.executionTime(),
      queuedTime: call.queuedTime,
      bulkheadName: this.config.name,
      executionId: call.id,
    });
  }

  // When a call ends before its function has settled

  #expire(call: Call): void {
    if (call.phase === "waiting" && !call.hasWaited) {
      // A faked clock goes on before p-limit has opened the lane. A call that found a permit free starts.
      call.isOverdue = true;
    } else if (call.phase === "waiting") {
      this.#rejectQueued(call, "timeout", timeoutError(this.name, call, "waiting"));
    } else if (call.phase === "running") {
      const error = timeoutError(this.name, call, "running");
      call.inContext(this.#abandon, this, call, error, "timedOut");
    }
  }

  /** The caller ends a call, or the shutdown does. */
  #cancel(call: Call, reason: RejectionReason, error: unknown): void {
    if (call.phase === "waiting") this.#rejectQueued(call, reason, error);
    else if (call.phase === "running") {
      const why = reason === "aborted" && isDeadline(error) ? "deadline" : "canceled";
      call.inContext(this.#abandon, this, call, error, why);
    }
  }

  /** A queued call leaves the queue without having started. */
  #rejectQueued(call: Call, reason: RejectionReason, error: unknown): void {
    this.#dequeue(call, reason);
    this.#notifyRejected(call, reason, error);
  }

  /**
   * All waiting calls leave the queue at once; those that found a permit free are about to start, and go
   * on like running ones. {@link #notifyRejected} follows, when everything else has taken effect.
   */
  #rejectAllQueued(reason: RejectionReason): Call[] {
    const rejected: Call[] = [];
    let next: Call | undefined;
    for (let call = this.#queue.first; call !== undefined; call = next) {
      next = call.next;
      if (!call.hasWaited) continue;
      this.#dequeue(call, reason);
      rejected.push(call);
    }
    return rejected;
  }

  /** The calls waited for the storage's answer: in their order, each is admitted by it or rejected. */
  #readmitAll(): Call[] {
    const waiting: Call[] = [];
    const rejected: Call[] = [];
    for (let call = this.#queue.shift(); call !== undefined; call = this.#queue.shift()) {
      waiting.push(call);
    }
    for (const call of waiting) {
      if (this.#gate.tryAcquire(call)) {
        this.#queue.push(call);
      } else {
        this.#dequeue(call, "circuitOpen");
        rejected.push(call);
      }
    }
    return rejected;
  }

  #rejectAllForShutdown(): void {
    for (const call of this.#rejectAllQueued("shutdown")) {
      this.#notifyRejected(call, "shutdown", shutdownError(this.name));
    }
  }

  #dequeue(call: Call, reason: RejectionReason): void {
    this.#detachCaller(call, "over");
    call.circuit.drop(call);
    this.#ledger.refused(reason);
  }

  #notifyRejected(call: Call, reason: RejectionReason, error: unknown): void {
    call.inContext(this.#emitRejected, this, call, reason, error);
    call.reject(error);
    this.#checkIdle();
  }

  #emitRejected(call: Call, reason: RejectionReason, error: unknown): void {
    if (reason === "timeout") this.#emit("timeout", { executionId: call.id, phase: "waiting" });
    if (this.listenerCount("rejected") > 0) this.#emit("rejected", { reason, error });
  }

  /**
   * A running call's caller has its answer; the function runs on and holds the permit.
   * @param why `deadline`: the caller's own signal was a time limit
   */
  #abandon(call: Call, error: unknown, why: "timedOut" | "deadline" | "canceled"): void {
    const time = now();
    const timedOut = why === "timedOut";
    const isVerdict = why !== "canceled" && hadTime(call, time);
    const { reclaimAfterSeconds } = this.config;
    this.#detachCaller(call, "abandoned");
    this.#ledger.abandon(timedOut);
    if (reclaimAfterSeconds) {
      call.deadline = this.#reclaims.set(call, time, reclaimAfterSeconds * 1000);
    }
    if (timedOut) this.#emit("timeout", { executionId: call.id, phase: "running" });
    if (this.listenerCount("failure") > 0) this.#emit("failure", { ...call.times(time), error });
    this.#emit("abandoned", { executionId: call.id });
    if (isVerdict) this.#gate.recordTimeout(call, error, time);
    else call.circuit.drop(call);
    call.reject(error);
    call.abort(error);
    if (reclaimAfterSeconds === 0) this.#reclaim(call);
  }

  #reclaim(call: Call): void {
    if (call.phase === "abandoned") {
      call.inContext(this.#releaseAbandoned, this, call, false);
    }
  }

  /** The permit of an abandoned function is free again: it has settled, or the permit is reclaimed. */
  #releaseAbandoned(call: Call, settled: boolean): void {
    call.phase = "over";
    if (call.deadline !== undefined) this.#reclaims.clear(call.deadline);
    this.#ledger.abandoned--;
    if (call.lane !== undefined) {
      if (settled) this.#lanes.release(call.lane);
      else this.#lanes.reclaim(call.lane);
    }
    this.#emit("reclaimed", { executionId: call.id, settled });
    this.#startQueued();
  }

  /** The caller is about to get its answer: nothing of its call may fire or stay behind. */
  #detachCaller(call: Call, phase: "over" | "abandoned"): void {
    call.list?.remove(call);
    call.phase = phase;
    if (call.signal !== undefined) call.unwatch();
    if (call.deadline !== undefined) this.#deadlines.clear(call.deadline);
  }

  #checkIdle(): void {
    if (this.#queue.size === 0) this.#reclaims.holdProcess(false);
    if (!this.#isClosed || !this.#isIdle) return;
    this.#drains.end();
    if (this.#isRetired) this.#gate.end();
  }

  // What users see and steer

  /** The figures of this instant. */
  getStats(): BulkheadStats {
    const { name, maxConcurrentCalls, maxQueueSize, circuitBreakerEnabled } = this.config;
    const { circuitStatus } = this.#gate;
    return {
      name,
      state: this.getState(),
      ...this.#ledger.figures(),
      queuedTasks: this.#queue.size,
      maxConcurrentCalls,
      maxQueueSize,
      circuitBreakerEnabled,
      ...(circuitStatus && { circuitStatus }),
    };
  }

  /** The state, from the circuit's status, `isolate()` and `shutdown()`. */
  getState(): BulkheadState {
    return this.#isClosed ? BulkheadState.FAILED : this.#gate.state;
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
      throw new TypeError(`reason must be a string; got ${format(reason)}`);
    }
    this.#gate.isolate(reason ?? null);
  }

  /** Ends what `isolate()` began. */
  release(): void {
    this.#gate.release();
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
    this.#gate.stopHealthCheck();
    if (drainSeconds !== undefined) {
      this.#drains.begin(drainSeconds * 1000, () => this.#cutAll());
    } else if (this.#drains.ended === undefined) {
      this.#rejectAllForShutdown();
    }
    this.#checkIdle();
    if (this.#drains.ended !== undefined) await this.#drains.ended;
    this.#retire();
    await this.#gate.disconnect();
  }

  #retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    this.#emit("shutdown", { drained: this.#isIdle });
    this.#checkIdle();
  }

  /** {@link shutdown} without a drain, for `await using`: running calls go on, and are not waited for. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  #cutAll(): void {
    this.#rejectAllForShutdown();
    for (let call = this.#queue.first; call !== undefined; call = this.#queue.first) {
      this.#rejectQueued(call, "shutdown", shutdownError(this.name));
    }
    for (const call of this.#lanes.holders) {
      if (call.phase === "running")
        call.inContext(this.#abandon, this, call, shutdownError(this.name), "canceled");
    }
  }

  get #isIdle(): boolean {
    const { active, abandoned } = this.#ledger;
    return active + abandoned + this.#queue.size === 0;
  }
}

/**
 * Whether a call that ran out of time says something of the dependency: its function had at least half of
 * the time. The rest was spent in the bulkhead's own queue, which says nothing.
 */
function hadTime({ hasWaited, enteredAt, startedAt, deadline }: Call, time: number): boolean {
  if (!hasWaited) return true;
  // A limit that came as a signal is not known: what has passed of it is.
  const limitMs = deadline?.delayMs ?? time - enteredAt;
  return time - startedAt >= limitMs / 2;
}

/** Whether a caller aborted by a time limit, as `AbortSignal.timeout()` does, and not because it left. */
function isDeadline(reason: unknown): boolean {
  try {
    return isObject(reason) && Reflect.get(reason as object, "name") === "TimeoutError";
  } catch {
    return false;
  }
}

const promiseThen = Promise.prototype.then;

function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
