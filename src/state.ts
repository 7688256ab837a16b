/** What `getState()` returns. The first two are healthy in the sense of `isHealthy()`. */
export const BulkheadState = {
  /** The circuit is closed (or switched off): calls go through. */
  HEALTHY: "healthy",
  /** The circuit is half-open: a few probes go through, the rest is rejected. */
  DEGRADED: "degraded",
  /** The circuit is open, or the bulkhead was isolated with `isolate()`: calls are rejected. */
  ISOLATED: "isolated",
  /** The bulkhead was shut down: calls are rejected for good. */
  FAILED: "failed",
} as const;

/** One of the values of the {@link BulkheadState} object. */
export type BulkheadState = (typeof BulkheadState)[keyof typeof BulkheadState];
