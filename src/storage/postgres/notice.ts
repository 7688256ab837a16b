import type { ChangeHooks } from "./change-source.js";

/**
 * Parses a notice of the table's trigger, and calls `onChange` with its record. Any role may send a notice, so every
 * field may be missing or forged.
 * @returns whether the notice was complete: otherwise the circuits have to be read again
 */
export function receive(
  payload: string | undefined,
  namespace: string,
  hooks: Pick<ChangeHooks, "schema" | "onChange">,
): boolean {
  const notice = parse(payload);
  const ownSchema = hooks.schema();
  if (notice?.["schema"] === undefined || ownSchema === undefined) return false;
  if (notice["schema"] !== ownSchema) return true;
  if (typeof notice["namespace"] === "string" && notice["namespace"] !== namespace) return true;
  if (typeof notice["name"] !== "string" || notice["record"] === undefined) return false;
  try {
    hooks.onChange(notice["name"], notice["record"]);
    return true;
  } catch {
    return false;
  }
}

function parse(payload: string | undefined): { readonly [field: string]: unknown } | undefined {
  try {
    const notice: unknown = JSON.parse(payload ?? "");
    return typeof notice === "object" && notice !== null ? { ...notice } : undefined;
  } catch {
    return undefined;
  }
}
