import { Pool } from "pg";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  createStorage,
  InMemoryStorage,
  PostgresStorage,
  type PostgresStorageOptions,
} from "../../src/index.js";
import { clientConfig } from "../../src/storage/postgres-options.js";

const SECRET = "hunter2";
const url = `postgres://app:${SECRET}@127.0.0.1:1/app`;

function thrown(make: () => unknown): Error {
  try {
    make();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("nothing was thrown");
}
const failure = (options: unknown) =>
  thrown(() => new PostgresStorage(options as PostgresStorageOptions));

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^(RC_|PG)/.test(name)) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe("the options of PostgresStorage", () => {
  it.each([
    [{ namespace: 1 }, TypeError, "namespace must be a string of 1 to 255 characters; got 1"],
    [{ namespace: "" }, RangeError, "namespace must be a string of 1 to 255 characters; got ''"],
    [{ ensureSchema: "no" }, TypeError, "ensureSchema must be true or false; got 'no'"],
    [
      { queryTimeoutSeconds: 0 },
      RangeError,
      "queryTimeoutSeconds must be a number of seconds over 0",
    ],
    [{ probeLeaseSeconds: -1 }, RangeError, "probeLeaseSeconds must be a number of seconds over 0"],
    [{ pollSeconds: "1" }, TypeError, "pollSeconds must be a number of seconds over 0"],
    [{ pollSeconds: 0 }, RangeError, "or null; got 0"],
    [{ poolSeconds: 1 }, TypeError, 'did you mean "pollSeconds"?'],
    [{ pool: {} }, TypeError, "pool must be a Pool of pg; got an object"],
    [{ connectionString: 5 }, TypeError, "connectionString must be a URL"],
  ])("are checked: %j", (options, kind, message) => {
    const error = failure({ connectionString: url, ...options });
    expect(error).toBeInstanceOf(kind);
    expect(error.message).toContain(message);
  });

  it.each([
    ["a connection string in place of the options", url],
    ["options in place of a pool", { pool: { host: "db", password: SECRET } }],
    ["key words in place of a URL", { connectionString: `host=db password=${SECRET}` }],
    ["a URL that cannot be read", { connectionString: `postgres://app:${SECRET}@db:port/app` }],
    ["a misspelt field", { conectionString: url }],
    ["null in place of the options", null],
    ["an object in place of a URL", { connectionString: { url } }],
  ])("never show a secret in an error: %s", (_, options) => {
    const error = failure(options);
    expect(error).toBeInstanceOf(TypeError);
    expect(
      JSON.stringify([String(error), error.stack, { ...error }, String(error.cause)]),
    ).not.toContain(SECRET);
  });

  it("take a pool or a connection string, not both", async () => {
    const pool = new Pool({ connectionString: url });
    expect(failure({ pool, connectionString: url }).message).toContain("exclude each other");
    await new PostgresStorage({ pool }).close();
    expect(pool.ended).toBe(false);
    await pool.end();
  });

  it("tell the time limit to bulkheads", async () => {
    const storages = [
      new PostgresStorage({ connectionString: url }),
      new PostgresStorage({ connectionString: url, queryTimeoutSeconds: 0.25 }),
    ];
    expect(storages.map((each) => each.queryTimeoutSeconds)).toEqual([1, 0.25]);
    for (const storage of storages) await storage.close();
  });
});

describe("a closed PostgresStorage", () => {
  it("rejects whatever is asked", async () => {
    const storage = new PostgresStorage({ connectionString: url });
    await storage.close();
    await storage.close();
    const closed = "This PostgresStorage is closed";
    await expect(storage.getState("api")).rejects.toThrow(closed);
    await expect(storage.load("api")).rejects.toThrow(closed);
    await expect(storage.change("api", { to: "CLOSED", version: 1, owner: "a" })).rejects.toThrow(
      closed,
    );
    expect(() => storage.subscribe("api", { onRecord() {}, onError() {} })).toThrow(closed);
  });
});

describe("the environment", () => {
  it("says where the database is, in the words of resilient-circuit", () => {
    const env = {
      RC_DB_HOST: "db",
      RC_DB_PORT: "6432",
      RC_DB_NAME: "circuits",
      RC_DB_USER: "app",
      RC_DB_PASSWORD: SECRET,
    };
    expect(clientConfig(undefined, env)).toMatchObject({
      host: "db",
      port: 6432,
      database: "circuits",
      user: "app",
      password: SECRET,
    });
    expect(clientConfig(undefined, { RC_DB_HOST: "db" })).toMatchObject({
      port: 5432,
      database: "resilient_circuit_db",
      user: "postgres",
    });
    // Without RC_DB_HOST it is left to pg, which reads PGHOST and the others.
    expect(clientConfig(undefined, { PGHOST: "db" })).not.toHaveProperty("host");
    expect(() => clientConfig(undefined, { ...env, RC_DB_PORT: "all" })).toThrow(
      'RC_DB_PORT must be an integer from 1 to 65535; got "all"',
    );
  });

  it("chooses the storage", async () => {
    expect(createStorage()).toBeInstanceOf(InMemoryStorage);
    vi.stubEnv("RC_DB_HOST", "db");
    expect(createStorage({ namespace: "app" })).toBeInstanceOf(InMemoryStorage);
    vi.stubEnv("RC_DB_PASSWORD", SECRET);
    const storage = createStorage({ namespace: "app" });
    expect(storage).toBeInstanceOf(PostgresStorage);
    await storage.close();
    expect(() => createStorage({ namespace: "" })).toThrow(RangeError);
    expect(() => createStorage({ nameSpace: "app" } as object)).toThrow(
      'did you mean "namespace"?',
    );
  });
});
