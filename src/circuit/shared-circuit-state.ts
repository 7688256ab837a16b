import { newOwner } from "../common/new-owner.js";
import type { CircuitRecord } from "../storage/circuit-storage.js";
import {
  newReconcilerState,
  type ReconcilerState,
  type StorageRequest,
} from "./reconciler-state.js";

/** The first pause after a request that failed. */
export const FIRST_RETRY_MS = 500;

/**
 * What the process does with its storage at the moment. What happens while it decides, or while a request is
 * under way, is kept, and handled before it becomes idle.
 */
type Io = { readonly kind: "idle" | "deciding" } | StorageRequest;

export const IDLE: Io = { kind: "idle" };
export const DECIDING: Io = { kind: "deciding" };

/** Everything that changes in a {@link SharedCircuit}: the model of the fleet saves and restores it. */
export interface SharedCircuitState {
  readonly reconciler: ReconcilerState;
  io: Io;
  /** The newest notice that arrived while the process was not idle. */
  notice: CircuitRecord | undefined;
  /** The record is to be read, whatever is known of it. */
  needsRead: boolean;
  /** Requests since it was idle last. */
  requests: number;
  retryMs: number;
  isLoaded: boolean;
  isClosed: boolean;
  /** Requests fail, or notices do not arrive. One `storageError` for both. */
  readonly failures: { requests: boolean; notices: boolean };
  readonly timers: {
    /** Has the record read. */
    read: NodeJS.Timeout | undefined;
    renew: NodeJS.Timeout | undefined;
    /** Ends the wait of the calls that need the lease. */
    leaseRequest: NodeJS.Timeout | undefined;
  };
}

export function newSharedCircuitState(host: string, owner = newOwner(host)): SharedCircuitState {
  return {
    reconciler: newReconcilerState(owner, host),
    io: IDLE,
    notice: undefined,
    needsRead: false,
    requests: 0,
    retryMs: FIRST_RETRY_MS,
    isLoaded: false,
    isClosed: false,
    failures: { requests: false, notices: false },
    timers: { read: undefined, renew: undefined, leaseRequest: undefined },
  };
}
