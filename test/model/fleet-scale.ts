import { FleetLimit } from "../../src/fleet/fleet-limit.js";
import type { LeasingStorage } from "../../src/fleet/leases.js";
import { resolveConfig } from "../../src/resolve-config.js";
import { applyLease, EMPTY_POOL } from "../../src/storage/apply-lease.js";
import type {
  PermitGrant,
  PermitNotice,
  PermitPool,
  PermitRequest,
} from "../../src/storage/permit-lease.js";
import { SimulatedTime } from "./simulated-time.js";
import { randomOf } from "./walk.js";

export interface ScaleOptions {
  readonly processes: number;
  readonly limit: number;
  /** Calls that come, as a part of those that the limit can serve. */
  readonly load: number;
  /** One process in three has so many times the calls of the others, and each time others. 1: all are alike. */
  readonly busy?: number;
  /** Calls that wait in a process; beyond that, they are rejected. */
  readonly queue?: number;
  /** How long a function runs. */
  readonly callMs?: number;
  readonly renewSeconds?: number;
  readonly leaseSeconds?: number;
  /** How long a query holds the row of its pool. */
  readonly lockMs?: number;
  readonly roundTripMs?: number;
  readonly seconds?: number;
  readonly seed?: number;
}

export interface ScaleResult {
  readonly requestsPerSecond: number;
  /** In the busiest second. */
  readonly mostRequestsPerSecond: number;
  readonly noticesPerSecond: number;
  readonly mostAtOnce: number;
  readonly callsPerSecond: number;
  readonly possiblePerSecond: number;
  /** Calls that a process made of those that the busiest made, in the end: the least of all processes. */
  readonly leastShare: number;
  readonly waitMs: { readonly p50: number; readonly p99: number };
}

/** For so long the load stays where it is: then other processes are busy. */
const PHASE_MS = 10_000;

/** Runs the real `FleetLimit` of many processes in simulated time, on one pool of permits. */
export class FleetScale {
  readonly #time = new SimulatedTime();
  readonly #random: () => number;
  readonly #options: Required<ScaleOptions>;
  readonly #subscribers: Array<(notice: PermitNotice) => void> = [];
  #pool: PermitPool = EMPTY_POOL;
  #lockedUntil = 0;
  readonly #requests: number[] = [];
  #notices = 0;
  #running = 0;
  #most = 0;
  readonly #waits: number[] = [];
  readonly #served: number[];
  /** Nothing is counted before. */
  readonly #from = 2 * PHASE_MS;

