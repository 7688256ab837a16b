import { isDate } from "node:util/types";
import { type Rule, validate } from "../common/validation.js";
import { type CircuitRecord, type CircuitSettings, isCircuitStatus } from "./circuit-storage.js";

const isObject = (value: unknown) => typeof value === "object" && value !== null;
const isTime = (value: unknown) => isDate(value) && !Number.isNaN(value.getTime());

const RECORD = rule("an object", isObject);
const DATE = rule("a valid Date", isTime);
/** `undefined` is what a storage returns that is older than the field. */
const isTextOrNull = (value: unknown) => (value ?? null) === null || typeof value === "string";
const TEXT_OR_NULL = rule("a string, or null", isTextOrNull);
const DATE_OR_NULL = rule("a valid Date, or null", (value) => value === null || isTime(value));

const COUNT = rule(
  "an integer of at least 0",
  (value) => Number.isSafeInteger(value) && Number(value) >= 0,
);

/** The fields that decide, and those that are copied into changes. The others are for people. */
const RULES = {
  state: rule('"CLOSED", "OPEN" or "HALF_OPEN"', isCircuitStatus),
  version: rule("a safe integer", Number.isSafeInteger),
  readAt: DATE,
  openUntil: DATE_OR_NULL,
  openedBy: TEXT_OR_NULL,
  reason: TEXT_OR_NULL,
  probeUntil: DATE_OR_NULL,
  probeSuccesses: COUNT,
  openings: rule(
    `${COUNT.description}, or undefined`,
    (value) => value === undefined || COUNT.hasType(value),
  ),
} as const satisfies { readonly [Field in keyof CircuitRecord]?: Rule };

const SETTINGS_RULES = {
  values: rule("an object", (value) => isObject(value) && !Array.isArray(value)),
  until: DATE_OR_NULL,
  reason: TEXT_OR_NULL,
  by: TEXT_OR_NULL,
} as const satisfies { readonly [Field in keyof CircuitSettings]: Rule };

/**
 * Validates a record of a storage: a custom one may return anything.
 * @throws {TypeError} that names the field, the rule and the value
 */
export function validateRecord(record: CircuitRecord): CircuitRecord {
  validate("the record of a circuit", record, RECORD);
  for (const [field, rule] of Object.entries(RULES)) {
    validate(`${field} of a circuit's record`, Reflect.get(record, field), rule);
  }
  // `undefined` is what a storage without settings returns.
  const settings = record.settings ?? null;
  if (settings !== null) validateSettings(settings);
  return record;
}

/**
 * Validates the settings of a circuit, but for their values: each process knows the rules of those itself.
 * @throws {TypeError} that names the field, the rule and the value
 */
export function validateSettings(settings: CircuitSettings): CircuitSettings {
  validate("the settings of a circuit", settings, RECORD);
  for (const [field, rule] of Object.entries(SETTINGS_RULES)) {
    validate(`${field} of a circuit's settings`, Reflect.get(settings, field), rule);
  }
  return settings;
}

function rule(description: string, hasType: (value: unknown) => boolean): Rule {
  return { description, hasType, inRange: () => true };
}
