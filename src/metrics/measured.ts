import type { BulkheadEvents } from "../events.js";
import type { BulkheadStats } from "../stats.js";

// By their shape, not their class, because a program can have both builds of this library loaded.

/** The events that are measured. */
export type MeasuredEvent =
  | "success"
  | "failure"
  | "rejected"
  | "stateChange"
  | "reclaimed"
  | "healthCheck"
  | "storageError";

/** A listener of one of the events that are measured. */
export type MeasuredListener<E extends MeasuredEvent> = (...payload: BulkheadEvents[E]) => void;

/** A source of metrics: a `Bulkhead` of either build of this library. */
export interface MeasuredBulkhead {
  /** The label of its series. */
  readonly name: string;
  /** The statistics of this instant. */
  getStats(): BulkheadStats;
  /** Adds a listener. */
  on<E extends MeasuredEvent>(event: E, listener: MeasuredListener<E>): unknown;
  /** Removes a listener. */
  off<E extends MeasuredEvent>(event: E, listener: MeasuredListener<E>): unknown;
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
