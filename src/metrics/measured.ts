import type { FailureEvent, RejectedEvent, SuccessEvent, TimeoutEvent } from "../events.js";
import type { BulkheadStats } from "../stats.js";

// By their shape and not by their class, since a program can have both builds of this library loaded.

/** A bulkhead of which metrics are taken: a `Bulkhead` of either build of this library. */
export interface MeasuredBulkhead {
  /** The label of its series. */
  readonly name: string;
  /** The figures of this instant. */
  getStats(): BulkheadStats;
  /** Adds a listener of calls that succeeded. */
  on(event: "success", listener: (call: SuccessEvent) => void): unknown;
  /** Adds a listener of calls that failed after their start. */
  on(event: "failure", listener: (call: FailureEvent) => void): unknown;
  /** Adds a listener of calls whose time was over. */
  on(event: "timeout", listener: (call: TimeoutEvent) => void): unknown;
  /** Adds a listener of calls that never started. */
  on(event: "rejected", listener: (call: RejectedEvent) => void): unknown;
  /** Takes a listener of calls that succeeded off. */
  off(event: "success", listener: (call: SuccessEvent) => void): unknown;
  /** Takes a listener of calls that failed after their start off. */
  off(event: "failure", listener: (call: FailureEvent) => void): unknown;
  /** Takes a listener of calls whose time was over off. */
  off(event: "timeout", listener: (call: TimeoutEvent) => void): unknown;
  /** Takes a listener of calls that never started off. */
  off(event: "rejected", listener: (call: RejectedEvent) => void): unknown;
}

/** A manager whose bulkheads metrics are taken of: a `BulkheadManager` of either build of this library. */
export interface MeasuredManager extends Iterable<MeasuredBulkhead> {
  /** The bulkhead of that name, if there is one. */
  getBulkhead(name: string): MeasuredBulkhead | undefined;
  /** Adds a listener. */
  on(event: "created" | "removed", listener: (bulkhead: MeasuredBulkhead) => void): unknown;
  /** Takes a listener off. */
  off(event: "created" | "removed", listener: (bulkhead: MeasuredBulkhead) => void): unknown;
}
