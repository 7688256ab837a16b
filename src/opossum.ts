import { EventEmitter } from "node:events";
import OpossumBreaker from "opossum";

/**
 * The part of opossum's class that this library uses, as opossum's code has it. The published types
 * declare the accessors as fields, and TypeScript does not let an accessor override a field.
 */
declare class Breaker extends EventEmitter {
  constructor(action: (...args: unknown[]) => unknown, options: OpossumBreaker.Options<unknown[]>);
  get closed(): boolean;
  get opened(): boolean;
  get halfOpen(): boolean;
  get isShutdown(): boolean;
  get enabled(): boolean;
  get status(): OpossumBreaker.Status;
  get stats(): OpossumBreaker.Stats;
  readonly options: OpossumBreaker.Options<unknown[]>;
  fire(...args: unknown[]): Promise<unknown>;
  call(context: unknown, ...args: unknown[]): Promise<unknown>;
  open(): void;
  close(): void;
  enable(): void;
  disable(): void;
  shutdown(): void;
  toJSON(): { state: object; status: OpossumBreaker.Stats };
}

export const BreakerBase = OpossumBreaker as unknown as typeof Breaker;

const BUCKETS = 10;

/**
 * opossum's rolling window, rotated when it is read or written instead of by a timer, and without the
 * latency of every call, which opossum keeps for the length of the window even with percentiles off.
 */
export class RollingWindow {
  readonly status: OpossumBreaker.Status;
  readonly #rotator = new EventEmitter();
  readonly #bucketMs: number;
  // To be read by everyone, and to be written here alone: they are on the path of every call.
  /** The bucket that counts now. */
  newest: OpossumBreaker.Bucket;
  /** When the window has to {@link advance} next. */
  dueAt: number;

  constructor(windowMs: number, time: number) {
    this.status = OpossumBreaker.newStatus({
      rollingCountBuckets: BUCKETS,
      rollingCountTimeout: windowMs,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: this.#rotator,
    });
    this.#bucketMs = windowMs / BUCKETS;
    this.dueAt = time + this.#bucketMs;
    this.newest = newestOf(this.status);
  }

  /** Brings the window up to `time`. Does nothing before {@link dueAt}. */
  advance(time: number): void {
    // A disabled breaker does not listen; the window catches up when it is enabled.
    if (time < this.dueAt || this.#rotator.listenerCount("rotate") === 0) return;
    const due = 1 + Math.floor((time - this.dueAt) / this.#bucketMs);
    this.dueAt += due * this.#bucketMs;
    for (let rotated = 0; rotated < Math.min(due, BUCKETS); rotated++) this.#rotator.emit("rotate");
    this.newest = newestOf(this.status);
  }
}

function newestOf(status: OpossumBreaker.Status): OpossumBreaker.Bucket {
  const [bucket] = status.window;
  if (bucket === undefined) throw new Error("opossum's window has no buckets");
  return bucket;
}
