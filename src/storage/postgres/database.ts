import { setTimeout as sleep } from "node:timers/promises";
import type { Client, ClientBase, ClientConfig, Pool, PoolClient } from "pg";
import { withTimeout } from "../../common/with-timeout.js";
import { cancel } from "./cancel.js";
import { Checkout } from "./checkout.js";
import { secretsOf } from "./connection.js";
import { isPool, loadDriver } from "./driver.js";
import {
  closedError,
  isSerializationFailure,
  PostgresStorageError,
  toStorageError,
} from "./errors.js";
import { explainByVersion } from "./server-version.js";
import { destroy, guard, guardedClient } from "./wire.js";

/** One row: the text of each column. */
export type Row = ReadonlyArray<string | null>;

/** Runs one statement, and resolves to its rows. */
export type Query = (statement: string, values?: unknown[]) => Promise<Row[]>;

/** A session under way. */
interface Job {
  /** Ends it at once, whatever its connection is doing. */
  readonly abort: (error: Error) => void;
}

/** What connections are taken from, once pg is loaded. */
interface Connector {
  readonly pool: Pool;
  readonly checkout: Checkout;
  readonly makeClient: () => ClientBase & Client;
}

/**
 * Queries of a database: each has a time limit, which includes the wait for a connection. A connection whose
 * query failed or timed out is destroyed: otherwise a later query could wait on one that hangs.
 */
export class Database {
  readonly #source: Pool | ClientConfig;
  readonly #secrets: readonly string[];
  readonly #queryTimeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #jobs = new Set<Job>();
  /** Clients of the storage's own pool that are connecting: closing the pool would wait for them. */
  readonly #connecting = new Set<ClientBase>();
  #connector: Connector | undefined = undefined;
  #loading: Promise<Connector> | undefined = undefined;
  #isClosed = false;

  /** @param source an application's pool, or how to connect with a pool of the storage's own */
  constructor(
    source: Pool | ClientConfig,
    { queryTimeoutMs, connectTimeoutMs }: { queryTimeoutMs: number; connectTimeoutMs: number },
  ) {
    this.#source = source;
    this.#queryTimeoutMs = queryTimeoutMs;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#secrets = secretsOf(isPool(source) ? source.options : source);
    if (isPool(source)) this.#connector = connectorOf(source);
  }

  /** Whether {@link client} can be called. */
  get isLoaded(): boolean {
    return this.#connector !== undefined;
  }

  /** Loads pg, unless an application's pool has brought it. */
  async load(): Promise<void> {
    await this.#load();
  }

