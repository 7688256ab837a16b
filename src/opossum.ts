import { EventEmitter } from "node:events";
import OpossumBreaker from "opossum";

/**
 * The parts of opossum's class that {@link Circuit} builds on, as opossum's code has them. The
 * published types declare its accessors as fields, and TypeScript lets nobody override a field by an
 * accessor.
 */
declare class Breaker extends EventEmitter {
  constructor(action: (...args: unknown[]) => unknown, options: OpossumBreaker.Options<unknown[]>);
  get closed(): boolean;
  get opened(): boolean;
  get halfOpen(): boolean;
  get pendingClose(): boolean;
  get isShutdown(): boolean;
  get enabled(): boolean;
  get warmUp(): boolean;
  get status(): OpossumBreaker.Status;
  get stats(): OpossumBreaker.Stats;
  readonly options: OpossumBreaker.Options<unknown[]>;
  semaphore: { test(): boolean; release(): void; readonly count: number };
  fire(...args: unknown[]): Promise<unknown>;
  call(context: unknown, ...args: unknown[]): Promise<unknown>;
  open(): void;
  close(): void;
  shutdown(): void;
  toJSON(): { state: object; status: OpossumBreaker.Stats };
}

export const BreakerBase = OpossumBreaker as unknown as typeof Breaker;

/** Never listens: given to opossum's `Status` so that it starts no interval of its own. */
class DeafEmitter extends EventEmitter {
  override on(): this {
    return this;
  }
}
const NO_ROTATION = new DeafEmitter();

/** Takes latencies and keeps none: opossum adds one for each call, even with percentiles off. */
class NoLatencies extends Array<number> {
  override push(): number {
    return 0;
  }
}
const NO_LATENCIES = new NoLatencies();

const BUCKETS = 10;

type RotatingStatus = OpossumBreaker.Status & { rotateBucket(): void };

/**
 * opossum's rolling window without its two interval timers and its lists of latencies: the buckets
 * are turned when somebody looks, by as many as the time since then asks for.
 */
export class RollingWindow {
  readonly status: OpossumBreaker.Status;
  readonly #turn: () => void;
  readonly #bucketMs: number;
  #turnedAt: number;

  constructor(windowMs: number, time: number) {
    const status = OpossumBreaker.newStatus({
      rollingCountBuckets: BUCKETS,
      rollingCountTimeout: windowMs,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: NO_ROTATION,
    }) as RotatingStatus;
    this.status = status;
    this.#turn = () => status.rotateBucket();
    this.#bucketMs = windowMs / BUCKETS;
    this.#turnedAt = time;
    for (const bucket of status.window) bucket.latencyTimes = NO_LATENCIES;
  }

  /** Brings the window up to `time`. */
  advance(time: number): void {
    const due = Math.floor((time - this.#turnedAt) / this.#bucketMs);
    if (due < 1) return;
    this.#turnedAt += due * this.#bucketMs;
    for (let turned = 0; turned < Math.min(due, BUCKETS); turned++) {
      this.#turn();
      this.newest.latencyTimes = NO_LATENCIES;
    }
  }

  /** The bucket that counts now. */
  get newest(): OpossumBreaker.Bucket {
    const [bucket] = this.status.window;
    if (bucket === undefined) throw new Error("opossum's window has no buckets");
    return bucket;
  }
}