  constructor(options: ScaleOptions) {
    this.#options = {
      busy: 1,
      queue: 20,
      callMs: 50,
      renewSeconds: 5,
      leaseSeconds: 15,
      lockMs: 0.5,
      roundTripMs: 1,
      seconds: 60,
      seed: 1,
      ...options,
    };
    this.#random = randomOf(this.#options.seed);
    this.#served = new Array<number>(options.processes).fill(0);
  }

  async run(): Promise<ScaleResult> {
    const { processes, seconds, limit, callMs } = this.#options;
    const { random } = Math;
    Math.random = this.#random;
    const end = this.#from + seconds * 1000;
    try {
      for (let index = 0; index < processes; index++) this.#start(index);
      await this.#time.runUntil(end);
    } finally {
      Math.random = random;
    }
    const waits = this.#waits.sort((a, b) => a - b);
    const at = (part: number) => waits[Math.floor(waits.length * part)] ?? 0;
    const perSecond = Array.from(
      { length: seconds },
      (_, second) => this.#requests[this.#from / 1000 + second] ?? 0,
    );
    const total = perSecond.reduce((sum, count) => sum + count, 0);
    return {
      requestsPerSecond: total / seconds,
      mostRequestsPerSecond: Math.max(...perSecond),
      noticesPerSecond: this.#notices / seconds,
      mostAtOnce: this.#most,
      callsPerSecond: waits.length / seconds,
      possiblePerSecond: (limit * 1000) / callMs,
      leastShare: Math.min(...this.#served) / Math.max(...this.#served),
      waitMs: { p50: at(0.5), p99: at(0.99) },
    };
  }

  #start(index: number): void {
    const { limit, callMs, processes, load, busy, queue: places } = this.#options;
    const config = resolveConfig({
      name: "scale",
      maxConcurrentCalls: limit,
      fleetMaxConcurrentCalls: limit,
    });
    const queue: number[] = [];
    let inUse = 0;
    const startQueued = () => {
      while (queue.length > 0 && inUse < Math.min(fleet.usable, limit)) {
        const enteredAt = queue.shift() ?? 0;
        inUse++;
        this.#most = Math.max(this.#most, ++this.#running);
        this.#record(index, enteredAt);
        this.#time.setTimer(end, callMs * (0.5 + this.#random()));
      }
      if (queue.length === 0) fleet.endWait();
    };
    const end = () => {
      inUse--;
      this.#running--;
      fleet.release(inUse);
      startQueued();
    };
    const fleet = new FleetLimit(config, this.#storage(), {
      demand: () => ({ inUse, waiting: queue.length }),
      onChange: () => startQueued(),
      onAnswer: () => {},
      onError: (error) => {
        throw error;
      },
    });
    const perMs = (load * limit) / callMs;
    const units = (processes * (busy + 2)) / 3;
    const come = () => {
      const isBusy = (index + Math.floor(this.#time.now / PHASE_MS)) % 3 === 0;
      const rate = (perMs * (isBusy ? busy : 1)) / units;
      const arrive = () => {
        if (this.#time.now >= fleet.validUntil) fleet.lapse();
        if (queue.length < places) {
          queue.push(this.#time.now);
          fleet.enter(inUse + queue.length);
          startQueued();
          if (queue.length > 0) fleet.wait();
        }
        come();
      };
      this.#time.setTimer(arrive, -Math.log(1 - this.#random()) / rate);
    };
    come();
  }

  #record(index: number, enteredAt: number): void {
    if (this.#time.now < this.#from) return;
    this.#waits.push(this.#time.now - enteredAt);
    this.#served[index] = (this.#served[index] ?? 0) + 1;
  }

  /** What one process sees of the storage. */
  #storage(): LeasingStorage {
    const { leaseSeconds, renewSeconds } = this.#options;
    const unused = () => Promise.reject(new Error("There is no circuit here"));
    return {
      getState: unused,
      load: unused,
      change: unused,
      permitLeaseSeconds: leaseSeconds,
      permitRenewSeconds: renewSeconds,
      queryTimeoutSeconds: 1,
      subscribe: () => () => {},
      close: () => Promise.resolve(),
      lease: (requests) => this.#lease(requests),
      subscribeToPermits: (_, onNotice) => {
        this.#subscribers.push(onNotice);
        return () => {};
      },
    };
  }

  /** Requests wait for one another, as for the lock of a row. */
  #lease(requests: readonly PermitRequest[]): Promise<PermitGrant[]> {
    const { lockMs, roundTripMs } = this.#options;
    const time = this.#time;
    this.#lockedUntil = Math.max(this.#lockedUntil, time.now + roundTripMs / 2) + lockMs;
    const second = Math.floor(time.now / 1000);
    this.#requests[second] = (this.#requests[second] ?? 0) + 1;
    return new Promise((resolve) => {
      time.setTimer(() => {
        const grants = requests.map((request) => this.#apply(request));
        time.setTimer(() => resolve(grants), roundTripMs / 2);
      }, this.#lockedUntil - time.now);
    });
  }

  #apply(request: PermitRequest): PermitGrant {
    // The storage has a clock of its own.
    const { pool, grant, notice } = applyLease(this.#pool, request, 1e9 + this.#time.now);
    this.#pool = pool;
    if (notice !== undefined) this.#send(notice);
    return grant;
  }

  #send(notice: PermitNotice): void {
    if (this.#time.now >= this.#from) this.#notices++;
    this.#time.setTimer(() => {
      for (const onNotice of this.#subscribers) onNotice(notice);
    }, this.#options.roundTripMs);
  }
}
