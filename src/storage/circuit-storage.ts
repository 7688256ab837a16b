import type { PermitGrant, PermitNotice, PermitRequest } from "./permit-lease.js";

/** State of a circuit. */
export type CircuitStatus = "CLOSED" | "OPEN" | "HALF_OPEN";

/** Whether a value is a {@link CircuitStatus}. */
export function isCircuitStatus(value: unknown): value is CircuitStatus {
  return value === "CLOSED" || value === "OPEN" || value === "HALF_OPEN";
}

/**
 * Fields of the configuration that an operator has changed, for every process that shares the circuit. Each process
 * checks them by the rules of its own version.
 */
export interface CircuitSettings {
  /** The changed fields of `BulkheadConfig` with their new values, as JSON holds them. */
  readonly values: Readonly<Record<string, unknown>>;
  /** When they end, by the storage's clock; `null`: never. Storages keep settings that are over. */
  readonly until: Date | null;
  /** Why, in up to 255 characters; `null` without a reason. */
  readonly reason: string | null;
  /** Who set them, in up to 255 characters, such as `user@host`; `null` when that is unknown. */
  readonly by: string | null;
}

/** What opened a circuit, for people: never a message, which can hold secrets. Each text has up to 255 characters. */
export interface CircuitCause {
  /** The rule of the bulkhead, such as `5 consecutive failures`. */
  readonly rule: string;
  /** The `name` of the last failure; `null` without one. */
  readonly failure: string | null;
  /** Its `code`, or that of the error that caused it; `null` without one. */
  readonly code: string | null;
}

/**
 * The vote of one process to open a circuit: its own is open, and `openQuorum` asks for more hosts. It lives as long as
 * the isolation of that process, and no longer than until the record opens or closes.
 */
export interface CircuitVote {
  /** The host of the process: only distinct hosts count. */
  readonly host: string;
  /** The `owner` of the process, which has one vote. */
  readonly owner: string;
  /** When its isolation ends. */
  readonly until: Date;
  /** Seconds of its isolation when it voted. ≥ 0. The shared isolation takes the fewest of all votes. */
  readonly openSeconds: number;
  /** How many times its circuit had opened. Integer ≥ 0. The record takes the fewest of all votes. */
  readonly openings: number;
  /** How many hosts it asks for. Integer ≥ 2. */
  readonly quorum: number;
}

/** New settings of a circuit. The storage keeps them only if the record still has `version`. */
export interface CircuitSettingsChange {
  /** The version of the record that the change was decided on. */
  readonly version: number;
  /** They replace all settings of the circuit; `null` for none. */
  readonly settings: CircuitSettings | null;
}

/** A circuit in a storage. Every time in it is by the storage's clock. */
export interface CircuitRecord {
  /** Its status. A `HALF_OPEN` circuit without a live lease waits for the next prober. */
  readonly state: CircuitStatus;
  /** Consecutive failures when the circuit opened last; 0 while it is closed. */
  readonly failureCount: number;
  /** When the isolation ends; `null` unless the state is `OPEN`. */
  readonly openUntil: Date | null;
  /**
   * The `opening` of the change that opened the circuit last, or its `owner` when it had no `opening`; kept
   * when the circuit closes. `null` when no change opened it since it was created, and when it was opened by
   * SQL or Python. A process recognises by it whether a closed record includes its own opening.
   */
  readonly openedBy: string | null;
  /**
   * Why a person isolated it; `null` without a manual isolation, or without a reason. Only an `OPEN` circuit has
   * one.
   */
  readonly reason: string | null;
  /**
   * What opened it, until it closes; `null` for a closed circuit, and for one that SQL, Python or an operator's command
   * opened. Absent in a storage that does not keep it.
   */
  readonly cause?: CircuitCause | null;
  /**
   * Who changed the circuit last: host and process of a bulkhead, an operator's `user@host`, or the session of another
   * program. `null` when it has not changed since it was created. Absent in a storage that does not keep it.
   */
  readonly changedBy?: string | null;
  /** The owner of the probe lease; `null` without a lease. Only a `HALF_OPEN` circuit has one. */
  readonly probeOwner: string | null;
  /** When the probe lease expires; `null` without a lease. */
  readonly probeUntil: Date | null;
  /**
   * How many probes have succeeded since the isolation ended; 0 unless the circuit is `HALF_OPEN`. They outlive a
   * lease: with few calls, one owner might never reach `successThreshold`.
   */
  readonly probeSuccesses: number;
  /**
   * How many times the circuit has opened since it was closed last, for an isolation that grows; manual openings do not
   * count. 0 while it is closed. Absent in a storage that does not keep it: isolations then grow per process.
   */
  readonly openings?: number;
  /**
   * The votes to open it, also those that are over. Absent in a storage that does not keep them: no quorum is reached
   * there.
   */
  readonly votes?: readonly CircuitVote[];
  /**
   * What an operator has changed in the configuration of its bulkheads; `null` without such a change. No change of the
   * circuit drops it. Absent in a storage without `configure`.
   */
  readonly settings?: CircuitSettings | null;
  /**
   * Rises with every change of the circuit, its votes or its settings, also across a storage that was emptied: of two records the one with
   * the higher version is the newer.
   */
  readonly version: number;
  /** When the circuit changed last, its votes and settings aside. An isolation or lease never counts as longer than from here to its end. */
  readonly updatedAt: Date;
  /** When this record was read: `openUntil - readAt` is the rest of the isolation, whatever the reader's clock. */
  readonly readAt: Date;
}

