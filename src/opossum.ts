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

const BUCKETS = 10;

type RotatingStatus = OpossumBreaker.Status & { rotateBucket(): void };

/** Events of a call, which {@link RollingWindow} counts: opossum's own listeners of them are not needed. */
export const COUNTED_EVENTS: ReadonlySet<string | symbol> = new Set([
  "fire",
  "success",
  "failure",
  "timeout",
  "reject",
]);

/**
 * opossum's rolling window without its two interval timers and without the latency of every call, which
 * opossum keeps even with percentiles off: the buckets are turned when somebody looks, by as many as
 * the time since then asks for.
 */
export class RollingWindow {
  readonly status: OpossumBreaker.Status;
  readonly #turn: () => void;
  readonly #bucketMs: number;
  #turnedAt: number;
  #newest: OpossumBreaker.Bucket;

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
    this.#newest = newestOf(status);
  }

  /** Brings the window up to `time`. */
  advance(time: number): void {
    if (time - this.#turnedAt < this.#bucketMs) return;
    const due = Math.floor((time - this.#turnedAt) / this.#bucketMs);
    this.#turnedAt += due * this.#bucketMs;
    for (let turned = 0; turned < Math.min(due, BUCKETS); turned++) this.#turn();
    this.#newest = newestOf(this.status);
  }

  /** Counts an event of a call. Does nothing for others. */
  count(event: string | symbol): void {
    const bucket = this.#newest;
    // Spelled out for the sake of speed: it is on the path of every call.
    if (event === "fire") bucket.fires++;
    else if (event === "success") bucket.successes++;
    else if (event === "failure") bucket.failures++;
    else if (event === "timeout") bucket.timeouts++;
    else if (event === "reject") bucket.rejects++;
  }

  /** The bucket that counts now. */
  get newest(): OpossumBreaker.Bucket {
    return this.#newest;
  }
}

function newestOf(status: OpossumBreaker.Status): OpossumBreaker.Bucket {
  const [bucket] = status.window;
  if (bucket === undefined) throw new Error("opossum's window has no buckets");
  return bucket;
}
