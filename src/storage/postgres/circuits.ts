import { storable } from "../apply-change.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSettingsChange,
  CircuitSubscriber,
} from "../circuit-storage.js";
import type { PermitGrant, PermitNotice, PermitRequest } from "../permit-lease.js";
import { Announcements } from "./announcements.js";
import type { ChangeHooks, ChangeSource } from "./change-source.js";
import { Database, type Row } from "./database.js";
import { isDataError, isReadOnly, type PostgresStorageError } from "./errors.js";
import { PostgresListener } from "./listener.js";
import { CircuitLoader } from "./loader.js";
import type { ResolvedPostgresOptions } from "./options.js";
import { PostgresPermits } from "./permits.js";
import { PostgresPoller } from "./poller.js";
import { Queries } from "./queries.js";
import { toRecord } from "./record.js";
import { BUMP_VERSION, CHANGE, CONFIGURE, GET_STATE, NOTIFY } from "./statements.js";
import { Subscriptions } from "./subscriptions.js";

/**
 * The circuits of a {@link PostgresStorage}: everything that queries the database. Loaded on demand, because a
 * program without Postgres would pay for compiling it at each start.
 */
export class PostgresCircuits {
  readonly #namespace: string;
  readonly #probeLeaseSeconds: number;
  readonly #database: Database;
  readonly #queries: Queries;
  readonly #loader: CircuitLoader;
  readonly #changeSource: ChangeSource;
  readonly #announcements = new Announcements();
  readonly #subscriptions = new Subscriptions();
  readonly #permits: PostgresPermits;
  /** The pending changes, by name: a later read waits for them. */
  readonly #changing = new Map<string, Promise<unknown>>();

