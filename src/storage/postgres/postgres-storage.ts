import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSettingsChange,
  CircuitStorage,
  CircuitSubscriber,
} from "../circuit-storage.js";
import type { PermitGrant, PermitNotice, PermitRequest } from "../permit-lease.js";
import type { PostgresCircuits } from "./circuits.js";
import { closedError } from "./errors.js";
import {
  type PostgresStorageOptions,
  type ResolvedPostgresOptions,
  readPostgresOptions,
} from "./options.js";

/**
 * Keeps circuits in Postgres: bulkheads of one name and namespace share one circuit, in every process
 * and with Python's resilient-circuit. It queries when a bulkhead loads its circuit, when a circuit
 * changes, and once every `heartbeatSeconds`; it learns of the changes of other processes by `LISTEN`, and by
 * polling where no notices arrive. Every promise rejects within `queryTimeoutSeconds` when the database does
 * not answer.
 *
 * Owns up to two connections for queries, closed after 10 s without one, and one that listens while
 * there are subscribers. None of them keeps the process alive.
 *
 * @throws {TypeError | RangeError} from the constructor, for an invalid option or environment variable
 */
export class PostgresStorage implements CircuitStorage {
  /** Seconds that a query may take, with the wait for a connection. */
  readonly queryTimeoutSeconds: number;
  /** Seconds of the probe lease. */
  readonly probeLeaseSeconds: number;
  /** Seconds of a lease of permits. */
  readonly permitLeaseSeconds: number;
  /** Seconds between two requests for permits. */
  readonly permitRenewSeconds: number;
  /** The name of this process's host. */
  readonly host: string;
  readonly #options: ResolvedPostgresOptions;
  #circuits: PostgresCircuits | undefined = undefined;
  #loading: Promise<PostgresCircuits> | undefined = undefined;
  #isClosed = false;

  constructor(options: PostgresStorageOptions = {}) {
    this.#options = readPostgresOptions(options);
    this.queryTimeoutSeconds = this.#options.queryTimeoutSeconds;
    this.probeLeaseSeconds = this.#options.probeLeaseSeconds;
    this.permitLeaseSeconds = this.#options.permitLeaseSeconds;
    this.permitRenewSeconds = this.#options.permitRenewSeconds;
    this.host = this.#options.host;
  }

  /** The circuit in the database, after the changes that this storage was asked for before. */
  async getState(name: string): Promise<CircuitRecord | null> {
    const circuits = this.#circuits ?? (await this.#load());
    return circuits.getState(name);
  }

  async load(name: string): Promise<CircuitRecord> {
    const circuits = this.#circuits ?? (await this.#load());
    return circuits.load(name);
  }

  async change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const circuits = this.#circuits ?? (await this.#load());
    return circuits.change(name, change);
  }

  /** @throws {TypeError} for malformed settings */
  async configure(name: string, change: CircuitSettingsChange): Promise<CircuitChangeResult> {
    const circuits = this.#circuits ?? (await this.#load());
    return circuits.configure(name, change);
  }

  /** Decides requests of one turn of the event loop, also those of several calls, by one query. */
  async lease(requests: readonly PermitRequest[]): Promise<readonly PermitGrant[]> {
    const circuits = this.#circuits ?? (await this.#load());
    return circuits.lease(requests);
  }

  /** @throws {Error} when the storage is closed */
  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    return this.#whenLoaded(
      (circuits) => circuits.subscribe(name, subscriber),
      (error) => subscriber.onError(error),
    );
  }

  /**
   * Calls `onNotice` with the notices of that name. None arrive with `pollSeconds`, and behind a pooler in transaction
   * mode.
   * @throws {Error} when the storage is closed
   */
  subscribeToPermits(name: string, onNotice: (notice: PermitNotice) => void): () => void {
    return this.#whenLoaded(
      (circuits) => circuits.subscribeToPermits(name, onNotice),
      () => {},
    );
  }

  /** Closes every connection but an application's own pool. Rejects pending and later queries. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#circuits?.close();
  }

  /** Subscribes at once, or when the file is loaded. Returns what ends it. */
  #whenLoaded(
    subscribe: (circuits: PostgresCircuits) => () => void,
    onError: (error: unknown) => void,
  ): () => void {
    if (this.#isClosed) throw closedError();
    if (this.#circuits !== undefined) return subscribe(this.#circuits);
    let unsubscribe: (() => void) | undefined;
    let isOver = false;
    this.#load().then(
      (circuits) => {
        if (!isOver) unsubscribe = subscribe(circuits);
      },
      (error) => {
        if (!isOver && !this.#isClosed) onError(error);
      },
    );
    return () => {
      isOver = true;
      unsubscribe?.();
    };
  }

  #load(): Promise<PostgresCircuits> {
    this.#loading ??= this.#import().catch((error) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  async #import(): Promise<PostgresCircuits> {
    if (this.#isClosed) throw closedError();
    // A file of its own in the package, as pg is: see tsup.config.ts.
    const { PostgresCircuits } = await import("./circuits.js");
    if (this.#isClosed) throw closedError();
    this.#circuits = new PostgresCircuits(this.#options);
    return this.#circuits;
  }
}
