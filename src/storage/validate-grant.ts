import { BOOLEAN, integerFrom, type Rule, validate } from "../common/validation.js";
import type { PermitGrant, PermitNotice } from "./permit-lease.js";

const OBJECT: Rule = {
  description: "an object",
  hasType: (value) => typeof value === "object" && value !== null,
  inRange: () => true,
};

const TURN = integerFrom(Number.MIN_SAFE_INTEGER);
const GRANT_RULES = {
  permits: integerFrom(0),
  fair: integerFrom(0),
  limit: integerFrom(1),
  processes: integerFrom(1),
  isContended: BOOLEAN,
  turn: TURN,
} as const satisfies { readonly [Field in keyof PermitGrant]: Rule };

const NOTICE_RULES = {
  fair: integerFrom(0),
  lastTurn: TURN,
  gives: BOOLEAN,
} as const satisfies { readonly [Field in keyof PermitNotice]: Rule };

/**
 * Validates a grant of a storage: a custom one may return anything.
 * @throws {TypeError | RangeError} that names the field, the rule and the value
 */
export function validateGrant(grant: PermitGrant | undefined): PermitGrant {
  validateFields("a grant of permits", grant, GRANT_RULES);
  return grant as PermitGrant;
}

/**
 * Validates a notice of a storage: a custom one may emit anything.
 * @throws {TypeError | RangeError} that names the field, the rule and the value
 */
export function validateNotice(notice: PermitNotice): void {
  validateFields("a notice of permits", notice, NOTICE_RULES);
}

function validateFields(what: string, value: unknown, rules: Readonly<Record<string, Rule>>): void {
  validate(what, value, OBJECT);
  for (const [field, rule] of Object.entries(rules)) {
    validate(`${field} of ${what}`, Reflect.get(Object(value), field), rule);
  }
}
