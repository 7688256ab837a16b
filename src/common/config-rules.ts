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
} from "./validation.js";

/** The rule of each field of a bulkhead's configuration: of the constructor, and of `bulkman set`. */
export const CONFIG_RULES = {
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
  openQuorum: integerFrom(1),
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
  fleetMaxConcurrentCalls: orNull(integerFrom(1)),
  fleetFallback: {
    description: '"share", "local" or "reject"',
    hasType: (value) => typeof value === "string",
    inRange: (value) => ["share", "local", "reject"].includes(value),
  },
  enforce: BOOLEAN,
} as const satisfies { readonly [field: string]: Rule };

/** An isolation that grows, as it is given. */
interface GivenIsolation {
  min: number;
  max: number;
  factor?: number | undefined;
}

const ISOLATION_RULES: { readonly [Field in keyof GivenIsolation]-?: Rule } = {
  min: POSITIVE_SECONDS,
  max: POSITIVE_SECONDS,
  factor: {
    description: "a number of at least 1",
    hasType: (value) => typeof value === "number",
    inRange: (value) => Number.isFinite(value) && value >= 1,
  },
};

/**
 * Checks the fields of an `isolationDuration`, and fills in its defaults.
 * @throws {TypeError | RangeError} for a wrong value, a missing or an unknown field
 */
export function readIsolation(
  given: number | GivenIsolation,
): number | Readonly<Record<keyof GivenIsolation, number>> {
  if (typeof given === "number") return given;
  const field = "isolationDuration";
  const { min, max, factor = 2 } = readFields(field, given, ISOLATION_RULES, `${field}.`);
  validate("isolationDuration.min", min, ISOLATION_RULES.min);
  validate("isolationDuration.max", max, ISOLATION_RULES.max);
  if (max < min) {
    throw new RangeError(
      `isolationDuration.max must be at least isolationDuration.min, which is ${min}; got ${max}`,
    );
  }
  return Object.freeze({ min, max, factor });
}
