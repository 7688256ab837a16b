/** Longest delay that a Node timer can hold, in milliseconds; it fires at once for anything longer. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Milliseconds on the monotonic clock: the one place where the library reads that clock. */
export function now(): number {
  return performance.now();
}

const makersOfNativeTimers = new WeakSet<typeof setTimeout>();

/**
 * Whether `setTimeout` is known to make Node's own timers: it is Node's, or wraps it.
 *
 * Tools that fake timers in tests replace it. A timer of theirs cannot be relied on later: it never fires once
 * they were reset or Node's `setTimeout` is back, and their clock is another one.
 */
export function hasNativeTimers(): boolean {
  return makersOfNativeTimers.has(setTimeout);
}

/** Lets the process exit although the timer is pending. */
export function unref(timer: NodeJS.Timeout): void {
  // Timers of an imitated browser are numbers.
  if (typeof timer === "object") timer.unref();
}

/** Records whether `setTimeout` makes Node's own timers, from a timer that it made. */
export function lookAtTimer(timer: NodeJS.Timeout): void {
  if (typeof timer === "object" && "_onTimeout" in timer) makersOfNativeTimers.add(setTimeout);
}
