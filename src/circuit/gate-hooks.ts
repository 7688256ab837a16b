import type { BulkheadError } from "../errors.js";
import type { Emit } from "../events.js";
import type { RejectionReason } from "../stats.js";

/** What a gate needs of the bulkhead. */
export interface GateHooks<C> {
  readonly emit: Emit;
  /** The queued calls that are returned leave the queue, in their order. {@link onRejected} follows. */
  readonly onRejecting: (reason: RejectionReason) => readonly C[];
  /** The storage has answered: each queued call is admitted anew, or is returned as with {@link onRejecting}. */
  readonly onStorageAnswered: () => readonly C[];
  /** Rejects the caller of a call that has left the queue, and emits the event. */
  readonly onRejected: (call: C, reason: RejectionReason, error: BulkheadError) => void;
  /** Queued calls may start, as far as permits are free. */
  readonly onAdmitting: () => void;
  /** An operator has set these fields of the configuration in the storage, instead of those before. */
  readonly onSettings: (values: Readonly<Record<string, unknown>>) => void;
  /** The user has shut opossum's breaker down. */
  readonly onShutdown: () => void;
}
