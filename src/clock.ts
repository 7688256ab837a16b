/** Longest delay that a Node timer can hold, in milliseconds; it fires at once for anything longer. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Milliseconds on the monotonic clock: the one place where the library reads that clock. */
export function now(): number {
  return performance.now();
}
