import { EventEmitter } from "node:events";
import type CircuitBreaker from "opossum";
import { Call, TaskCall } from "./call/call.js";
import { Executor } from "./call/executor.js";
import { HolderCall } from "./call/holder-call.js";
import { PermitCall } from "./call/permit-call.js";
import { callChannel, trace, traceHold } from "./call/tracing.js";
import type { AnyFunction, ArgsOf, ResultOf } from "./common/function-types.js";
import { HOLD } from "./common/hold-key.js";
import { format } from "./common/validation.js";
import type {
  BulkheadConfig,
  BulkheadConfigChanges,
  BulkheadOptions,
  ResolvedBulkheadConfig,
  ShutdownOptions,
} from "./config.js";
import type { BulkheadError } from "./errors.js";
import type { BulkheadEvents } from "./events.js";
import type { Hold, PermitHolder } from "./hold.js";
import type { Permit } from "./permit.js";
import { notAFunction } from "./rejections.js";
import {
  readOptions,
  readRunOptions,
  readShutdownOptions,
  resolveConfig,
} from "./resolve-config.js";
import type { ExecutionContext, ExecutionResult, RunOptions } from "./result.js";
import { BulkheadState } from "./state.js";
import type { BulkheadStats } from "./stats.js";

/**
 * Bounds how many calls a dependency can have at once and how many can wait for it, and stops calling
 * it while it fails.
 *
 * Emits the events of {@link BulkheadEvents}. A listener that throws is reported as a process warning
 * (`BulkheadWarning`) and changes nothing. An idle bulkhead owns no timer, except for a health check's,
 * and never keeps the process alive.
 */
export class Bulkhead extends EventEmitter<BulkheadEvents> {
  readonly #executor: Executor;

  /**
   * @throws {TypeError} for a wrong or missing type, and for an unknown field
   * @throws {RangeError} for a value out of range
   */
  constructor(config: BulkheadConfig, options: BulkheadOptions = {}) {
    super();
    const resolved = resolveConfig(config);
    const { circuitStorage } = readOptions(options);
    this.#executor = new Executor(resolved, circuitStorage, this);
  }

  /** The configuration with its defaults, frozen. Another object after each {@link configure}. */
  get config(): ResolvedBulkheadConfig {
    return this.#executor.config;
  }

  /** As configured. */
  get name(): string {
    return this.config.name;
  }

  /**
   * The circuit as an opossum breaker; `undefined` when the circuit is switched off. Its events and
   * `stats` are those of the bulkhead's calls. `open()` and `close()` are manual changes of the circuit,
   * `shutdown()` shuts the bulkhead down, `fire()` rejects, and a `fallback` is never called.
   */
  get breaker(): CircuitBreaker | undefined {
    return this.#executor.gate.breaker;
  }

  /** Resolves when the circuit is loaded from storage, or could not be in time. Never rejects. */
  async ready(): Promise<void> {
    await this.#executor.gate.ready;
  }

