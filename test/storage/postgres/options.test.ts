import { Client, Pool } from "pg";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  createStorage,
  InMemoryStorage,
  PostgresStorage,
  type PostgresStorageOptions,
} from "../../../src/index.js";
import { clientConfig } from "../../../src/storage/postgres/connection.js";
import { readPostgresOptions } from "../../../src/storage/postgres/options.js";

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
    [
      { connectTimeoutSeconds: Number.NaN },
      RangeError,
      "connectTimeoutSeconds must be a number of seconds over 0",
    ],
    [{ probeLeaseSeconds: -1 }, RangeError, "probeLeaseSeconds must be a number of seconds over 0"],
    [{ pollSeconds: "1" }, TypeError, "pollSeconds must be a number of seconds over 0"],
    [{ pollSeconds: 0 }, RangeError, "or null; got 0"],
    [{ heartbeatSeconds: "30" }, TypeError, "heartbeatSeconds must be a number of seconds over 0"],
    [{ heartbeatSeconds: 0 }, RangeError, "or null; got 0"],
    [{ heartbeatSeconds: 2_147_484 }, RangeError, "up to 2147483.647, or null; got 2147484"],
    [{ heartBeatSecond: 1 }, TypeError, 'did you mean "heartbeatSeconds"?'],
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
    ["a connection string in a list in place of the options", [url]],
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

  it.each([
    "postgres://postgres:12/hunter2@127.0.0.1:5432/db",
    "postgres://postgres:12/hunter2@127.0.0.1",
    "postgres://app:hu@nter w/rd2@host/db",
    "postgres://app:54911?hunter2@127.0.0.1/db",
    "postgres://app:54911#hunter2@127.0.0.1/db",
    "postgres://app:hun@ter2?rd@host/db",
    "postgresql://app:hun/ter2#r?d@host/db",
    "POSTGRES://app:54911/a?application_name=hunter2#rd@host/db",
    "socket://app:hun/ter2@/tmp?db=x",
    "socket://app:hun@ter2/rd@/tmp?db=x",
    "socket:/tmp?db=x&password=hun#ter2@",
    "pg://app:54911/hunter2@127.0.0.1/db",
  ])("never take a part of a password that is not encoded for something else: %s", (given) => {
    const error = failure({ connectionString: given });
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("percent-encode");
    const shown = JSON.stringify([error.message, error.stack?.split("\n    at")[0], error.cause]);
    for (const part of ["hu@", "hun", "ter", "rd2", "12", "54911"])
      expect(shown).not.toContain(part);
  });

  it.each([
    ["postgres://app:hun%2Fter%402@127.0.0.1:1/db", { password: "hun/ter@2", database: "db" }],
    ["postgres://app:hun@ter2@127.0.0.1:1/db", { password: "hun@ter2", host: "127.0.0.1" }],
    ["postgres://app:x@h/db?application_name=a@b", { host: "h", database: "db" }],
    ["postgres://h:1?user=me@cloud&password=x", { user: "me@cloud", host: "h" }],
    ["postgres://app:x@/db?host=/var/run/@pg", { host: "/var/run/@pg", database: "db" }],
    ["postgres:///db?host=/tmp&user=me@cloud", { host: "/tmp", user: "me@cloud" }],
    ["postgres://app:x@%2Ftmp:1/db", { host: "/tmp", database: "db" }],
    ["socket:///tmp/@pg/?db=mydb", { host: "/tmp/@pg/", database: "mydb" }],
    ["socket://app:x@/tmp?db=mydb", { host: "/tmp", user: "app", database: "mydb" }],
    ["socket:/tmp/?db=mydb", { host: "/tmp/", database: "mydb" }],
    ["pg://app:x@h:1/db", { user: "app", host: "h", port: 1, database: "db" }],
    ["PG:///db?host=/tmp", { host: "/tmp", database: "db" }],
    ["/var/run/@pg mydb", { host: "/var/run/@pg", database: "mydb" }],
    ["postgres://app@[::1]:1/db", { host: "::1", user: "app" }],
  ])("take every URL that is clear: %s", (given, wanted) => {
    const { connectionString = "" } = clientConfig(given);
    expect(new Client(connectionString)).toMatchObject(wanted);
  });

  it("take a pool or a connection string, not both", async () => {
    const pool = new Pool({ connectionString: url });
    expect(failure({ pool, connectionString: url }).message).toContain("exclude each other");
    await new PostgresStorage({ pool }).close();
    expect(pool.ended).toBe(false);
    await pool.end();
  });

  it.each([
    [undefined, 30],
    [null, null],
    [5, 5],
  ])("have a sign of life every 30 s, unless they say otherwise: %s", (given, seconds) => {
    const options = { connectionString: url, heartbeatSeconds: given };
    expect(readPostgresOptions(options).heartbeatSeconds).toBe(seconds);
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

  it.each(["RC_DB_HOST", "RC_DB_NAME", "RC_DB_USER", "PGHOST", "PGDATABASE", "PGUSER"])(
    "does not take a URL for a name, which would show: %s",
    (variable) => {
      const common = variable.startsWith("RC_") ? { RC_DB_HOST: "db" } : {};
      const error = thrown(() => clientConfig(undefined, { ...common, [variable]: url }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(`${variable} must be a name, not a URL`);
    },
  );

  it("prefers RC_DB_DSN to the others, and shows no part of one that cannot be read", () => {
    const env = { RC_DB_HOST: "db", RC_DB_USER: "other", PGHOST: "third", RC_DB_DSN: url };
    expect(clientConfig(undefined, env)).toMatchObject({ connectionString: url });
    expect(clientConfig(undefined, env)).not.toHaveProperty("host");
    for (const dsn of [
      `host=db password=${SECRET}`,
      `postgres://app:${SECRET}@db:port/app`,
      `postgres://app:1/${SECRET}@db/app`,
      `postgres://app:${SECRET}@one:5432,two:5432/app`,
    ]) {
      const error = thrown(() => clientConfig(undefined, { ...env, RC_DB_DSN: dsn }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^RC_DB_DSN (must be a URL|cannot be read|can be read)/);
      expect(error.message).not.toContain(SECRET);
    }
  });

  it("never shows a secret of a connection string in place of the options of createStorage", () => {
    const given: unknown = url;
    const create = () => createStorage(given as object);
    expect(create).toThrow("options must be an object; got 'postgres://…@");
  });

  it("chooses the storage", () => {
    expect(createStorage()).toBeInstanceOf(InMemoryStorage);
    vi.stubEnv("RC_DB_HOST", "db");
    expect(createStorage({ namespace: "app" })).toBeInstanceOf(PostgresStorage);
    vi.stubEnv("RC_DB_HOST", "");
    expect(createStorage({ namespace: "app" })).toBeInstanceOf(InMemoryStorage);
    vi.stubEnv("RC_DB_DSN", url);
    expect(createStorage({ namespace: "app" })).toBeInstanceOf(PostgresStorage);
    expect(() => createStorage({ namespace: "" })).toThrow(RangeError);
    expect(() => createStorage({ nameSpace: "app" } as object)).toThrow(
      'did you mean "namespace"?',
    );
  });
});
