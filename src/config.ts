import type { Classification, Settlement } from "./classification.js";
import type { CircuitStorage } from "./storage/circuit-storage.js";

/** What a health check is given. */
export interface HealthCheckContext {
  /** Aborted when the check exceeds `timeoutSeconds`, or the bulkhead is shut down. */
  signal: AbortSignal;
}

/**
 * How a bulkhead behaves. Every field but `name` is optional; durations are in seconds. A number is
 * out of range when it is `NaN`, infinite, or a duration longer than a timer holds (2^31-1 ms, about
 * 24.8 days). `undefined` means the default.
 */
export interface BulkheadConfig {
  /** 1 to 255 characters; the circuit's key in storage, and the label in errors and figures. */
  name: string;
  /** How many functions may run at once. Integer ≥ 1. @default 10 */
  maxConcurrentCalls?: number | undefined;
  /** How many calls may wait for a permit. Integer ≥ 0. @default 100 */
  maxQueueSize?: number | undefined;
  /**
   * Seconds that a call may take, waiting and running together. > 0, or `null` for no limit.
   * @default null
   */
  timeoutSeconds?: number | null | undefined;
  /**
   * Seconds that a call may wait for its permit. A call that waits longer is rejected with a `BulkheadTimeoutError`
   * of the phase `waiting`. > 0, or `null` for no limit but `timeoutSeconds`.
   * @default null
   */
  maxWaitSeconds?: number | null | undefined;
  /**
   * Keeps the queue short under overload: once the queue has not been empty for twice this time, a call that has
   * waited longer than it is rejected with a `BulkheadFullError` when its turn comes. > 0, or `null` for off.
   * A controlled delay (CoDel) as Facebook runs it: "Fail at Scale", ACM Queue 2839461.
   * @default null
   */
  queueTargetSeconds?: number | null | undefined;
  /**
   * This many consecutive failures open the circuit. Integer ≥ 1, or `null` for off: then another rule or
   * `healthCheck` must be set, unless `circuitBreakerEnabled` is `false`.
   * @default 5
   */
  failureThreshold?: number | null | undefined;
  /**
   * Consecutive failures that lie further apart than this, from the first to the last, do not add up. Seconds, > 0, or
   * `null`: they add up however far apart they are.
   * @default null
   */
  failureWindowSeconds?: number | null | undefined;
  /** This many successful probes close the circuit again. Integer ≥ 1. @default 3 */
  successThreshold?: number | undefined;
  /**
   * Seconds that the circuit stays open before it lets probes through: ≥ 0, or an isolation that grows with each
   * opening since the circuit was closed last.
   * @default 30
   */
  isolationDuration?: number | GrowingIsolation | undefined;
  /**
   * How many distinct hosts have to open their circuits before the shared one opens. A process always opens its own at
   * once; without the quorum it probes by itself, and no other process is affected. Counts while the isolations last. Not
   * needed by manual changes, other programs, and pauses that the dependency asks for. Integer ≥ 1.
   * @default 1
   */
  openQuorum?: number | undefined;
  /** `false` leaves only the limit on concurrency. @default true */
  circuitBreakerEnabled?: boolean | undefined;
  /**
   * Seconds after which the permit of a function that outlives its caller is taken back. ≥ 0;
   * 0 takes it back when the caller gets its answer, `null` never does.
   * @default 30
   */
  reclaimAfterSeconds?: number | null | undefined;
  /**
   * Run every `healthCheckInterval`, never two at a time. It fails when it throws, rejects, returns
   * `false` or exceeds `timeoutSeconds`. A failing check opens the circuit; a passing one while the
   * circuit is open ends the isolation early, unless it has a person's `reason` in the storage. The
   * timer does not keep the process alive.
   */
  healthCheck?: ((context: HealthCheckContext) => unknown) | undefined;
  /** Seconds between the starts of two health checks. > 0. @default 5 */
  healthCheckInterval?: number | undefined;
  /**
   * `true` when an error (or a timeout) is not the dependency's fault: the call still fails for its
   * caller, the circuit takes it as a success. Name and meaning are opossum's. Must not throw; if it
   * does, the error counts as a failure.
   * @example errorFilter: (error) => error instanceof HttpError && error.status === 404
   */
  // biome-ignore lint/suspicious/noExplicitAny: errors and arguments are whatever the functions have
  errorFilter?: ((error: any, ...args: any[]) => boolean) | undefined;
  /**
   * Judges a settled call by its value or its error; `undefined` leaves it to the plain rule, by which a value is a
   * success and an error a failure. It changes nothing for the caller. Must be synchronous; a fault in it is
   * reported once, and the plain rule holds. Not together with `errorFilter`. {@link httpStatus} makes one.
   * @example classify: ({ result, error }) => (result?.ok === false || error ? "failure" : "success")
   */
  // biome-ignore lint/suspicious/noExplicitAny: arguments are whatever the functions have
  classify?: ((settled: Settlement, ...args: any[]) => Classification | undefined) | undefined;
  /**
   * Percentage of failures over the rolling window that also opens the circuit. > 0 and ≤ 100, or
   * `null` for off.
   * @default null
   */
  failureRateThreshold?: number | null | undefined;
  /**
   * A call that has run for this long is slow, also while it runs on. Seconds, > 0, or `null` for off. A slow probe opens
   * the circuit again.
   * @default null
   */
  slowCallSeconds?: number | null | undefined;
  /**
   * Percentage of slow calls over the rolling window that opens the circuit. > 0 and ≤ 100.
   * @default 100
   */
  slowCallRateThreshold?: number | undefined;
  /** Fewest calls in the window for a rate to count. Integer ≥ 1. @default 10 */
  minimumCalls?: number | undefined;
  /** Length of the rolling window in seconds. > 0. @default 10 */
  windowSeconds?: number | undefined;
  /**
   * How many functions of this name may run at once in all processes together that share the storage, which leases
   * permits to them: no query per call, and shares by demand. `maxConcurrentCalls` holds besides. Of different values the smallest
   * counts. Needs a `circuitStorage` with `lease`; without any storage it bounds this bulkhead alone, and a process warning
   * says so. Integer ≥ 1, or `null` for off.
   * @default null
   */
  fleetMaxConcurrentCalls?: number | null | undefined;
  /**
   * How many functions may run while the storage does not answer and the lease is over: `"share"`: as many as it held, its
   * share of the limit at most, and one when it held none; `"local"`: `maxConcurrentCalls`; `"reject"`: none, and calls are
   * rejected with a `BulkheadFullError`.
   * @default "share"
   */
  fleetFallback?: FleetFallback | undefined;
  /**
   * `false` only watches: every decision is made, counted in `wouldReject` and emitted as `rejected` with
   * `enforced: false`, and the call runs at once and to its end. The circuit changes by what it sees, and never reaches the
   * storage. A caller's own signal and a shutdown still end calls.
   * @default true
   */
  enforce?: boolean | undefined;
}

