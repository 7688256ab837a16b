import { EventEmitter } from "node:events";
import OpossumBreaker from "opossum";
import type { ResolvedBulkheadConfig } from "../config.js";

type WindowConfig = Pick<ResolvedBulkheadConfig, "windowSeconds">;

const BUCKETS = 10;

/** In place of a bucket until the window is created. Nothing is counted in it. */
const NO_BUCKET: OpossumBreaker.Bucket = Object.freeze({
  failures: 0,
  fallbacks: 0,
  successes: 0,
  rejects: 0,
  fires: 0,
  timeouts: 0,
  cacheHits: 0,
  cacheMisses: 0,
  semaphoreRejections: 0,
  percentiles: {},
  latencyTimes: [],
});

/**
 * opossum's rolling window, rotated when it is read or written instead of by a timer, and without the
 * latency of every call, which opossum keeps for the length of the window even with percentiles off.
 * It is created by the first {@link advance}: an idle bulkhead costs half without it.
 */
export class RollingWindow {
  readonly #config: WindowConfig;
  /** Made with the window. */
  #rotator: EventEmitter | undefined = undefined;
  #status: OpossumBreaker.Status | undefined = undefined;
  // To be read by everyone, and to be written here alone: they are on the path of every call.
  /** The bucket that counts now. */
  newest = NO_BUCKET;
  /** When the window has to {@link advance} next, before anything is counted in it. */
  dueAt = Number.NEGATIVE_INFINITY;

  constructor(config: WindowConfig) {
    this.#config = config;
  }

  get #windowMs(): number {
    return this.#config.windowSeconds * 1000;
  }

  get status(): OpossumBreaker.Status {
    if (this.#status === undefined) {
      this.#rotator = new EventEmitter();
      this.#status = OpossumBreaker.newStatus({
        rollingCountBuckets: BUCKETS,
        rollingCountTimeout: this.#windowMs,
        rollingPercentilesEnabled: false,
        enableSnapshots: false,
        rotateBucketController: this.#rotator,
      });
    }
    return this.#status;
  }

  /** The length of the window has changed: the bucket that counts now ends after the new length of a bucket at most. */
  reschedule(time: number): void {
    this.dueAt = Math.min(this.dueAt, time + this.#windowMs / BUCKETS);
  }

  /** Brings the window up to `time`. Does nothing before {@link dueAt}. */
  advance(time: number): void {
    if (time < this.dueAt) return;
    const { status } = this;
    const bucketMs = this.#windowMs / BUCKETS;
    if (this.newest === NO_BUCKET) this.dueAt = time + bucketMs;
    // A disabled breaker does not listen; the window catches up when it is enabled.
    else if (!this.#rotator?.listenerCount("rotate")) return;
    else this.#rotate(time, bucketMs);
    this.newest = newestOf(status);
  }

  #rotate(time: number, bucketMs: number): void {
    const due = 1 + Math.floor((time - this.dueAt) / bucketMs);
    this.dueAt += due * bucketMs;
    for (let rotated = 0; rotated < Math.min(due, BUCKETS); rotated++)
      this.#rotator?.emit("rotate");
  }
}

function newestOf(status: OpossumBreaker.Status): OpossumBreaker.Bucket {
  const [bucket] = status.window;
  if (bucket === undefined) throw new Error("opossum's window has no buckets");
  return bucket;
}
