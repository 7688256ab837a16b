import type { CircuitChange, CircuitRecord } from "../storage/circuit-storage.js";
import type { Circuit } from "./circuit.js";
import type { CircuitTransition } from "./transition.js";

/** A change that this process made, and the storage has neither made nor rejected yet. */
export interface PendingChange {
  readonly transition: CircuitTransition;
  /** The storage could not be asked when the change was made. */
  readonly isLate: boolean;
  /** The circuit is closed, but the record waits for a prober: the lease has to be asked for first. */
  readonly needsLease: boolean;
  /** The circuit was closed here before it was opened again, and the storage does not know. */
  readonly beginsAnew?: boolean | undefined;
  /** Its own probes closed a circuit that this process may have voted to open. */
  readonly withdraws?: boolean | undefined;
}

/** How this process opened its closed circuit, as long as the circuit is open because of it. */
export interface Opening {
  readonly transition: CircuitTransition;
  /** What the record has as `openedBy` when it includes this opening. */
  readonly tag: string;
  /** The storage was asked to make it, whatever became of that. */
  readonly isSent: boolean;
  /** It opens the record only with the votes of other hosts, and no closed record ends it. */
  readonly isVote: boolean;
}

/** What one process knows of the record, and what it has decided. Values are replaced, not mutated. */
export interface ReconcilerState {
  /** Identifies this process to operators and to the guards of the storage. */
  readonly owner: string;
  /** Whose votes count once. */
  readonly host: string;
  /** The record as the storage has sent it last. */
  known: CircuitRecord | undefined;
  pending: PendingChange | undefined;
  opening: Opening | undefined;
  /**
   * This process voted to open the circuit, and its own probes have not closed it since: a closed record does not close
   * it.
   */
  isOwn: boolean;
  /** How many times this process has opened the circuit: no two openings have the same tag. */
  openings: number;
  /** A probe has succeeded: the lease is to be renewed, and the success to be kept. */
  needsRenewal: boolean;
}

export function newReconcilerState(owner: string, host: string): ReconcilerState {
  return {
    owner,
    host,
    known: undefined,
    pending: undefined,
    opening: undefined,
    isOwn: false,
    openings: 0,
    needsRenewal: false,
  };
}

/** A request to the storage: for the record, or for a change. */
export type StorageRequest =
  | { readonly kind: "load" }
  | {
      readonly kind: "change";
      readonly change: CircuitChange;
      /** The decision of this process that it was sent for; `undefined` for the lease alone. */
      readonly offered: CircuitTransition | undefined;
    };

/** Whether what opened the circuit here has not opened the record: then this process probes without the lease. */
export function isAlone({ openQuorum }: Circuit, { known }: ReconcilerState): boolean {
  return openQuorum > 1 && (known === undefined || known.state === "CLOSED");
}