/**
 * A change that a bulkhead, or a person, asks for. The storage makes it only if the record still has `version`, and
 * only if its own clock allows it; a manual change needs no clock and no lease. {@link applyChange} has the rules.
 */
export type CircuitChange =
  /**
   * Isolate for `openSeconds`. Allowed from `CLOSED`, to the owner of a live probe lease, and to
   * anyone when the isolation or the lease of another has run out.
   * With a `reason` the isolation is a person's, and lasts: no health check ends it early.
   *
   * With a `quorum` of 2 or more it is a vote of `host`, unless it is `byHand`: allowed unless the circuit is isolated.
   * The vote that completes the quorum isolates the circuit, in the same step, if the change would be allowed without a
   * quorum. Any other is kept, and returns the probe lease of its owner. A storage that ignores `quorum` isolates at once.
   */
  | {
      /** The status that is asked for. */
      readonly to: "OPEN";
      /** The version of the record that the change was decided on. */
      readonly version: number;
      /**
       * The owner that asks: the same string for every change of one bulkhead. Without a UUID at its end it is kept as
       * `changedBy`.
       */
      readonly owner: string;
      /** Seconds of isolation, from now by the storage's clock. ≥ 0. */
      readonly openSeconds: number;
      /** Consecutive failures that led to it. Integer ≥ 0. */
      readonly failureCount: number;
      /**
       * Identifies this opening: a string of up to 255 characters that no other opening has, kept as
       * `openedBy`. Default: `owner`.
       */
      readonly opening?: string;
      /**
       * How many times the circuit has opened since it was closed last, this time included. Integer ≥ 0. Default: as
       * many as before.
       */
      readonly openings?: number;
      /** What opened it, for people. Default: nothing that is known. */
      readonly cause?: CircuitCause;
      /** How many distinct hosts have to vote. Integer ≥ 1. Default: 1. */
      readonly quorum?: number;
      /** The host that votes, in up to 255 characters. Default: `owner`. */
      readonly host?: string;
      /** A manual change: allowed at any time. Default: `false`. */
      readonly byHand?: boolean;
      /** Why it is isolated manually; the first 255 characters are kept. Default: none. */
      readonly reason?: string;
    }
  /**
   * Acquire the probe lease, or renew it. Allowed when the isolation, or the lease of another owner, has expired,
   * and to the owner of a live lease. Not allowed to acquire while `host` has a live vote to open the circuit.
   * With `early` it grants no lease: it ends an isolation at any time, unless that has a `reason` and is not over,
   * or releases the lease of its owner. The next request gets the lease.
   */
  | {
      /** The status that is asked for. */
      readonly to: "HALF_OPEN";
      /** The version of the record that the change was decided on. */
      readonly version: number;
      /** The owner that asks: the same string for every change of one bulkhead. */
      readonly owner: string;
      /** End the isolation, or the owner's lease, whatever is left of it. Default: `false`. */
      readonly early?: boolean;
      /** How many probes have succeeded. Integer ≥ 0. Default: as many as before. */
      readonly successes?: number;
      /** The host of the owner. Default: none, which has no vote. */
      readonly host?: string;
    }
  /**
   * Close. Allowed to the owner of a live probe lease.
   * With `withdraws` it ends the vote of its owner instead, and changes nothing else; allowed while the circuit is closed.
   */
  | {
      /** The status that is asked for. */
      readonly to: "CLOSED";
      /** The version of the record that the change was decided on. */
      readonly version: number;
      /** The owner that asks: the same string for every change of one bulkhead. */
      readonly owner: string;
      /** A manual change: allowed at any time. Default: `false`. */
      readonly byHand?: boolean;
      /** End the vote of `owner` to open the circuit. Default: `false`. */
      readonly withdraws?: boolean;
    };

