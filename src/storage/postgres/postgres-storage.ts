import { now } from "../../common/clock.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitStorage,
  CircuitSubscriber,
} from "../circuit-storage.js";
import { Announcements } from "./announcements.js";
import type { ChangeSource } from "./change-source.js";
import { closedError, Database, type Row } from "./database.js";
import { Schema } from "./ensure-schema.js";
import { isNoAnswer, isReadOnly, isSchemaTrouble, type PostgresStorageError } from "./errors.js";
import { PostgresListener } from "./listener.js";
import { CircuitLoader } from "./loader.js";
import { type PostgresStorageOptions, readPostgresOptions } from "./options.js";
import { PostgresPoller } from "./poller.js";
import { toRecord } from "./record.js";
import { CHANGE, GET_STATE, NOTIFY, RENEW } from "./statements.js";

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
 * @throws {TypeError | RangeError} from the constructor, for a wrong option, or a wrong value in the environment
 */
export class PostgresStorage implements CircuitStorage {
  /** Seconds that a query may take, with the wait for a connection. */
  readonly queryTimeoutSeconds: number;
  /** Seconds of the probe lease. */
  readonly probeLeaseSeconds: number;
  readonly #namespace: string;
  readonly #database: Database;
  readonly #schema: Schema | undefined;
  readonly #loader: CircuitLoader;
  readonly #changeSource: ChangeSource;
  readonly #announcements = new Announcements();
  readonly #subscribers = new Map<string, Set<CircuitSubscriber>>();
  /** The newest version that was seen of each circuit with subscribers. */
  readonly #newest = new Map<string, number>();
  /** Circuits that could not be read when it was tried last, which their subscribers know. */
  readonly #unreadable = new Set<string>();
  /** Why changes cannot be heard at the moment; every subscriber has been told. */
  #interruption: PostgresStorageError | undefined = undefined;
  /** Why no notices arrive and the circuits are read instead; reported to every subscriber. */
  #undelivered: PostgresStorageError | undefined = undefined;
  /** The changes under way, by name: what is read after them waits for them. */
  readonly #changing = new Map<string, Promise<unknown>>();

