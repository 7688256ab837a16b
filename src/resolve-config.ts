import { CONFIG_RULES, readIsolation } from "./common/config-rules.js";
import {
  format,
  POSITIVE_SECONDS,
  type Rule,
  readFields,
  SECONDS,
  validate,
} from "./common/validation.js";
import type {
  BulkheadConfig,
  BulkheadConfigChanges,
  BulkheadOptions,
  ResolvedBulkheadConfig,
  ShutdownOptions,
} from "./config.js";
import type { RunOptions } from "./result.js";
import type { CircuitStorage } from "./storage/circuit-storage.js";

const RULES: { readonly [Field in keyof BulkheadConfig]-?: Rule } = CONFIG_RULES;

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
    isolationDuration: readIsolation(config.isolationDuration ?? 30),
    openQuorum: config.openQuorum ?? 1,
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
    fleetMaxConcurrentCalls: config.fleetMaxConcurrentCalls ?? null,
    fleetFallback: config.fleetFallback ?? "share",
    enforce: config.enforce ?? true,
  };
  if (resolved.classify !== undefined && resolved.errorFilter !== undefined) {
    throw new TypeError("classify and errorFilter exclude each other; got both");
  }
  if (resolved.circuitBreakerEnabled) checkThatCircuitCanOpen(resolved);
  return Object.freeze(resolved);
}

const FIXED_FIELDS = ["name", "circuitBreakerEnabled", "openQuorum"];

/**
 * The configuration after changes, checked as a whole.
 * @throws {TypeError} for a wrong type, an unknown field, and one that cannot be changed
 * @throws {RangeError} for a value out of range
 */
export function changeConfig(
  config: ResolvedBulkheadConfig,
  changes: BulkheadConfigChanges,
): ResolvedBulkheadConfig {
  const fixed = FIXED_FIELDS.find((field) => Object.hasOwn(Object(changes), field));
  if (fixed !== undefined) {
    throw new TypeError(`${fixed} cannot be changed; got ${format(Reflect.get(changes, fixed))}`);
  }
  readFields("changes", changes, RULES);
  return resolveConfig({ ...config, ...changes });
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
    isSecret: true,
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
  for (const limit of STORAGE_SECONDS) {
    const seconds: unknown = read.circuitStorage?.[limit];
    if (seconds !== undefined) validate(`circuitStorage.${limit}`, seconds, POSITIVE_SECONDS);
  }
  const { permitLeaseSeconds = 15, permitRenewSeconds = 5 } = read.circuitStorage ?? {};
  if (permitRenewSeconds >= permitLeaseSeconds) {
    throw new RangeError(
      `circuitStorage.permitRenewSeconds must be less than permitLeaseSeconds, which is ${permitLeaseSeconds}; got ${permitRenewSeconds}`,
    );
  }
  const host: unknown = read.circuitStorage?.host;
  if (host !== undefined) validate("circuitStorage.host", host, RULES.name);
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

const STORAGE_SECONDS = [
  "queryTimeoutSeconds",
  "probeLeaseSeconds",
  "permitLeaseSeconds",
  "permitRenewSeconds",
] as const satisfies ReadonlyArray<keyof CircuitStorage>;

const STORAGE_METHODS: ReadonlyArray<keyof CircuitStorage> = [
  "getState",
  "load",
  "change",
  "subscribe",
  "close",
];
