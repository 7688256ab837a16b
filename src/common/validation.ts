import { MAX_TIMER_MS } from "./clock.js";
import { describeValue, kindOf, oneLine } from "./describe.js";
import { suggestField } from "./field-hints.js";

const MAX_SECONDS = MAX_TIMER_MS / 1000;

/** A value's rule: its description for messages, and checks of type and range. */
export interface Rule {
  readonly description: string;
  readonly hasType: (value: unknown) => boolean;
  readonly inRange: (value: never) => boolean;
  /** What its numbers count, for hints. */
  readonly unit?: "seconds" | "percent" | undefined;
  /** An invalid value may be an object with a password: messages name its type only. */
  readonly isSecret?: boolean | undefined;
}

/** The rule of a name, and of a namespace. */
export const NAME = {
  description: "a string of 1 to 255 characters",
  hasType: (value: unknown) => typeof value === "string",
  // Postgres counts code points in a varchar(255), not UTF-16 units.
  inRange: (value: string) =>
    value !== "" && [...value.slice(0, 512)].length <= 255 && value.length <= 510,
} satisfies Rule;
/** The rule of a switch. */
export const BOOLEAN: Rule = {
  description: "true or false",
  hasType: (value) => typeof value === "boolean",
  inRange: () => true,
};
/** The rule of a callback. */
export const FUNCTION: Rule = {
  description: "a function",
  hasType: (value) => typeof value === "function",
  inRange: () => true,
};
/** The rule of a rate. */
export const PERCENTAGE = number(
  "a percentage over 0 and up to 100",
  (value) => value > 0 && value <= 100,
  "percent",
);
/** The rule of a duration that cannot be 0. */
export const POSITIVE_SECONDS = number(
  `a number of seconds over 0 and up to ${MAX_SECONDS}`,
  (value) => value > 0 && value <= MAX_SECONDS,
  "seconds",
);
/** The rule of a duration that can be 0. */
export const SECONDS = number(
  `a number of seconds from 0 to ${MAX_SECONDS}`,
  (value) => value >= 0 && value <= MAX_SECONDS,
  "seconds",
);

/**
 * Reads the fields of `rules` from `given`, each once, and checks them.
 * @param path what messages put before a field's name, such as `isolationDuration.`
 * @throws {TypeError} for something that is not an object, an unknown field, or a wrong type
 * @throws {RangeError} for a value out of range
 */
export function readFields<T extends object>(
  what: string,
  given: T,
  rules: { readonly [Field in keyof T]-?: Rule },
  path = "",
): T {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new TypeError(`${what} must be an object; got ${format(given)}`);
  }
  for (const field of Object.keys(given)) {
    if (Object.hasOwn(rules, field)) continue;
    const suggestion = suggestField(field, rules);
    throw new TypeError(`${what} has no field "${oneLine(field)}"; did you mean ${suggestion}?`);
  }
  const read: Partial<T> = {};
  for (const field of Object.keys(rules) as Array<keyof T & string>) {
    const value = given[field];
    if (value === undefined) continue;
    validate(`${path}${field}`, value, rules[field]);
    read[field] = value;
  }
  return read as T;
}

export function validate(field: string, value: unknown, rule: Rule): void {
  if (!rule.hasType(value)) {
    const given = rule.isSecret ? kindOf(value) : format(value);
    throw new TypeError(`${field} must be ${rule.description}; got ${given}`);
  }
  if (!rule.inRange(value as never)) {
    throw new RangeError(`${field} must be ${rule.description}; got ${format(value)}`);
  }
}

function number(
  description: string,
  inRange: (value: number) => boolean,
  unit?: "seconds" | "percent",
): Rule {
  return { description, hasType: (value) => typeof value === "number", inRange, unit };
}

/** The rule of a count. */
export function integerFrom(least: number): Rule {
  return number(
    `an integer of at least ${least}`,
    (value) => Number.isSafeInteger(value) && value >= least,
  );
}

/** The rule, or `null`. */
export function orNull(rule: Rule): Rule {
  return {
    description: `${rule.description}, or null`,
    hasType: (value) => value === null || rule.hasType(value),
    inRange: (value) => value === null || rule.inRange(value),
    unit: rule.unit,
  };
}

/** User and password of a URL, also when they are not percent-encoded. */
const CREDENTIALS = /:\/\/[^\s'"`]*@/g;

/** A given value for an error message, cut to a readable length, and without the credentials of URLs. */
export function format(value: unknown): string {
  const text = describeValue(value).replace(CREDENTIALS, "://…@");
  return text.length <= 120 ? text : `${text.slice(0, 120)}…`;
}