  constructor(options: ResolvedPostgresOptions) {
    const { source, namespace, queryTimeoutSeconds, pollSeconds, heartbeatSeconds } = options;
    const queryTimeoutMs = queryTimeoutSeconds * 1000;
    const connectTimeoutMs = options.connectTimeoutSeconds * 1000;
    this.#namespace = namespace;
    this.#probeLeaseSeconds = options.probeLeaseSeconds;
    this.#database = new Database(source, { queryTimeoutMs, connectTimeoutMs });
    this.#queries = new Queries(this.#database, {
      queryTimeoutSeconds,
      ensureSchema: options.ensureSchema,
      onAnswer: () => this.#startListening(),
      onNoAnswer: () => this.#changeSource.check(),
    });
    const { lockTimeout } = this.#queries;
    const query = (statement: string, values: unknown[]) => this.#queries.query(statement, values);
    this.#loader = new CircuitLoader({ query, namespace, lockTimeout });
    const schema = () => this.#loader.schema;
    this.#permits = new PostgresPermits({ query, namespace, lockTimeout, schema });
    const heartbeatMs = heartbeatSeconds === null ? null : heartbeatSeconds * 1000;
    const connect = () => this.#database.client();
    const limits = { queryTimeoutMs, connectTimeoutMs, heartbeatMs };
    this.#changeSource =
      pollSeconds === null
        ? new PostgresListener({ connect, namespace, ...limits }, this.#hooks())
        : new PostgresPoller(pollSeconds * 1000, this.#hooks());
  }

  /** The circuit in the database, after the changes that were asked for here before. */
  async getState(name: string): Promise<CircuitRecord | null> {
    const deadline = this.#queries.deadline();
    await this.#changing.get(name);
    const [row] = await this.#queries.query(GET_STATE, [this.#namespace, name], deadline);
    return row === undefined ? null : toRecord(JSON.parse(row[0] ?? ""));
  }

  async load(name: string): Promise<CircuitRecord> {
    return this.#subscriptions.see(name, await this.#loader.load(name));
  }

  change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    return this.#emitting(name, this.#change(name, change));
  }

  configure(name: string, change: CircuitSettingsChange): Promise<CircuitChangeResult> {
    return this.#emitting(name, this.#configure(name, change));
  }

  async #emitting(name: string, work: Promise<CircuitChangeResult>): Promise<CircuitChangeResult> {
    const settled = Promise.allSettled([this.#changing.get(name), work]);
    this.#changing.set(name, settled);
    try {
      const result = await work;
      // Bulkheads of this process need not wait for the notification.
      if (result.changed) this.#subscriptions.emit(name, result.record);
      return result;
    } finally {
      if (this.#changing.get(name) === settled) this.#changing.delete(name);
    }
  }

  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    const remove = this.#subscriptions.add(name, subscriber);
    this.#startListening();
    return () => {
      remove();
      this.#stopListening();
    };
  }

  lease(requests: readonly PermitRequest[]): Promise<readonly PermitGrant[]> {
    return this.#permits.lease(requests);
  }

  subscribeToPermits(name: string, onNotice: (notice: PermitNotice) => void): () => void {
    const remove = this.#permits.subscribe(name, onNotice);
    this.#changeSource.updatePermits();
    this.#startListening();
    return () => {
      if (!remove()) return;
      if (this.#permits.isEmpty) this.#changeSource.updatePermits();
      this.#stopListening();
    };
  }

  /** Closes every connection but an application's own pool. Rejects pending and later queries. */
  async close(): Promise<void> {
    this.#changeSource.stop();
    this.#subscriptions.clear();
    this.#permits.clear();
    await this.#database.close();
  }

  #hooks(): ChangeHooks {
    return {
      prepare: async () => {
        this.#database.markReachable();
        await this.#queries.ensureSchema();
      },
      onChange: (name, row) => {
        const record = toRecord(row);
        if (this.#subscriptions.has(name)) this.#announcements.announce(name, record.version);
        this.#subscriptions.emit(name, record);
      },
      schema: () => this.#loader.schema,
      reread: () => this.#reread(),
      onInterrupted: (error) => this.#interrupt(error),
      onConnectionLost: () => this.#forgetSchema(),
      onSynced: () => this.#subscriptions.endInterruption(),
      notify: async (channel, payload) => {
        await this.#queries.query(NOTIFY, [channel, payload]);
      },
      announcements: this.#announcements,
      onUndelivered: (error: PostgresStorageError) => this.#subscriptions.startUndelivered(error),
      permits: this.#permits,
      onDelivered: () => this.#subscriptions.endUndelivered(),
    };
  }

  async #change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const isOpening = change.to === "OPEN";
    const cause = isOpening ? change.cause : undefined;
    const values = [
      this.#namespace,
      name,
      this.#queries.lockTimeout,
      change.version,
      change.to,
      change.owner,
      change.to !== "HALF_OPEN" && change.byHand === true,
      change.to === "HALF_OPEN" && change.early === true,
      isOpening ? change.openSeconds : 0,
      isOpening ? Math.min(change.failureCount, MAX_INTEGER) : 0,
      this.#probeLeaseSeconds,
      (change.to === "HALF_OPEN" ? change.successes : undefined) ?? null,
      (isOpening ? change.reason : undefined) ?? null,
      (isOpening ? change.opening : undefined) ?? change.owner,
      isOpening && change.openings !== undefined ? Math.min(change.openings, MAX_INTEGER) : null,
    ];
    const causes = cause === undefined ? NO_CAUSE : [cause.rule, cause.failure, cause.code];
    const { quorum = 1 } = isOpening && !change.byHand ? change : {};
    const host =
      (change.to === "CLOSED" ? undefined : change.host) ?? (isOpening ? change.owner : null);
    const votes = [
      host,
      Math.min(quorum, MAX_INTEGER),
      change.to === "CLOSED" && change.withdraws === true,
    ];
    let rows: Row[];
    try {
      rows = await this.#queries.query(CHANGE, [...values, ...causes, ...votes]);
    } catch (error) {
      // The name of a failure, which any library may choose, must not fail the opening.
      if (cause === undefined || !isDataError(error)) throw error;
      rows = await this.#queries.query(CHANGE, [...values, ...NO_CAUSE, ...votes]);
    }
    return this.#resultOf(name, rows[0]);
  }

  async #configure(
    name: string,
    { version, settings }: CircuitSettingsChange,
  ): Promise<CircuitChangeResult> {
    const json = settings === null ? null : JSON.stringify(storable(settings));
    const values = [this.#namespace, name, this.#queries.lockTimeout, version, json];
    const [row] = await this.#queries.query(CONFIGURE, values);
    return this.#resultOf(name, row);
  }

  #resultOf(name: string, row: Row | undefined): CircuitChangeResult {
    if (row === undefined) throw new Error("The circuit was deleted while it changed");
    const record = this.#subscriptions.see(name, toRecord(JSON.parse(row[1] ?? "")));
    return { changed: row[0] === "t", record };
  }

  /** Reads what subscribers may have missed. Resolves to whether it could read all of it. */
  async #reread(only?: string): Promise<boolean> {
    const names = only === undefined ? this.#subscriptions.names : [only];
    if (names.length === 0) return true;
    let isComplete = true;
    const newest = this.#subscriptions.newestVersions();
    const lost: Array<Promise<boolean>> = [];
    const versions = new Map<string, number>();
    for (const [name, answer] of await this.#loader.loadAll(names)) {
      if (!(answer instanceof Error)) versions.set(name, answer.version);
      const known = newest.get(name) ?? 0;
      if (answer instanceof Error) {
        isComplete = false;
        this.#subscriptions.emitUnreadable(name, answer);
      } else if (isBehind(answer, known)) {
        lost.push(this.#bumpVersion(name, answer, known));
      } else {
        this.#subscriptions.emit(name, answer);
      }
    }
    if (only === undefined) this.#announcements.read(versions);
    const bumped = await Promise.all(lost);
    return isComplete && bumped.every(Boolean);
  }

  /**
   * The database has lost a version that was known before the query, like a standby that took over without
   * the last transactions. Its row counts from now on, so it has to become the newest for every process.
   */
  async #bumpVersion(name: string, behind: CircuitRecord, known: number): Promise<boolean> {
    try {
      const { lockTimeout } = this.#queries;
      const values = [this.#namespace, name, behind.version, known, lockTimeout];
      const [row] = await this.#queries.query(BUMP_VERSION, values);
      // Without a row another process was faster.
      if (row === undefined) return this.#reread(name);
      this.#subscriptions.emit(name, toRecord(JSON.parse(row[0] ?? "")));
      return true;
    } catch (error) {
      // A standby that lags behind has lost nothing.
      if (isReadOnly(error)) return true;
      // Another program holds a lock on the row, or a constraint forbids the update: this circuit alone is affected.
      this.#subscriptions.emitUnreadable(name, this.#database.toStorageError(error));
      return false;
    }
  }

  /** The listener makes a connection at once, for which pg has to be loaded. */
  #startListening(): void {
    if (this.#subscriptions.isEmpty && this.#permits.isEmpty) return;
    if (this.#database.isLoaded) this.#changeSource.start();
    else this.#database.load().then(() => this.#startListening(), this.#onLoadError);
  }

  /** Unless there are subscribers left. */
  #stopListening(): void {
    if (!this.#subscriptions.isEmpty || !this.#permits.isEmpty) return;
    this.#changeSource.stop();
    this.#subscriptions.endInterruption();
    this.#subscriptions.endUndelivered();
  }

  readonly #onLoadError = (error: unknown): void => {
    if (!this.#database.isClosed) this.#interrupt(error);
  };

  #interrupt(error: unknown): void {
    this.#forgetSchema();
    this.#subscriptions.interrupt(this.#database.toStorageError(error));
  }

  /** It may be another database when it is back. */
  #forgetSchema(): void {
    this.#queries.forgetSchema();
    this.#loader.forgetSchema();
  }
}

const NO_CAUSE = [null, null, null];

/** The largest value of a Postgres integer. */
const MAX_INTEGER = 2 ** 31 - 1;

const DAY_US = 86_400_000_000;

/**
 * Whether the database knew a newer version before. A version far ahead of the database's clock was never one
 * of its own: any role may send a notice.
 */
function isBehind({ version, readAt }: CircuitRecord, known: number): boolean {
  return version < known && known < readAt.getTime() * 1000 + DAY_US;
}
