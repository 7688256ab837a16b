import { setTimeout as sleep } from "node:timers/promises";
import type { Client, ClientBase, ClientConfig, Pool, PoolClient } from "pg";
import { cancel } from "./cancel.js";
import { Checkout } from "./checkout.js";
import { secretsOf } from "./connection.js";
import { isPool, loadDriver } from "./driver.js";
import { closedError, isConflict, PostgresStorageError, tellable } from "./errors.js";
import { explainByVersion } from "./server-version.js";
import { destroy, guard, guardedClient } from "./wire.js";

/** One row: the text of each column. */
export type Row = ReadonlyArray<string | null>;

/** Runs one statement, and gives its rows. */
export type Ask = (statement: string, values?: unknown[]) => Promise<Row[]>;

interface Job {
  /** Ends the job at once, whatever its connection is doing. */
  readonly cut: (error: Error) => void;
}

/** What connections are taken from, once pg is loaded. */
interface Connector {
  readonly pool: Pool;
  readonly checkout: Checkout;
  readonly makeClient: () => ClientBase & Client;
}

/**
 * The way to the database: every question has a time limit, which includes the wait for a connection.
 * A connection that is in doubt is destroyed; so nothing that hangs is met again.
 */
export class Database {
  readonly #source: Pool | ClientConfig;
  readonly #secrets: readonly string[];
  readonly #queryTimeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #jobs = new Set<Job>();
  /** Clients of our own pool, which waits for them when it is closed. */
  readonly #connecting = new Set<ClientBase>();
  #connector: Connector | undefined = undefined;
  #loading: Promise<Connector> | undefined = undefined;
  #isClosed = false;

  /** @param source a pool of the application's, or how to connect with a pool of our own */
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
      // Not the limit of the question that needs it: the next one would begin again with connecting.
      connectionTimeoutMillis: Math.ceil(this.#connectTimeoutMs),
    });
    // An idle connection was lost. The next query gets another one.
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

  /** @throws {PostgresStorageError} for whatever goes wrong */
  async query(statement: string, values: unknown[], limitMs: number): Promise<Row[]> {
    return this.session((ask) => untilDecided(() => ask(statement, values)), limitMs);
  }

  /** Several statements on one connection. @throws {PostgresStorageError} for whatever goes wrong */
  async session<T>(task: (ask: Ask) => Promise<T>, limitMs: number): Promise<T> {
    if (this.#isClosed) throw closedError();
    let client: PoolClient | undefined;
    let isCut = false;
    let job: Job | undefined;
    let giveUp = () => {};
    const cut = new Promise<never>((_, reject) => {
      job = {
        cut: (error) => {
          isCut = true;
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
    const timer = setTimeout(() => job?.cut(lateError(this.#queryTimeoutMs)), limitMs);
    const work = async () => {
      const { checkout } = this.#connector ?? (await this.#load());
      if (isCut) throw closedError();
      const taken = checkout.take();
      giveUp = taken.giveUp;
      const connected = await taken.connection;
      if (isCut) {
        checkout.giveBack(connected);
        throw closedError();
      }
      client = connected;
      try {
        const result = await task(asker(connected));
        if (!isCut) checkout.giveBack(connected);
        return result;
      } catch (error) {
        const reason = isCut ? error : await explainByVersion(error, asker(connected));
        if (!isCut) discard(connected, reason);
        throw reason;
      }
    };
    try {
      return await Promise.race([work(), cut]);
    } catch (error) {
      throw this.tellable(error);
    } finally {
      clearTimeout(timer);
      if (job !== undefined) this.#jobs.delete(job);
    }
  }

  /** A connection outside the pool was made: what hangs in the pool is not to be waited for. */
  reached(): void {
    this.#connector?.checkout.reached();
  }

  /** A connection outside the pool, not connected yet. Only after {@link load}. */
  client(): Client {
    if (this.#connector === undefined) throw new Error("pg is not loaded");
    return this.#connector.makeClient();
  }

  tellable(error: unknown): PostgresStorageError {
    return tellable(error, this.#secrets);
  }

  /** Cuts what is under way. Our own pool is closed, an application's is left alone. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const job of this.#jobs) job.cut(closedError());
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

/** Asks on this connection. Values come as text, whatever parsers the application has given to pg. */
export function asker(client: ClientBase): Ask {
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

/** A pause of a random part of this keeps those who collided from doing so again. */
const CONFLICT_PAUSE_MS = 10;

/**
 * The answer of the database, asked again as long as another's transaction came between: that is no
 * trouble with the connection, and the next snapshot shows what the other did.
 */
export async function untilDecided<T>(task: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await task();
    } catch (error) {
      if (!isConflict(error)) throw error;
    }
    await sleep(Math.random() * CONFLICT_PAUSE_MS);
  }
}

/** The answer, or a rejection when it takes longer than `limitMs`. The timer holds no process. */
export async function within<T>(limitMs: number, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(lateError(limitMs)), Math.max(1, limitMs));
    timer.unref();
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

function lateError(limitMs: number): PostgresStorageError {
  const seconds = Math.round(limitMs) / 1000;
  return new PostgresStorageError(`The database did not answer within ${seconds} s`, "ETIMEDOUT");
}

function discard(client: PoolClient, error: unknown): void {
  destroy(client);
  client.release(error instanceof Error ? error : true);
}

function ignore(): void {}