  constructor(options: PostgresStorageOptions = {}) {
    const { source, namespace, ensureSchema, queryTimeoutSeconds, probeLeaseSeconds, ...rest } =
      readPostgresOptions(options);
    const { connectTimeoutSeconds, pollSeconds, heartbeatSeconds } = rest;
    const queryTimeoutMs = queryTimeoutSeconds * 1000;
    const connectTimeoutMs = connectTimeoutSeconds * 1000;
    this.queryTimeoutSeconds = queryTimeoutSeconds;
    this.#namespace = namespace;
    this.probeLeaseSeconds = probeLeaseSeconds;
    this.#database = new Database(source, { queryTimeoutMs, connectTimeoutMs });
    this.#schema = ensureSchema ? new Schema(this.#database, queryTimeoutMs) : undefined;
    this.#loader = new CircuitLoader({
      ask: (statement, values) => this.#ask(statement, values),
      namespace,
      lockTimeout: this.#lockTimeout,
    });
    const hooks = {
      prepare: async () => {
        this.#database.reached();
        await this.#schema?.ready(queryTimeoutMs);
      },
      onChange: (name: string, row: unknown) => {
        const record = toRecord(row);
        if (this.#subscribers.has(name)) this.#announcements.announce(name, record.version);
        this.#tell(name, record);
      },
      schema: () => this.#loader.schema,
      reread: () => this.#reread(),
      onTrouble: (error: unknown) => this.#tellInterruption(error),
      onSilence: () => this.#forgetSchema(),
      onHearing: () => {
        this.#interruption = undefined;
      },
      notify: async (channel: string, payload: string) => {
        await this.#ask(NOTIFY, [channel, payload]);
      },
      announcements: this.#announcements,
      onUndelivered: (error: PostgresStorageError) => {
        if (this.#undelivered !== undefined) return;
        this.#undelivered = error;
        for (const name of this.#subscribers.keys()) this.#tellError(name, error);
      },
      onDelivered: () => {
        this.#undelivered = undefined;
      },
    };
    const heartbeatMs = heartbeatSeconds === null ? null : heartbeatSeconds * 1000;
    const connect = () => this.#database.client();
    this.#changeSource =
      pollSeconds === null
        ? new PostgresListener(
            { connect, namespace, queryTimeoutMs, connectTimeoutMs, heartbeatMs },
            hooks,
          )
        : new PostgresPoller(pollSeconds * 1000, hooks);
  }

  /** The circuit as the database has it, after the changes that were asked for here before. */
  async getState(name: string): Promise<CircuitRecord | null> {
    const deadline = this.#deadline();
    await this.#changing.get(name);
    const [row] = await this.#ask(GET_STATE, [this.#namespace, name], deadline);
    return row === undefined ? null : toRecord(JSON.parse(row[0] ?? ""));
  }

  async load(name: string): Promise<CircuitRecord> {
    return this.#seen(name, await this.#loader.load(name));
  }

  async change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const work = this.#change(name, change);
    const settled = Promise.allSettled([this.#changing.get(name), work]);
    this.#changing.set(name, settled);
    try {
      const result = await work;
      // Bulkheads of this process need not wait for the notification.
      if (result.changed) this.#tell(name, result.record);
      return result;
    } finally {
      if (this.#changing.get(name) === settled) this.#changing.delete(name);
    }
  }

  /** @throws {Error} when the storage is closed */
  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    if (this.#database.isClosed) throw closedError();
    const subscribers = this.#subscribers.get(name) ?? new Set();
    this.#subscribers.set(name, subscribers.add(subscriber));
    this.#startListening();
    const interruption = this.#interruption ?? this.#undelivered;
    if (interruption !== undefined) queueMicrotask(() => subscriber.onError(interruption));
    return () => {
      if (!subscribers.delete(subscriber) || subscribers.size > 0) return;
      if (this.#subscribers.get(name) === subscribers) {
        this.#subscribers.delete(name);
        this.#newest.delete(name);
        this.#unreadable.delete(name);
      }
      if (this.#subscribers.size > 0) return;
      this.#changeSource.stop();
      this.#interruption = undefined;
      this.#undelivered = undefined;
    };
  }

  /**
   * Closes every connection but an application's own pool. What is under way is rejected, as is
   * whatever is asked after it.
   */
  async close(): Promise<void> {
    this.#changeSource.stop();
    this.#subscribers.clear();
    await this.#database.close();
  }

  async #change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const isOpening = change.to === "OPEN";
    const [row] = await this.#ask(CHANGE, [
      this.#namespace,
      name,
      this.#lockTimeout,
      change.version,
      change.to,
      change.owner,
      change.to !== "HALF_OPEN" && change.byHand === true,
      change.to === "HALF_OPEN" && change.early === true,
      isOpening ? change.openSeconds : 0,
      isOpening ? Math.min(change.failureCount, 2 ** 31 - 1) : 0,
      this.probeLeaseSeconds,
      (change.to === "HALF_OPEN" ? change.successes : undefined) ?? null,
      (isOpening ? change.reason : undefined) ?? null,
      (isOpening ? change.opening : undefined) ?? change.owner,
    ]);
    if (row === undefined) throw new Error("The circuit was deleted while it changed");
    const record = this.#seen(name, toRecord(JSON.parse(row[1] ?? "")));
    return { changed: row[0] === "t", record };
  }

  /** Reads what subscribers may have missed. Resolves to whether it could read all of it. */
  async #reread(only?: string): Promise<boolean> {
    const names = only === undefined ? [...this.#subscribers.keys()] : [only];
    if (names.length === 0) return true;
    let isComplete = true;
    const newest = new Map(this.#newest);
    const lost: Array<Promise<boolean>> = [];
    const versions = new Map<string, number>();
    for (const [name, answer] of await this.#loader.loadAll(names)) {
      if (!(answer instanceof Error)) versions.set(name, answer.version);
      const known = newest.get(name) ?? 0;
      if (answer instanceof Error) {
        isComplete = false;
        this.#tellUnreadable(name, answer);
      } else if (hasLost(answer, known)) {
        lost.push(this.#renew(name, answer, known));
      } else {
        this.#tell(name, answer);
      }
    }
    if (only === undefined) this.#announcements.read(versions);
    const renewed = await Promise.all(lost);
    return isComplete && renewed.every(Boolean);
  }

  /**
   * The database has lost what was known before it was asked, as a standby does that took over without
   * the last transactions. What it has now counts, so its row has to be the newest for everybody.
   */
  async #renew(name: string, lost: CircuitRecord, known: number): Promise<boolean> {
    try {
      const values = [this.#namespace, name, lost.version, known, this.#lockTimeout];
      const [row] = await this.#ask(RENEW, values);
      // Without a row another process was faster.
      if (row === undefined) return this.#reread(name);
      this.#tell(name, toRecord(JSON.parse(row[0] ?? "")));
      return true;
    } catch (error) {
      // A standby that lags behind has lost nothing.
      if (isReadOnly(error)) return true;
      // Somebody holds the row, or forbids it: the trouble of this circuit alone.
      this.#tellUnreadable(name, this.#database.tellable(error));
      return false;
    }
  }

  /** The listener makes a connection at once, for which pg has to be there. */
  #startListening(): void {
    if (this.#subscribers.size === 0) return;
    if (this.#database.isLoaded) this.#changeSource.start();
    else this.#database.load().then(() => this.#startListening(), this.#onLoadError);
  }

  readonly #onLoadError = (error: unknown): void => {
    if (!this.#database.isClosed) this.#tellInterruption(error);
  };

  #seen(name: string, record: CircuitRecord): CircuitRecord {
    const newest = this.#newest.get(name) ?? 0;
    if (this.#subscribers.has(name)) this.#newest.set(name, Math.max(newest, record.version));
    return record;
  }

  get #lockTimeout(): string {
    return `${Math.max(1, Math.floor(this.queryTimeoutSeconds * 1000))}ms`;
  }

  #deadline(): number {
    return now() + this.queryTimeoutSeconds * 1000;
  }

  async #ask(statement: string, values: unknown[], deadline = this.#deadline()): Promise<Row[]> {
    if (this.#database.isClosed) throw closedError();
    try {
      const rows = await this.#askWithSchema(statement, values, deadline);
      this.#startListening();
      return rows;
    } catch (error) {
      if (isNoAnswer(error)) this.#changeSource.check();
      throw error;
    }
  }

  async #askWithSchema(statement: string, values: unknown[], deadline: number): Promise<Row[]> {
    const schema = this.#schema;
    const query = () => this.#database.query(statement, values, deadline - now());
    if (schema === undefined) return query();
    await schema.ready(deadline - now());
    try {
      return await query();
    } catch (error) {
      if (!isSchemaTrouble(error)) throw error;
      schema.forget();
      await schema.ready(deadline - now());
      return query();
    }
  }

  #tell(name: string, record: CircuitRecord): void {
    this.#unreadable.delete(name);
    this.#seen(name, record);
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber.onRecord(record));
    }
  }

  /** The trouble of one circuit is told once, until it can be read again. */
  #tellUnreadable(name: string, error: Error): void {
    if (this.#unreadable.has(name)) return;
    this.#unreadable.add(name);
    this.#tellError(name, error);
  }

  /** It may be another database when it is back. */
  #forgetSchema(): void {
    this.#schema?.forget();
    this.#loader.forgetSchema();
  }

  #tellInterruption(error: unknown): void {
    this.#forgetSchema();
    if (this.#interruption !== undefined) return;
    this.#interruption = this.#database.tellable(error);
    for (const name of this.#subscribers.keys()) this.#tellError(name, this.#interruption);
  }

  #tellError(name: string, error: Error): void {
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber.onError(error));
    }
  }
}

const DAY_US = 86_400_000_000;

/**
 * Whether the database knew more than this before. A version far ahead of the database's clock was never
 * one of its own: anybody may send a notice.
 */
function hasLost({ version, readAt }: CircuitRecord, known: number): boolean {
  return version < known && known < readAt.getTime() * 1000 + DAY_US;
}
