import type { ResolvedBulkheadConfig } from "../config.js";
import type { Counters } from "../stats.js";
import type { Call } from "./call.js";
import type { CallQueue } from "./call-queue.js";
import type { FleetPart } from "./fleet-part.js";
import type { Lane, Lanes } from "./lanes.js";

interface CapacityParts {
  readonly counters: Counters;
  readonly lanes: Lanes<Call>;
  readonly queue: CallQueue;
  readonly fleet: FleetPart;
}

/** How many functions run, and how many more may. */
export class Capacity {
  readonly #config: ResolvedBulkheadConfig;
  readonly #counters: Counters;
  readonly #lanes: Lanes<Call>;
  readonly #queue: CallQueue;
  readonly #fleet: FleetPart;

  constructor(config: ResolvedBulkheadConfig, { counters, lanes, queue, fleet }: CapacityParts) {
    this.#config = config;
    this.#counters = counters;
    this.#lanes = lanes;
    this.#queue = queue;
    this.#fleet = fleet;
  }

  /** Functions that run, for their caller or without one. */
  get inUse(): number {
    return this.#counters.active + this.#counters.abandoned;
  }

  /** None when the limit was lowered and more functions still run. */
  get freePermits(): number {
    return Math.max(0, this.#lanes.count - this.inUse);
  }

  /** No function runs, and no call waits. */
  get isIdle(): boolean {
    return this.inUse + this.#queue.size === 0;
  }

  /** Whether as many calls run as could run and wait if the limits were enforced. */
  get isCrowded(): boolean {
    const { maxConcurrentCalls, maxQueueSize } = this.#config;
    return this.inUse - this.#lanes.refused >= maxConcurrentCalls + maxQueueSize;
  }

  /**
   * Whether calls that came while `enforce` was `false` still take all permits: p-limit does not count them, and would
   * start more.
   */
  get isOverrun(): boolean {
    return this.#lanes.hasUnlimited && this.#config.enforce && this.freePermits === 0;
  }

  /** Seconds until the calls that are queued now have probably started. */
  get drainSeconds(): number {
    return this.#queue.drainSeconds(Math.max(1, this.#lanes.count));
  }

  /** Whether the lease of the fleet's permits is over: the storage is away, or the process stood still. */
  hasLapsed(time: number): boolean {
    const { limit } = this.#fleet;
    if (limit === undefined || time < limit.validUntil) return false;
    limit.lapse();
    return true;
  }

  /** The function in the lane has settled. */
  release(lane: Lane<Call>): void {
    this.#lanes.release(lane);
    this.#fleet.limit?.release(this.inUse);
  }

  /** Takes the lane away from a function that runs on. */
  reclaim(lane: Lane<Call>): void {
    this.#lanes.reclaim(lane);
    this.#fleet.limit?.release(this.inUse);
  }
}
