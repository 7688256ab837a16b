import {
  BOOLEAN,
  FUNCTION,
  integerFrom,
  NAME,
  orNull,
  PERCENTAGE,
  POSITIVE_SECONDS,
  type Rule,
  readFields,
  SECONDS,
  validate,
} from "./common/validation.js";
import type { RunOptions } from "./result.js";
import type { CircuitStorage } from "./storage/circuit-storage.js";

/** What a health check is given. */
export interface HealthCheckContext {
  /** Aborted when the check exceeds `timeoutSeconds`, or the bulkhead is shut down. */
  signal: AbortSignal;
}

/** How the function of a call settled: with a value, or with an error. */
export type Settlement = ResultSettlement | ErrorSettlement;

/** The function returned a value, or its promise resolved. */
export interface ResultSettlement {
  /** The value. */
  // biome-ignore lint/suspicious/noExplicitAny: values are whatever the functions have
  readonly result: any;
  /** Absent. */
  readonly error?: undefined;
}

/** The function threw, or its promise rejected, or the call timed out. */
export interface ErrorSettlement {
  /** What was thrown. */
  // biome-ignore lint/suspicious/noExplicitAny: errors are whatever the functions have
  readonly error: any;
  /** Absent. */
  readonly result?: undefined;
}

/**
 * What a settled call says of the dependency:
 * - `"success"`: it works
 * - `"failure"`: it failed; `retryAfterSeconds` (≥ 0, an hour at most) opens the circuit at once for that long
 * - `"ignore"`: nothing; it neither ends a run of failures nor counts in a rate, and a probe's place is free again
 */
export type Classification = "success" | "failure" | "ignore" | ClassifiedFailure;

/** A failure whose server said when to come back. */
export interface ClassifiedFailure {
  /** It failed. */
  readonly outcome: "failure";
  /** Seconds that the circuit is to stay open. ≥ 0, an hour at most; 0 means a failure like any other. */
  readonly retryAfterSeconds?: number | undefined;
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
}

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

const RULES: { readonly [Field in keyof BulkheadConfig]-?: Rule } = {
  name: NAME,
  maxConcurrentCalls: integerFrom(1),
  maxQueueSize: integerFrom(0),
  timeoutSeconds: orNull(POSITIVE_SECONDS),
  maxWaitSeconds: orNull(POSITIVE_SECONDS),
  queueTargetSeconds: orNull(POSITIVE_SECONDS),
  failureThreshold: orNull(integerFrom(1)),
  failureWindowSeconds: orNull(POSITIVE_SECONDS),
  successThreshold: integerFrom(1),
  isolationDuration: {
    description: `${SECONDS.description}, or { min, max, factor }`,
    hasType: (value) =>
      SECONDS.hasType(value) ||
      (typeof value === "object" && value !== null && !Array.isArray(value)),
    inRange: (value) => typeof value === "object" || SECONDS.inRange(value),
    unit: SECONDS.unit,
  },
  circuitBreakerEnabled: BOOLEAN,
  reclaimAfterSeconds: orNull(SECONDS),
  healthCheck: FUNCTION,
  healthCheckInterval: POSITIVE_SECONDS,
  errorFilter: FUNCTION,
  classify: FUNCTION,
  failureRateThreshold: orNull(PERCENTAGE),
  slowCallSeconds: orNull(POSITIVE_SECONDS),
  slowCallRateThreshold: PERCENTAGE,
  minimumCalls: integerFrom(1),
  windowSeconds: POSITIVE_SECONDS,
};

/**
 * Checks a configuration and fills in the defaults.
 * @throws {TypeError} for a wrong or missing type and for an unknown field
 * @throws {RangeError} for a value out of range
 */
export function resolveConfig(given: BulkheadConfig): ResolvedBulkheadConfig {
  const config = readFields("config", given, RULES);
  validate("name", config.name, RULES.name);
  const resolved = {
    name: config.name,
    maxConcurrentCalls: config.maxConcurrentCalls ?? 10,
    maxQueueSize: config.maxQueueSize ?? 100,
    timeoutSeconds: config.timeoutSeconds ?? null,
    maxWaitSeconds: config.maxWaitSeconds ?? null,
    queueTargetSeconds: config.queueTargetSeconds ?? null,
    failureThreshold: config.failureThreshold === undefined ? 5 : config.failureThreshold,
    failureWindowSeconds: config.failureWindowSeconds ?? null,
    successThreshold: config.successThreshold ?? 3,
    isolationDuration: resolveIsolation(config.isolationDuration ?? 30),
    circuitBreakerEnabled: config.circuitBreakerEnabled ?? true,
    reclaimAfterSeconds: config.reclaimAfterSeconds === undefined ? 30 : config.reclaimAfterSeconds,
    healthCheck: config.healthCheck,
    healthCheckInterval: config.healthCheckInterval ?? 5,
    errorFilter: config.errorFilter,
    classify: config.classify,
    failureRateThreshold: config.failureRateThreshold ?? null,
    slowCallSeconds: config.slowCallSeconds ?? null,
    slowCallRateThreshold: config.slowCallRateThreshold ?? 100,
    minimumCalls: config.minimumCalls ?? 10,
    windowSeconds: config.windowSeconds ?? 10,
  };
  if (resolved.classify !== undefined && resolved.errorFilter !== undefined) {
    throw new TypeError("classify and errorFilter exclude each other; got both");
  }
  if (resolved.circuitBreakerEnabled) checkThatCircuitCanOpen(resolved);
  return Object.freeze(resolved);
}

