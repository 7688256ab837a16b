import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribe } from "./subscriber.js";
import { asVersion11, TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
let proxy: TcpProxy;

beforeEach(async () => {
  database = await createDatabase();
  await database.query(SCHEMA_SQL);
  proxy = await TcpProxy.to(database.server.port);
});
afterEach(async () => {
  await database.closeStorages();
  await proxy.close();
  await database.drop();
});

describe("a connection that takes longer to be made than a query may take", () => {
  it("fails the query that asked for it, and is there for a later one and for the listener", async () => {
    // Six chunks until it is made, two for a query.
    proxy.delayMs = 150;
    const storage = database.storage({
      connectionString: database.urlFor(proxy),
      queryTimeoutSeconds: 0.8,
      ensureSchema: false,
    });
    await expect(storage.load("api")).rejects.toMatchObject({ code: "ETIMEDOUT" });
    const { state } = await eventually(() => storage.load("api").catch(() => undefined));
    expect(state).toBe("CLOSED");
    const { told, heard } = subscribe(storage, "api");
    await eventually(() => told.length > 0);
    await database.edit("api", "state = 'OPEN'");
    await eventually(() => heard.some((record) => record.state === "OPEN"));
  });

  it("is given up after connectTimeoutSeconds, also by the listener", async () => {
    proxy.stalled = true;
    const storage = database.storage({
      connectionString: database.urlFor(proxy),
      queryTimeoutSeconds: 0.1,
      connectTimeoutSeconds: 0.3,
    });
    const { troubles } = subscribe(storage, "api");
    await expect(storage.load("api")).rejects.toMatchObject({ code: "ETIMEDOUT" });
    await eventually(() => troubles.length > 0, { seconds: 4 });
    expect(String(troubles[0])).toContain("within 0.3 s");
    // Neither is there any more, before the listener tries again.
    await eventually(() => proxy.connections === 0, { seconds: 4 });
  });
});

describe("a connection that hangs as it is made", () => {
  it("does not hold up close()", async () => {
    proxy.stalled = true;
    const storage = database.storage({
      connectionString: database.urlFor(proxy),
      queryTimeoutSeconds: 0.1,
      connectTimeoutSeconds: 600,
    });
    await expect(storage.load("api")).rejects.toMatchObject({ code: "ETIMEDOUT" });
    await storage.close();
    await eventually(() => proxy.connections === 0);
  });
});

describe("a server that is too old", () => {
  /** What PostgreSQL 11 says to SQL that it does not understand. */
  async function age(): Promise<void> {
    await database.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'syntax error at or near "("' USING ERRCODE = 'syntax_error'; END $$`);
    await database.query(
      "CREATE TRIGGER refuse BEFORE INSERT ON rc_circuit_breakers EXECUTE FUNCTION refuse()",
    );
  }

  it("is named in the error, with the version that is needed", async () => {
    await age();
    const [row] = await database.query<{ server_version: string }>("SHOW server_version");
    proxy.corrupt = asVersion11(row?.server_version ?? "");
    const storage = database.storage({ connectionString: database.urlFor(proxy) });
    await expect(storage.load("api")).rejects.toThrow(
      /^PostgreSQL 11[\d.]* is too old; version 12 or newer is needed$/,
    );
  });

  it("is not thought to be one because of an error in SQL alone", async () => {
    await age();
    await expect(database.storage().load("api")).rejects.toThrow(/^syntax error at or near/);
  });
});