/** Whether a change was made, and the record after it. */
export interface CircuitChangeResult {
  /** Whether this change was made. */
  readonly changed: boolean;
  /** The circuit as it is now, whichever process changed it. */
  readonly record: CircuitRecord;
}

/** Receives the changes of one circuit. */
export interface CircuitSubscriber {
  /**
   * The circuit changed, or was read again after an interruption. May repeat a known record. Never throws; a
   * malformed record (dates are `Date`s) makes the bulkhead load the circuit. The bulkhead follows the record at once,
   * and confirms it by one `load` within a second, unless the storage answers another request first.
   */
  onRecord(record: CircuitRecord): void;
  /**
   * No changes arrive at the moment, or this circuit cannot be read. The storage goes on trying. Called once, and
   * again only after changes arrived, or the circuit was read, in between.
   */
  onError(error: unknown): void;
}

/**
 * Where circuits are kept. Bulkheads of the same name on the same storage share one circuit.
 *
 * The promise of every method may reject; the bulkhead then goes on with a circuit of its own, and emits
 * `storageError`. No method is called on the path of a call while its circuit is closed. {@link applyChange} decides
 * the changes, and `bulkman/storage-contract` has the cases that test an implementation.
 */
export interface CircuitStorage {
  /** The circuit, or `null` when the storage has none of that name. Changes nothing. */
  getState(name: string): Promise<CircuitRecord | null>;
  /**
   * The circuit, created `CLOSED` when the storage has none of that name. At least as new as every record that a
   * subscriber has received before: a bulkhead adopts what it loads, also when the version is lower.
   */
  load(name: string): Promise<CircuitRecord>;
  /** Makes one change, if it is still allowed: compare and set, in one step. */
  change(name: string, change: CircuitChange): Promise<CircuitChangeResult>;
  /**
   * Replaces the settings of a circuit: compare and set, in one step, which raises the version and changes nothing else.
   * Optional: without it, no operator can change the configuration of running bulkheads.
   */
  configure?(name: string, change: CircuitSettingsChange): Promise<CircuitChangeResult>;
  /** Calls `onRecord` with every change of a circuit and its settings, whichever process makes it. Returns the function that ends it. */
  subscribe(name: string, subscriber: CircuitSubscriber): () => void;
  /**
   * Decides requests for permits of the fleet's limits, all in one step, and returns the grants in the order of the
   * requests: {@link applyLease} has the rules. No two requests have the same name and owner. Optional: a bulkhead with
   * `fleetMaxConcurrentCalls` throws without it. A bulkhead asks for itself alone; the calls of one turn of the event loop
   * may become one query.
   */
  lease?(requests: readonly PermitRequest[]): Promise<readonly PermitGrant[]>;
  /**
   * Calls `onNotice` with the notices of that name, whichever process's request led to them, its own ones too. Returns
   * the function that ends it. Optional: without it permits move at renewals only.
   */
  subscribeToPermits?(name: string, onNotice: (notice: PermitNotice) => void): () => void;
  /**
   * Seconds that a bulkhead may start calls under a lease of permits without an answer of the storage. > 0, and no more
   * than a timer can hold. @default 15
   */
  readonly permitLeaseSeconds?: number;
  /** Seconds between two requests of a bulkhead with calls, less than `permitLeaseSeconds`. > 0. @default 5 */
  readonly permitRenewSeconds?: number;
  /**
   * Seconds that a bulkhead waits for an answer before it goes on with a circuit of its own; the first call of a new
   * bulkhead waits no longer. > 0, and no more than a timer can hold: up to 2147483. A bulkhead throws for another
   * value. @default 1
   */
  readonly queryTimeoutSeconds?: number;
  /**
   * Seconds of the probe lease. While the storage does not answer, a bulkhead probes for that long under a lease of its
   * own. > 0, and no more than a timer can hold: up to 2147483. A bulkhead throws for another value.
   * @default 30
   */
  readonly probeLeaseSeconds?: number;
  /**
   * The host of this process in votes to open a circuit, and for operators: 1 to 255 characters. A bulkhead throws for
   * another value. @default os.hostname()
   */
  readonly host?: string;
  /** Closes what the storage holds open. Bulkheads go on with circuits of their own. */
  close(): Promise<void>;
}
