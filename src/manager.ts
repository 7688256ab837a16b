import { EventEmitter } from "node:events";
import { Bulkhead } from "./bulkhead.js";
import { oneLine } from "./common/describe.js";
import type { AnyFunction, ArgsOf, ResultOf } from "./common/function-types.js";
import type { BulkheadConfig, BulkheadOptions, ShutdownOptions } from "./config.js";
import { BulkheadError, BulkheadShutdownError } from "./errors.js";
import { safeEmit } from "./events.js";
import { readOptions, readShutdownOptions, resolveConfig } from "./resolve-config.js";
import type { ExecutionContext, ExecutionResult, RunOptions } from "./result.js";
import type { BulkheadStats } from "./stats.js";

/** Events of a manager and what a listener gets. */
export interface BulkheadManagerEvents {
  /** A bulkhead was made. It is in the manager already, and has had no call; its circuit may still load. */
  created: [Bulkhead];
  /** A bulkhead was taken out by `removeBulkhead`. It is shut down; its running calls go on. */
  removed: [Bulkhead];
}

/**
 * Named bulkheads, one for each dependency. Iterating over a manager gives its bulkheads, in the order
 * in which they were created.
 *
 * Emits the events of {@link BulkheadManagerEvents}. A listener that throws is reported as a process
 * warning (`BulkheadWarning`) and changes nothing.
 */
