import { BOOLEAN, integerFrom, type Rule, validate } from "../common/validation.js";
import type { PermitGrant } from "./permit-lease.js";

const OBJECT: Rule = {
  description: "an object",
  hasType: (value) => typeof value === "object" && value !== null,
  inRange: () => true,
};

const RULES = {
  permits: integerFrom(0),
  fair: integerFrom(0),
  limit: integerFrom(1),
  processes: integerFrom(1),
  isContended: BOOLEAN,
  turn: integerFrom(Number.MIN_SAFE_INTEGER),
} as const satisfies { readonly [Field in keyof PermitGrant]: Rule };

/**
 * Validates a grant of a storage: a custom one may return anything.
 * @throws {TypeError | RangeError} that names the field, the rule and the value
 */
export function validateGrant(grant: PermitGrant | undefined): PermitGrant {
  validate("a grant of permits", grant, OBJECT);
  for (const [field, rule] of Object.entries(RULES)) {
    validate(`${field} of a grant of permits`, Reflect.get(Object(grant), field), rule);
  }
  return grant as PermitGrant;
}
