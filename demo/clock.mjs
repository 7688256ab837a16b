/**
 * Milliseconds on the machine's monotonic clock, which all of its processes share: `CLOCK_MONOTONIC` on
 * Linux. `performance.now()` counts from each process's start, and `performance.timeOrigin`, which could
 * relate two of them, is a reading of the wall clock.
 */
export const machineTime = () => Number(process.hrtime.bigint()) / 1e6;
