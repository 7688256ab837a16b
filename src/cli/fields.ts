import { CONFIG_RULES, readIsolation } from "../common/config-rules.js";
import { suggestField } from "../common/field-hints.js";
import { type Rule, validate } from "../common/validation.js";
import { UsageError } from "./command.js";

/** What identifies a bulkhead, or decides how it is built, and what JSON cannot hold. */
const FIXED = new Set([
  "name",
  "circuitBreakerEnabled",
  "openQuorum",
  "healthCheck",
  "errorFilter",
  "classify",
]);

const RULES: Readonly<Record<string, Rule>> = CONFIG_RULES;
const SETTABLE = Object.fromEntries(Object.entries(RULES).filter(([field]) => !FIXED.has(field)));

/** The fields that `bulkman set` can change. */
export const FIELDS: readonly string[] = Object.keys(SETTABLE);

/**
 * Splits positionals into NAMEs and `field=value`s. The first is a NAME, unless it begins with a known field or there is
 * `--all`: a name may contain `=`.
 */
export function splitFields(positionals: readonly string[], all: boolean) {
  const isField = (text: string, i: number) => {
    const [, field] = /^(\w+)=/.exec(text) ?? [];
    return field !== undefined && (i > 0 || all || Object.hasOwn(RULES, field));
  };
  return {
    names: positionals.filter((text, i) => !isField(text, i)),
    fields: positionals.filter(isField),
  };
}

/**
 * Reads `field=value`s by the rules of the constructor of a bulkhead.
 * @throws {UsageError} that names the field, the rule and the value
 */
export function readFieldValues(texts: readonly string[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const text of texts) {
    const at = text.indexOf("=");
    const field = text.slice(0, at);
    const rule = ruleOf(field);
    if (Object.hasOwn(values, field)) throw new UsageError(`${field} is given twice`);
    values[field] = readValue(field, text.slice(at + 1), rule);
  }
  return values;
}

/** @throws {UsageError} for a field that does not exist, or cannot be changed */
function ruleOf(field: string): Rule {
  const rule = SETTABLE[field];
  if (rule !== undefined && FIELDS.includes(field)) return rule;
  if (FIXED.has(field)) throw new UsageError(`${field} of a running bulkhead cannot be changed`);
  const suggestion = suggestField(field, SETTABLE);
  throw new UsageError(`there is no field "${field}"; did you mean ${suggestion}?`);
}

function readValue(field: string, text: string, rule: Rule): unknown {
  const value = parse(text);
  try {
    validate(field, value, rule);
    return field === "isolationDuration" ? readIsolation(value as number) : value;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** JSON: a number, `null`, `true`, `false` or an object; anything else stays a text, which no rule accepts. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