  #load(): Promise<Connector> {
    this.#loading ??= this.#connect().catch((error) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  async #connect(): Promise<Connector> {
    const source = this.#source;
    if (isPool(source)) return connectorOf(source);
    const driver = await loadDriver();
    if (this.#isClosed) throw closedError();
    const OwnClient = guardedClient(driver.Client, this.#connecting);
    const pool = new driver.Pool({
      ...source,
      Client: OwnClient,
      max: 2,
      allowExitOnIdle: true,
      // Not the limit of the query that needs it: the next query would have to connect from the start.
      connectionTimeoutMillis: Math.ceil(this.#connectTimeoutMs),
    });
    // An idle connection was lost; without a listener that ends the process. The next query gets another one.
    pool.on("error", ignore);
    this.#connector = {
      pool,
      checkout: new Checkout(pool),
      makeClient: () => new OwnClient(source),
    };
    return this.#connector;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws {PostgresStorageError} for every failure */
  async query(statement: string, values: unknown[], limitMs: number): Promise<Row[]> {
    return this.session((query) => retryOnConflict(() => query(statement, values)), limitMs);
  }

  /** Several statements on one connection. @throws {PostgresStorageError} for every failure */
  async session<T>(task: (query: Query) => Promise<T>, limitMs: number): Promise<T> {
    if (this.#isClosed) throw closedError();
    let client: PoolClient | undefined;
    let isAborted = false;
    let job: Job | undefined;
    let giveUp = () => {};
    const aborted = new Promise<never>((_, reject) => {
      job = {
        abort: (error) => {
          isAborted = true;
          giveUp();
          if (client !== undefined) {
            cancel(client, () => this.client(), this.#connectTimeoutMs);
            discard(client, error);
          }
          reject(error);
        },
      };
      this.#jobs.add(job);
    });
    const timer = setTimeout(() => job?.abort(timeoutError(this.#queryTimeoutMs)), limitMs);
    const work = async () => {
      const { checkout } = this.#connector ?? (await this.#load());
      if (isAborted) throw closedError();
      const acquired = checkout.acquire();
      giveUp = acquired.giveUp;
      const connected = await acquired.connection;
      if (isAborted) {
        checkout.release(connected);
        throw closedError();
      }
      client = connected;
      try {
        const result = await task(queryOn(connected));
        if (!isAborted) checkout.release(connected);
        return result;
      } catch (error) {
        const reason = isAborted ? error : await explainByVersion(error, queryOn(connected));
        if (!isAborted) discard(connected, reason);
        throw reason;
      }
    };
    try {
      return await Promise.race([work(), aborted]);
    } catch (error) {
      throw this.toStorageError(error);
    } finally {
      clearTimeout(timer);
      if (job !== undefined) this.#jobs.delete(job);
    }
  }

  /** A connection outside the pool was made: a wait that hangs in the pool need not be waited for. */
  markReachable(): void {
    this.#connector?.checkout.markReachable();
  }

  /** A connection outside the pool, not connected yet. Only after {@link load}. */
  client(): Client {
    if (this.#connector === undefined) throw new Error("pg is not loaded");
    return this.#connector.makeClient();
  }

  toStorageError(error: unknown): PostgresStorageError {
    return toStorageError(error, this.#secrets);
  }

  /** Rejects every pending query, and closes the storage's own pool; an application's stays open. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const job of this.#jobs) job.abort(closedError());
    for (const client of this.#connecting) destroy(client);
    if (!isPool(this.#source)) await this.#connector?.pool.end();
  }
}

function connectorOf(pool: Pool): Connector {
  const { Client: PoolsClient } = pool as unknown as { Client: typeof Client };
  return {
    pool,
    checkout: new Checkout(pool),
    makeClient: () => guard(new PoolsClient(pool.options)),
  };
}

/** Queries on this connection. Values come as text, whatever parsers the application has given to pg. */
export function queryOn(client: ClientBase): Query {
  return async (statement, values) => {
    const { rows } = await client.query({
      text: statement,
      rowMode: "array",
      types: { getTypeParser: () => (text: string) => text },
      ...(values === undefined ? {} : { values }),
    });
    return rows;
  };
}

/** The longest pause; its random length keeps the processes that collided from colliding again. */
const CONFLICT_PAUSE_MS = 10;

/**
 * Repeats a task while it fails with a serialization failure or a deadlock: the connection is good, and the next
 * snapshot has the other transaction's changes.
 */
export async function retryOnConflict<T>(task: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await task();
    } catch (error) {
      if (!isSerializationFailure(error)) throw error;
    }
    await sleep(Math.random() * CONFLICT_PAUSE_MS);
  }
}

/** The answer, or a timeout error after `limitMs`. The timer does not keep the process alive. */
export function withQueryTimeout<T>(limitMs: number, answer: Promise<T>): Promise<T> {
  return withTimeout(answer, { limitMs, error: () => timeoutError(limitMs), holdsProcess: false });
}

function timeoutError(limitMs: number): PostgresStorageError {
  const seconds = Math.round(limitMs) / 1000;
  return new PostgresStorageError(`The database did not answer within ${seconds} s`, "ETIMEDOUT");
}

function discard(client: PoolClient, error: unknown): void {
  destroy(client);
  client.release(error instanceof Error ? error : true);
}

function ignore(): void {}