export class BulkheadManager
  extends EventEmitter<BulkheadManagerEvents>
  implements Iterable<Bulkhead>
{
  readonly #options: BulkheadOptions;
  readonly #bulkheads = new Map<string, Bulkhead>();
  #isClosed = false;

  /**
   * @param options given to every bulkhead of this manager
   * @throws {TypeError} for a wrong type or an unknown field
   */
  constructor(options: BulkheadOptions = {}) {
    super();
    this.#options = readOptions(options);
  }

  /**
   * Makes a bulkhead at once, and resolves with it when its circuit is loaded.
   * @param options instead of the manager's, for this bulkhead: `{}` for one without storage
   * @throws {BulkheadError} with `code` `ERR_BULKHEAD_EXISTS`: there is one of that name
   * @throws {BulkheadShutdownError} the manager was shut down
   * @throws {TypeError | RangeError} for a wrong configuration
   */
  async createBulkhead(
    config: BulkheadConfig,
    options: BulkheadOptions = this.#options,
  ): Promise<Bulkhead> {
    const bulkhead = this.#create(config, options);
    await bulkhead.ready();
    return bulkhead;
  }

  /**
   * The bulkhead of that name; created when it is missing. An existing one keeps its
   * configuration, also when it was shut down: `removeBulkhead` makes room for another.
   * @throws {BulkheadShutdownError} there is none, and the manager was shut down
   * @throws {TypeError | RangeError} for a wrong configuration
   */
  async getOrCreateBulkhead(config: BulkheadConfig): Promise<Bulkhead> {
    const { name } = resolveConfig(config);
    const bulkhead = this.#bulkheads.get(name) ?? this.#create(config, this.#options);
    await bulkhead.ready();
    return bulkhead;
  }

  /** The bulkhead of that name, if there is one. */
  getBulkhead(name: string): Bulkhead | undefined {
    return this.#bulkheads.get(name);
  }

  /**
   * `execute` of the bulkhead of that name.
   * @throws {BulkheadError} with `code` `ERR_BULKHEAD_NOT_FOUND`: there is none of that name
   */
  executeInBulkhead<A extends unknown[], R>(
    name: string,
    fn: (...args: A) => R,
    ...args: A
  ): Promise<ExecutionResult<Awaited<R>>>;
  /** Takes a function whose type is a union, too. */
  executeInBulkhead<F extends AnyFunction>(
    name: string,
    fn: F,
    ...args: ArgsOf<F>
  ): Promise<ExecutionResult<ResultOf<F>>>;
  async executeInBulkhead(
    name: string,
    fn: AnyFunction,
    ...args: unknown[]
  ): Promise<ExecutionResult<unknown>> {
    return this.#find(name).execute(fn, ...args);
  }

  /**
   * `run` of the bulkhead of that name.
   * @throws {BulkheadError} with `code` `ERR_BULKHEAD_NOT_FOUND`: there is none of that name
   */
  runInBulkhead<R>(
    name: string,
    task: (context: ExecutionContext) => R,
    options?: RunOptions,
  ): Promise<ExecutionResult<Awaited<R>>>;
  /**
   * Takes a task whose type is a union, too.
   * @typeParam F the type of the task
   */
  runInBulkhead<F extends (context: ExecutionContext) => unknown>(
    name: string,
    task: F,
    options?: RunOptions,
  ): Promise<ExecutionResult<ResultOf<F>>>;
  async runInBulkhead(
    name: string,
    task: (context: ExecutionContext) => unknown,
    options?: RunOptions,
  ): Promise<ExecutionResult<unknown>> {
    return this.#find(name).run(task, options);
  }

  /** `getStats()` of every bulkhead, by name. */
  getAllStats(): Record<string, BulkheadStats> {
    return this.#byName((bulkhead) => bulkhead.getStats());
  }

  /** `isHealthy()` of every bulkhead, by name. */
  getHealthStatus(): Record<string, boolean> {
    return this.#byName((bulkhead) => bulkhead.isHealthy());
  }

  /**
   * Takes a bulkhead out and shuts it down: its queued calls are rejected, its running ones go on.
   * @returns whether there was one of that name
   */
  removeBulkhead(name: string): boolean {
    const bulkhead = this.#bulkheads.get(name);
    if (bulkhead === undefined) return false;
    // Out of the map first: a listener of a rejection may create another of that name.
    this.#bulkheads.delete(name);
    void bulkhead.shutdown();
    safeEmit(this, "removed", [bulkhead]);
    return true;
  }

  /** Calls `body` with this manager and returns what it returns. The manager stays in use after it. */
  async context<R>(body: (manager: this) => R): Promise<Awaited<R>> {
    return await body(this);
  }

  /**
   * Shuts every bulkhead down, all at the same time, and makes no more. They stay readable. A storage that was given is
   * left open.
   * @throws {TypeError | RangeError} for a wrong option
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    readShutdownOptions(options);
    this.#isClosed = true;
    await Promise.all(Array.from(this, (bulkhead) => bulkhead.shutdown(options)));
  }

  /** {@link shutdown} without a drain, for `await using`: running calls go on, and are not waited for. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** The bulkheads, in the order in which they were created. */
  [Symbol.iterator](): IterableIterator<Bulkhead> {
    return this.#bulkheads.values();
  }

  /** How many bulkheads there are. */
  get size(): number {
    return this.#bulkheads.size;
  }

  #create(config: BulkheadConfig, options: BulkheadOptions): Bulkhead {
    const { name } = resolveConfig(config);
    if (this.#bulkheads.has(name)) {
      throw new BulkheadError(`Bulkhead "${oneLine(name)}" already exists`, {
        bulkheadName: name,
        code: "ERR_BULKHEAD_EXISTS",
      });
    }
    if (this.#isClosed) {
      throw new BulkheadShutdownError("The manager is shut down", { bulkheadName: name });
    }
    const bulkhead = new Bulkhead(config, options);
    this.#bulkheads.set(bulkhead.name, bulkhead);
    safeEmit(this, "created", [bulkhead]);
    return bulkhead;
  }

  #find(name: string): Bulkhead {
    const bulkhead = this.#bulkheads.get(name);
    if (bulkhead !== undefined) return bulkhead;
    throw new BulkheadError(`Bulkhead "${oneLine(String(name))}" not found`, {
      bulkheadName: String(name),
      code: "ERR_BULKHEAD_NOT_FOUND",
    });
  }

  /** `Object.fromEntries` makes own properties of all names, `__proto__` among them. */
  #byName<V>(read: (bulkhead: Bulkhead) => V): Record<string, V> {
    return Object.fromEntries(Array.from(this, (bulkhead) => [bulkhead.name, read(bulkhead)]));
  }
}
