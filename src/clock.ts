/** Longest delay that a Node timer can hold, in milliseconds; it fires at once for anything longer. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Milliseconds on the monotonic clock: the one place where the library reads that clock. */
export function now(): number {
  return performance.now();
}

const nativeness = new WeakMap<typeof setTimeout, boolean>();

/**
 * Whether `setTimeout` makes Node's own timers at the moment, wrapped or not.
 *
 * The tools that fake timers in tests replace it. A timer of theirs cannot be relied on later: it never fires
 * once they were reset or the real `setTimeout` is back, and their clock is another one.
 */
export function hasNativeTimers(): boolean {
  let isNative = nativeness.get(setTimeout);
  if (isNative === undefined) {
    const sample: unknown = setTimeout(() => {}, 1);
    clearTimeout(sample as NodeJS.Timeout);
    isNative = typeof sample === "object" && sample !== null && "_onTimeout" in sample;
    nativeness.set(setTimeout, isNative);
  }
  return isNative;
}
