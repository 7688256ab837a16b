import { randomUUID } from "node:crypto";
import { Client, Pool, type PoolConfig, type QueryResultRow } from "pg";
import { inject } from "vitest";
import { PostgresStorage, type PostgresStorageOptions } from "../../src/index.js";
import type { TestServer } from "./services.setup.js";

/** A database of a test file's own, with a connection to look into it. */
export interface TestDatabase {
  readonly url: string;
  readonly name: string;
  readonly server: TestServer;
  query<T extends QueryResultRow>(text: string, values?: unknown[]): Promise<T[]>;
  /** Changes a circuit manually, in SQL. */
  edit(name: string, set: string): Promise<unknown>;
  /** The same database on another port (of a proxy), or for another user. */
  urlFor(change: { port?: number; user?: string; password?: string }): string;
  /** An application's pool for it. */
  pool(options?: PoolConfig): Pool;
  /** A storage in it, patient with a busy machine. */
  storage(options?: PostgresStorageOptions): PostgresStorage;
  closeStorages(): Promise<void>;
  drop(): Promise<void>;
}

/** Starts what the test run has only one of, when no test has asked for it before. */
export async function service<T>(name: "postgres" | "child"): Promise<T> {
  const response = await fetch(`${inject("servicesUrl")}/${name}`);
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as T;
}

export async function createDatabase(given?: TestServer): Promise<TestDatabase> {
  const server = given ?? (await service<TestServer>("postgres"));
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  const urlFor = ({ port = server.port, user = server.user, password = server.password }) =>
    `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${name}`;
  await administer(server, `CREATE DATABASE ${name}`);
  const makePool = (options: PoolConfig) => {
    const pool = new Pool({ connectionString: urlFor({}), ...options });
    // An application has to do so too, or the loss of an idle connection ends it.
    pool.on("error", () => {});
    return pool;
  };
  const pool = makePool({ max: 2, application_name: "test" });
  const storages: PostgresStorage[] = [];
  const closeStorages = async () => {
    await Promise.all(storages.splice(0).map((storage) => storage.close()));
  };
  return {
    url: urlFor({}),
    name,
    server,
    urlFor,
    query: async (text, values) => (await pool.query(text, values)).rows,
    edit: (circuit, set) =>
      pool.query(`UPDATE rc_circuit_breakers SET ${set} WHERE resource_key = $1`, [circuit]),
    pool: (options = {}) => makePool(options),
    storage: (options = {}) => {
      const connectionString = options.pool === undefined ? urlFor({}) : undefined;
      const storage = new PostgresStorage({
        connectionString,
        queryTimeoutSeconds: 10,
        ...options,
      });
      storages.push(storage);
      return storage;
    },
    closeStorages,
    drop: async () => {
      await closeStorages();
      await pool.end();
      await administer(server, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

async function administer({ port, user, password }: TestServer, statement: string): Promise<void> {
  const client = new Client({ host: "127.0.0.1", port, user, password, database: "postgres" });
  await client.connect();
  await client.query(statement);
  await client.end();
}
