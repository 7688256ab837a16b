import type { FailureEvent, RejectedEvent, SuccessEvent } from "../events.js";
import type { BulkheadStats } from "../stats.js";

// By their shape, not their class, because a program can have both builds of this library loaded.

/** A source of metrics: a `Bulkhead` of either build of this library. */
export interface MeasuredBulkhead {
  /** The label of its series. */
  readonly name: string;
  /** The statistics of this instant. */
  getStats(): BulkheadStats;
  /** Adds a listener of calls that succeeded. */
  on(event: "success", listener: (call: SuccessEvent) => void): unknown;
  /** Adds a listener of calls that failed after their start. */
  on(event: "failure", listener: (call: FailureEvent) => void): unknown;
  /** Adds a listener of calls that never started. */
  on(event: "rejected", listener: (call: RejectedEvent) => void): unknown;
  /** Removes a listener of calls that succeeded. */
  off(event: "success", listener: (call: SuccessEvent) => void): unknown;
  /** Removes a listener of calls that failed after their start. */
  off(event: "failure", listener: (call: FailureEvent) => void): unknown;
  /** Removes a listener of calls that never started. */
  off(event: "rejected", listener: (call: RejectedEvent) => void): unknown;
}

/** A source of metrics of its bulkheads: a `BulkheadManager` of either build of this library. */
export interface MeasuredManager extends Iterable<MeasuredBulkhead> {
  /** The bulkhead of that name, if there is one. */
  getBulkhead(name: string): MeasuredBulkhead | undefined;
  /** Adds a listener. */
  on(event: "created" | "removed", listener: (bulkhead: MeasuredBulkhead) => void): unknown;
  /** Removes a listener. */
  off(event: "created" | "removed", listener: (bulkhead: MeasuredBulkhead) => void): unknown;
}
