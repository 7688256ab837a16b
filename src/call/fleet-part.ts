import { oneLine } from "../common/describe.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { FleetLimit } from "../fleet/fleet-limit.js";
import type { LeasingStorage } from "../fleet/leases.js";
import type { Demand } from "../fleet/permits.js";
import type { FleetStats } from "../stats.js";
import type { CircuitStorage } from "../storage/circuit-storage.js";
import { InMemoryStorage } from "../storage/memory.js";
import type { Call } from "./call.js";

export interface FleetPartHooks {
  readonly demand: () => Demand;
  /** How many functions may run may have changed. */
  readonly onChange: () => void;
  readonly onStats: (stats: FleetStats) => void;
  /** A call that waits without a place in the queue is rejected, unless a permit is free, or a place. */
  readonly onUnplaced: (call: Call) => void;
  readonly onError: (error: unknown) => void;
}

/** A bulkhead's part of the fleet's limit while its configuration has one. */
export class FleetPart {
  /** `undefined` without `fleetMaxConcurrentCalls`, and while `enforce` is `false`. */
  limit: FleetLimit | undefined = undefined;
  readonly #config: ResolvedBulkheadConfig;
  #storage: CircuitStorage | undefined;
  readonly #hooks: FleetPartHooks;
  /** Calls that came when the queue was full, but the storage may yet grant them permits. */
  #unplaced: Call[] = [];
  #emitted: FleetStats | undefined = undefined;

  /** @throws {TypeError} for a storage that leases no permits, when the configuration needs one */
  constructor(
    config: ResolvedBulkheadConfig,
    storage: CircuitStorage | undefined,
    hooks: FleetPartHooks,
  ) {
    this.#config = config;
    this.#storage = storage;
    this.#hooks = hooks;
    this.check(config);
    this.reconfigure();
  }

  /** @throws {TypeError} when the configuration needs a storage that leases permits */
  check({ fleetMaxConcurrentCalls }: ResolvedBulkheadConfig): void {
    if (fleetMaxConcurrentCalls === null || this.#storage === undefined) return;
    if (leasesPermits(this.#storage)) return;
    throw new TypeError(
      "fleetMaxConcurrentCalls needs a circuitStorage that leases permits, with the method lease; got one without it",
    );
  }

  /** The configuration has changed. */
  reconfigure(): void {
    const { name, fleetMaxConcurrentCalls, enforce } = this.#config;
    if (fleetMaxConcurrentCalls !== null && enforce && this.#storage === undefined) {
      this.#storage = new InMemoryStorage();
      process.emitWarning(
        `Bulkhead "${oneLine(name)}" has no circuitStorage: its fleetMaxConcurrentCalls bounds it alone`,
        "BulkheadWarning",
      );
    }
    if (fleetMaxConcurrentCalls === null || !enforce || !leasesPermits(this.#storage)) {
      void this.limit?.close();
      this.limit = undefined;
      this.#emitted = undefined;
    } else if (this.limit === undefined) {
      this.limit = new FleetLimit(this.#config, this.#storage, {
        demand: this.#hooks.demand,
        onChange: () => this.#changed(),
        onAnswer: () => this.#answered(),
        onError: this.#hooks.onError,
      });
      this.#emitted = this.limit.stats;
    } else {
      this.limit.reconfigure();
    }
  }

  /** How many functions may run here at once. */
  get count(): number {
    return Math.min(
      this.#config.maxConcurrentCalls,
      this.limit?.usable ?? Number.POSITIVE_INFINITY,
    );
  }

  /** How many functions may run here after the storage's next answer, at most. */
  get attainable(): number {
    const { maxConcurrentCalls } = this.#config;
    return Math.min(maxConcurrentCalls, this.limit?.attainable ?? Number.POSITIVE_INFINITY);
  }

  /** A call waits for the storage's answer, although the queue is full. */
  await(call: Call): void {
    this.#unplaced.push(call);
  }

  #changed(): void {
    this.#hooks.onChange();
    const stats = this.limit?.stats;
    if (stats === undefined || isSame(stats, this.#emitted)) return;
    this.#emitted = stats;
    this.#hooks.onStats(stats);
  }

  /** The newest calls are the first that have to go. */
  #answered(): void {
    const unplaced = this.#unplaced;
    this.#unplaced = [];
    for (const call of unplaced.reverse()) this.#hooks.onUnplaced(call);
  }
}

function leasesPermits(storage: CircuitStorage | undefined): storage is LeasingStorage {
  return typeof storage?.lease === "function";
}

function isSame(one: FleetStats, other: FleetStats | undefined): boolean {
  return (
    one.permits === other?.permits &&
    one.limit === other.limit &&
    one.fair === other.fair &&
    one.processes === other.processes &&
    one.leased === other.leased
  );
}
