/** State of a circuit. */
export type CircuitStatus = "CLOSED" | "OPEN" | "HALF_OPEN";

/** A circuit as its storage knows it. Every time in it is by the storage's clock. */
export interface CircuitRecord {
  /** Its status. A `HALF_OPEN` circuit without a live lease waits for the next prober. */
  readonly state: CircuitStatus;
  /** Failures in a row when the circuit opened last; 0 while it is closed. */
  readonly failureCount: number;
  /** When the isolation ends; `null` unless the state is `OPEN`. */
  readonly openUntil: Date | null;
  /**
   * The `opening` of the change that opened the circuit last, or its `owner` when it had no `opening`; kept
   * when the circuit closes. `null` when no change opened it since it was created, and when it was opened by
   * SQL or Python. A process sees from it whether a closed record includes the opening that it made.
   */
  readonly openedBy: string | null;
  /**
   * Why a person isolated it; `null` when no person did, or gave no reason. Only an `OPEN` circuit has
   * one.
   */
  readonly reason: string | null;
  /** Who holds the probe lease; `null` when nobody does. Only a `HALF_OPEN` circuit has one. */
  readonly probeOwner: string | null;
  /** When the probe lease runs out; `null` when nobody holds it. */
  readonly probeUntil: Date | null;
  /**
   * How many probes have succeeded since the isolation ended; 0 unless the circuit is `HALF_OPEN`. They
   * outlive a lease: with few calls, one prober alone might never gather enough.
   */
  readonly probeSuccesses: number;
  /**
   * Goes up with every change of the circuit, and is higher in a storage that was emptied than it
   * was before, so that of two records the one with the higher version is always the newer.
   */
  readonly version: number;
  /** When the state changed last. No isolation or lease is taken to be longer than from here to its end. */
  readonly updatedAt: Date;
  /** When this record was read: with it a reader can tell how long `openUntil` is away. */
  readonly readAt: Date;
}

/**
 * A change that a bulkhead asks for. The storage makes it only if the record still has `version`,
 * and only if its own clock allows it; a change by hand asks no clock and no lease.
 */
export type CircuitChange =
  /**
   * Isolate for `openSeconds`. Allowed from `CLOSED`, to the owner of a live probe lease, and to
   * anyone when the isolation or the lease of another has run out.
   * With a `reason` the isolation is a person's, and lasts: no health check ends it early.
   */
  | {
      /** The status that is asked for. */
      readonly to: "OPEN";
      /** The version of the record that the change was decided on. */
      readonly version: number;
      /** Who asks: the same text for every change of one bulkhead. */
      readonly owner: string;
      /** Seconds of isolation, from now by the storage's clock. ≥ 0. */
      readonly openSeconds: number;
      /** Failures in a row that led to it. Integer ≥ 0. */
      readonly failureCount: number;
      /**
       * Identifies this opening: a text of up to 255 characters that no other opening has, kept as
       * `openedBy`. Default: `owner`.
       */
      readonly opening?: string;
      /** A person asks: no clock and no lease is in the way. Default: `false`. */
      readonly byHand?: boolean;
      /** Why a person asks; its first 255 characters are kept. Default: none. */
      readonly reason?: string;
    }
  /**
   * Take the probe lease, or renew it. Allowed when the isolation, or the lease of another, has run
   * out, and to the owner of a live lease.
   * With `early` from `OPEN` at any time, unless the isolation has a `reason` and is not over, and to the
   * owner of a live lease, who gives it back: nobody gets the lease, and the next to ask will.
   */
  | {
      /** The status that is asked for. */
      readonly to: "HALF_OPEN";
      /** The version of the record that the change was decided on. */
      readonly version: number;
      /** Who asks: the same text for every change of one bulkhead. */
      readonly owner: string;
      /** End the isolation, or the own lease, whatever is left of it. Default: `false`. */
      readonly early?: boolean;
      /** How many probes have succeeded. Integer ≥ 0. Default: as many as before. */
      readonly successes?: number;
    }
  /** Close. Allowed to the owner of a live probe lease. */
  | {
      /** The status that is asked for. */
      readonly to: "CLOSED";
      /** The version of the record that the change was decided on. */
      readonly version: number;
      /** Who asks: the same text for every change of one bulkhead. */
      readonly owner: string;
      /** A person asks: no clock and no lease is in the way. Default: `false`. */
      readonly byHand?: boolean;
    };

/** Whether a change was made, and the record as it stands after that. */
export interface CircuitChangeResult {
  /** Whether this change was made. */
  readonly changed: boolean;
  /** The circuit as it stands now, whoever changed it. */
  readonly record: CircuitRecord;
}

/** Who wants to hear of a circuit. */
export interface CircuitSubscriber {
  /**
   * The circuit changed, or was read again after an interruption. May repeat what is known. Never throws;
   * what is no record (dates are `Date`s) has the circuit loaded. It is followed at once, and confirmed by
   * one `load` within a second, unless an answer of the storage comes first.
   */
  onRecord(record: CircuitRecord): void;
  /**
   * The storage cannot tell of changes at the moment, or this circuit cannot be read. It goes on
   * trying. Told once, and again only after it could tell of changes, or read the circuit, in between.
   */
  onError(error: unknown): void;
}

/**
 * Where circuits are kept. Bulkheads of the same name on the same storage share one circuit.
 *
 * The promise of every method may reject; a bulkhead then works by itself and tells it in a
 * `storageError` event. No method is called on the path of a call while its circuit is closed.
 * `bulkman/storage-contract` has the cases that test an implementation.
 */
export interface CircuitStorage {
  /** The circuit, or `null` when the storage has none of that name. Changes nothing. */
  getState(name: string): Promise<CircuitRecord | null>;
  /**
   * The circuit, created `CLOSED` when the storage has none of that name. As new as every record that a
   * subscriber has got before: a bulkhead goes by what it loads, also when the version is lower.
   */
  load(name: string): Promise<CircuitRecord>;
  /** Makes one change, if it is still allowed: compare and set, in one step. */
  change(name: string, change: CircuitChange): Promise<CircuitChangeResult>;
  /** Tells of every change of a circuit, whoever makes it. Returns what ends that. */
  subscribe(name: string, subscriber: CircuitSubscriber): () => void;
  /**
   * Seconds that a bulkhead waits for an answer before it goes on by itself; the first call of a new
   * bulkhead waits no longer than that. > 0, and no more than a timer can hold: up to 2147483. A bulkhead
   * throws for another value. @default 1
   */
  readonly queryTimeoutSeconds?: number;
  /**
   * Seconds of the probe lease. A bulkhead probes for that long under a lease of its own when the storage does
   * not answer. > 0, and no more than a timer can hold: up to 2147483. A bulkhead throws for another value.
   * @default 30
   */
  readonly probeLeaseSeconds?: number;
  /** Lets go of what the storage holds open. Bulkheads go on by themselves after it. */
  close(): Promise<void>;
}
