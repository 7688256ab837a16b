import type { Call } from "./call.js";

/**
 * Whether a call that ran out of time says something of the dependency: its function had at least half of
 * the time. The rest was spent in the bulkhead's own queue, which says nothing.
 */
export function isFairVerdict(
  { spentTimeBefore, enteredAt, startedAt, limitMs }: Call,
  time: number,
  why: "timeout" | "deadline",
): boolean {
  if (!spentTimeBefore) return true;
  // A limit that came as a signal is not known: what has passed of it is.
  const wholeMs = why === "timeout" && limitMs !== undefined ? limitMs : time - enteredAt;
  return time - startedAt >= wholeMs / 2;
}

/** Whether a caller aborted by a time limit, as `AbortSignal.timeout()` does, and not because it left. */
export function isDeadline(reason: unknown): boolean {
  try {
    return Reflect.get(Object(reason), "name") === "TimeoutError";
  } catch {
    return false;
  }
}
