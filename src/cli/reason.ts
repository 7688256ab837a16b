import { UsageError } from "./command.js";

export const MAX_REASON = 255;

/** @throws {UsageError} for a reason that is empty or too long */
export function readReason(text: string): string {
  const reason = text.trim();
  const { length } = [...reason];
  if (length >= 1 && length <= MAX_REASON) return reason;
  throw new UsageError(`--reason must have 1 to ${MAX_REASON} characters; got ${length}`);
}