  // The path of a call: admit, queue, run, settle

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
    const call = new Call(fn, args, "call");
    if (callChannel.hasSubscribers) return this.#admitTraced(call, this.config.timeoutSeconds);
    return this.#executor.admit(call, this.config.timeoutSeconds);
  }

  /**
   * Calls `fn(...args)` when a permit is free; resolves with an {@link ExecutionResult}, also when `fn` failed
   * (`success: false`).
   *
   * Rejects only when the bulkhead rejected or cut the call.
   * @throws {TypeError} `fn` is not a function
   * @throws {BulkheadShutdownError} the bulkhead was shut down
   * @throws {BulkheadIsolationError} the bulkhead is isolated
   * @throws {BulkheadCircuitOpenError} the circuit is open, or half-open without a probe left
   * @throws {BulkheadFullError} every permit and every place in the queue is taken
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
    const call = new Call(fn, args, "execute");
    if (callChannel.hasSubscribers) return this.#admitTraced(call, this.config.timeoutSeconds);
    return this.#executor.admit(call, this.config.timeoutSeconds);
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
    return this.#executor.admit(call, timeoutSeconds);
  }

  /**
   * Takes a permit for work that is no single function, such as a stream, a message of a queue or a client of a pool:
   * the same admission and queue as {@link run}. The permit is held until it is settled, and the time limit covers
   * waiting and holding.
   * @throws the errors of {@link execute}, and the reason of `options.signal` when the caller aborts while it waits
   * @throws {TypeError | RangeError} for wrong options
   * @example
   * using permit = await bulkhead.acquire();
   * for await (const row of query(permit.signal)) send(row);
   * permit.succeed();
   */
  acquire(options: RunOptions = {}): Promise<Permit> {
    let read: RunOptions;
    try {
      read = readRunOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    const { signal, timeoutSeconds = this.config.timeoutSeconds } = read;
    const call = new PermitCall(signal, this.name, this.#executor);
    if (!callChannel.hasSubscribers) return this.#executor.admit(call, timeoutSeconds);
    return traceHold(call, this.name, () => this.#executor.admit<Permit>(call, timeoutSeconds));
  }

  /**
   * {@link acquire} without a promise and a signal for each permit, for the guard of `bulkman/undici`.
   * @internal
   */
  [HOLD](holder: PermitHolder): Hold {
    const { timeoutSeconds } = this.config;
    const call = new HolderCall(holder, this.name, this.#executor);
    if (!callChannel.hasSubscribers) this.#executor.admitHeld(call, timeoutSeconds);
    else {
      const granted = call.untilGranted();
      const begin = () => {
        this.#executor.admitHeld(call, timeoutSeconds);
        return granted;
      };
      traceHold(call, this.name, begin).catch(() => {});
    }
    return call;
  }

  #admitTraced<T>(call: Call, timeoutSeconds: number | null): Promise<T> {
    return trace<T>(call, this.name, () => this.#executor.admit(call, timeoutSeconds));
  }

  /**
   * Resolves when no function runs and no call waits; at once when that is so now. Rejects no call and shuts nothing
   * down. Functions that were abandoned count until they settle, or their permits are reclaimed. Never rejects.
   */
  async idle(): Promise<void> {
    await this.#executor.idle();
  }

  // What users read and control

  /** The figures of this instant. */
  getStats(): BulkheadStats {
    const { name, maxConcurrentCalls, maxQueueSize, circuitBreakerEnabled } = this.config;
    const { circuitStatus } = this.#executor.gate;
    const { fleetStats } = this.#executor;
    return {
      name,
      state: this.getState(),
      ...this.#executor.counters.snapshot(),
      queuedTasks: this.#executor.queueSize,
      maxConcurrentCalls,
      maxQueueSize,
      circuitBreakerEnabled,
      ...(circuitStatus && { circuitStatus }),
      ...(fleetStats && { fleet: fleetStats }),
      ...this.#executor.gate.stats,
    };
  }

  /** The state, from the circuit's status, `isolate()` and `shutdown()`. */
  getState(): BulkheadState {
    return this.#executor.isClosed ? BulkheadState.FAILED : this.#executor.gate.state;
  }

  /** Whether calls may go through: the state is healthy or degraded. */
  isHealthy(): boolean {
    const state = this.getState();
    return state === BulkheadState.HEALTHY || state === BulkheadState.DEGRADED;
  }

  /** Sets every counter to 0. Calls under way and the circuit are left as they are. */
  resetStats(): void {
    this.#executor.counters.reset();
  }

  /**
   * Changes the configuration while calls run: all of the changes in one turn, or none. A field that is `undefined` gets its
   * default. A lower limit cuts no call: no function starts until fewer run. A higher one serves the queue at once. A
   * call that has come already keeps its time limit, and an open circuit its end. Settings of an operator in the storage
   * go before those of the program.
   *
   * Emits `configured` when a field has another value than before.
   * @param changes any fields but `name`, `circuitBreakerEnabled` and `openQuorum`
   * @throws {TypeError} for a wrong type, an unknown field, and one that cannot be changed
   * @throws {RangeError} for a value out of range
   */
  configure(changes: BulkheadConfigChanges): void {
    this.#executor.configure(changes);
  }

  /**
   * Rejects every call, and those that are queued, until `release()`. Running calls go on; the circuit is
   * left as it is.
   * @param reason for people, in the error that callers get
   * @throws {TypeError} `reason` is not a string
   */
  isolate(reason?: string | null): void {
    if (typeof (reason ?? "") !== "string") {
      throw new TypeError(`reason must be a string; got ${format(reason)}`);
    }
    this.#executor.gate.isolate(reason ?? null);
  }

  /** Ends what `isolate()` began. */
  release(): void {
    this.#executor.gate.release();
  }

  /** Calls `body` with this bulkhead and returns what it returns. The bulkhead stays in use after it. */
  async context<R>(body: (bulkhead: this) => R): Promise<Awaited<R>> {
    return await body(this);
  }

  /**
   * Rejects new calls for good. Without options it rejects the queued calls too and lets the running ones
   * go on to their end, without waiting for them; with `drainSeconds` both have that long. May be
   * called again: to wait for a drain that is under way, or to shorten it.
   * @throws {TypeError | RangeError} for a wrong option
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const { drainSeconds } = readShutdownOptions(options);
    await this.#executor.shutdown(drainSeconds);
  }

  /** {@link shutdown} without a drain, for `await using`: running calls go on, and are not waited for. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }
}
