import type {
  FailureEvent,
  HealthCheckEvent,
  ReclaimedEvent,
  RejectedEvent,
  StateChangeEvent,
  SuccessEvent,
} from "../events.js";
import type { BulkheadStats } from "../stats.js";

// By their shape, not their class, because a program can have both builds of this library loaded.

/** A source of metrics: a `Bulkhead` of either build of this library. */
export interface MeasuredBulkhead {
  /** The label of its series. */
  readonly name: string;
  /** The statistics of this instant. */
  getStats(): BulkheadStats;
  /** Adds a listener of a call that succeeded. */
  on(event: "success", listener: (call: SuccessEvent) => void): unknown;
  /** Adds a listener of a call that failed after its start. */
  on(event: "failure", listener: (call: FailureEvent) => void): unknown;
  /** Adds a listener of a call that never started. */
  on(event: "rejected", listener: (call: RejectedEvent) => void): unknown;
  /** Adds a listener of a change of the circuit. */
  on(event: "stateChange", listener: (change: StateChangeEvent) => void): unknown;
  /** Adds a listener of a permit that came back late. */
  on(event: "reclaimed", listener: (permit: ReclaimedEvent) => void): unknown;
  /** Adds a listener of a health check that ended. */
  on(event: "healthCheck", listener: (check: HealthCheckEvent) => void): unknown;
  /** Adds a listener of an error of the storage. */
  on(event: "storageError", listener: (error: unknown) => void): unknown;
  /** Removes a listener of a call that succeeded. */
  off(event: "success", listener: (call: SuccessEvent) => void): unknown;
  /** Removes a listener of a call that failed after its start. */
  off(event: "failure", listener: (call: FailureEvent) => void): unknown;
  /** Removes a listener of a call that never started. */
  off(event: "rejected", listener: (call: RejectedEvent) => void): unknown;
  /** Removes a listener of a change of the circuit. */
  off(event: "stateChange", listener: (change: StateChangeEvent) => void): unknown;
  /** Removes a listener of a permit that came back late. */
  off(event: "reclaimed", listener: (permit: ReclaimedEvent) => void): unknown;
  /** Removes a listener of a health check that ended. */
  off(event: "healthCheck", listener: (check: HealthCheckEvent) => void): unknown;
  /** Removes a listener of an error of the storage. */
  off(event: "storageError", listener: (error: unknown) => void): unknown;
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
