/** What `getState()` tells of a bulkhead. Healthy in the sense of `isHealthy()` are the first two. */
export const BulkheadState = {
  /** The circuit is closed (or switched off): calls go through. */
  HEALTHY: "healthy",
  /** The circuit is half-open: a few probes go through, the rest is refused. */
  DEGRADED: "degraded",
  /** The circuit is open, or the bulkhead was isolated by hand: calls are refused. */
  ISOLATED: "isolated",
  /** The bulkhead was shut down: calls are refused for good. */
  FAILED: "failed",
} as const;

/** One of the values of the {@link BulkheadState} object. */
export type BulkheadState = (typeof BulkheadState)[keyof typeof BulkheadState];