/** What bounds the calls of a process that the storage does not answer. */
export type FleetFallback = "share" | "local" | "reject";

/**
 * An isolation that grows: the n-th opening since the circuit was closed last takes `min * factor ** (n - 1)` seconds, `max`
 * at most, and from the second one on a random 75 to 100 % of that, so that a fleet does not probe all at once.
 */
export interface GrowingIsolation {
  /** Seconds of the first opening. > 0. */
  min: number;
  /** The most seconds. ≥ `min`. */
  max: number;
  /** What each opening multiplies the seconds by. ≥ 1. @default 2 */
  factor?: number | undefined;
}

/** A validated {@link BulkheadConfig} with every default filled in. */
export type ResolvedBulkheadConfig = {
  readonly [Field in keyof BulkheadConfig]-?: Field extends
    | "healthCheck"
    | "errorFilter"
    | "classify"
    ? BulkheadConfig[Field]
    : Field extends "isolationDuration"
      ? number | Readonly<Record<keyof GrowingIsolation, number>>
      : Exclude<BulkheadConfig[Field], undefined>;
};

/** What `configure` can change: every field but those that make the bulkhead what it is. */
export type BulkheadConfigChanges = Omit<
  BulkheadConfig,
  "name" | "circuitBreakerEnabled" | "openQuorum"
>;

/** What a bulkhead can be given besides its configuration. */
export interface BulkheadOptions {
  /**
   * Where the circuit is kept: bulkheads of the same name on the same storage share one circuit.
   * Default: nowhere, the circuit is this bulkhead's own.
   */
  circuitStorage?: CircuitStorage | undefined;
}

/** Options of `shutdown`. */
export interface ShutdownOptions {
  /**
   * Seconds that running and waiting calls may go on, ≥ 0. What is not over by then is cut: its caller
   * is rejected with a `BulkheadShutdownError`, its task's `signal` is aborted. Default: waiting calls
   * are rejected at once, running ones go on and are not waited for.
   */
  drainSeconds?: number | undefined;
}