const ISOLATION_RULES: { readonly [Field in keyof GrowingIsolation]-?: Rule } = {
  min: POSITIVE_SECONDS,
  max: POSITIVE_SECONDS,
  factor: {
    description: "a number of at least 1",
    hasType: (value) => typeof value === "number",
    inRange: (value) => Number.isFinite(value) && value >= 1,
  },
};

function resolveIsolation(
  given: number | GrowingIsolation,
): ResolvedBulkheadConfig["isolationDuration"] {
  if (typeof given === "number") return given;
  const { min, max, factor = 2 } = readFields("isolationDuration", given, ISOLATION_RULES);
  validate("isolationDuration.min", min, ISOLATION_RULES.min);
  validate("isolationDuration.max", max, ISOLATION_RULES.max);
  if (max < min) {
    throw new RangeError(
      `isolationDuration.max must be at least isolationDuration.min, which is ${min}; got ${max}`,
    );
  }
  return Object.freeze({ min, max, factor });
}

function checkThatCircuitCanOpen(config: ResolvedBulkheadConfig): void {
  const { failureThreshold, failureRateThreshold, slowCallSeconds, healthCheck, classify } = config;
  const hasRule =
    failureThreshold !== null || failureRateThreshold !== null || slowCallSeconds !== null;
  if (hasRule || healthCheck !== undefined || classify !== undefined) return;
  throw new RangeError(
    "Nothing could open the circuit: failureThreshold, failureRateThreshold and slowCallSeconds are null and " +
      "there is no healthCheck or classify; set one of them, or circuitBreakerEnabled: false",
  );
}

const OPTIONS_RULES: { readonly [Field in keyof BulkheadOptions]-?: Rule } = {
  circuitStorage: {
    description: "a CircuitStorage, with the methods getState, load, change, subscribe and close",
    hasType: isStorage,
    inRange: () => true,
  },
};
const RUN_RULES: { readonly [Field in keyof RunOptions]-?: Rule } = {
  signal: {
    description: "an AbortSignal",
    hasType: isSignal,
    inRange: () => true,
  },
  timeoutSeconds: RULES.timeoutSeconds,
};
const SHUTDOWN_RULES: { readonly [Field in keyof ShutdownOptions]-?: Rule } = {
  drainSeconds: SECONDS,
};

/** @throws {TypeError | RangeError} for a wrong value or an unknown field */
export function readOptions(options: BulkheadOptions): BulkheadOptions {
  const read = readFields("options", options, OPTIONS_RULES);
  for (const limit of ["queryTimeoutSeconds", "probeLeaseSeconds"] as const) {
    const seconds: unknown = read.circuitStorage?.[limit];
    if (seconds !== undefined) validate(`circuitStorage.${limit}`, seconds, POSITIVE_SECONDS);
  }
  return read;
}

/** @throws {TypeError | RangeError} for a wrong value or an unknown field */
export function readRunOptions(options: RunOptions): RunOptions {
  return readFields("options", options, RUN_RULES);
}

/** @throws {TypeError | RangeError} for a wrong value or an unknown field */
export function readShutdownOptions(options: ShutdownOptions): ShutdownOptions {
  return readFields("options", options, SHUTDOWN_RULES);
}

/** By its shape: test environments and polyfills have classes of their own. */
function isSignal(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
  return (
    typeof aborted === "boolean" &&
    typeof addEventListener === "function" &&
    typeof removeEventListener === "function"
  );
}

function isStorage(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return STORAGE_METHODS.every((method) => typeof Reflect.get(value, method) === "function");
}

const STORAGE_METHODS: ReadonlyArray<keyof CircuitStorage> = [
  "getState",
  "load",
  "change",
  "subscribe",
  "close",
];
