import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { PostgresListener } from "../../src/storage/postgres/listener.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribe, subscribed } from "./subscriber.js";
import { TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
let name = "";
let tests = 0;
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(() => {
  name = `api ${tests++}`;
});
afterEach(() => database.closeStorages());
afterAll(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);

async function connections(query: string): Promise<number[]> {
  const rows = await database.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'bulkman' AND query LIKE $2",
    [database.name, query],
  );
  return rows.map(({ pid }) => pid);
}

describe("listening", () => {
  it("takes one connection for all circuits of a storage, as long as somebody wants to hear", async () => {
    const storage = open();
    const all = await Promise.all([subscribed(storage, name), subscribed(storage, `${name} too`)]);
    expect(await connections("LISTEN%")).toHaveLength(1);
    for (const { unsubscribe } of all) unsubscribe();
    await eventually(async () => (await connections("LISTEN%")).length === 0);
    const again = await subscribed(storage, name);
    await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
    await eventually(() => again.heard[0]);
  });

  it("begins again when its connection is ended, and reads what it missed", async () => {
    const storage = open();
    // Nothing changes it: it receives what was read again.
    const quiet = subscribe(storage, `${name} quiet`);
    const { heard, troubles } = await subscribed(storage, name);
    for (const state of ["OPEN", "CLOSED", "OPEN"]) {
      troubles.length = 0;
      quiet.told.length = 0;
      const [pid] = await eventually(async () => {
        const pids = await connections("LISTEN%");
        return pids.length === 1 ? pids : undefined;
      });
      await database.query("SELECT pg_terminate_backend($1)", [pid]);
      await eventually(() => troubles.length === 1);
      expect(String(troubles[0])).toContain("terminating connection");
      await database.edit(name, `state = '${state}', open_until = now() + '5 min'`);
      await eventually(() => heard.at(-1)?.state === state);
      await eventually(() => quiet.told.length > 0);
      expect(troubles).toHaveLength(1);
    }
  });

  it("emits one error for each interruption, and at once to a subscriber that comes during it", async () => {
    await open().load(name);
    const role = `lone_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1`);
    await database.query(`GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${role}`);
    const proxy = await TcpProxy.to(database.server.port);
    const connectionString = database.urlFor({ port: proxy.port, user: role, password: "x" });
    const pool = database.pool({ connectionString, max: 1, idleTimeoutMillis: 0 });
    await pool.query("SELECT 1");
    const storage = open({ pool });
    const all = [subscribe(storage, name), subscribe(storage, `${name} b`)];
    await eventually(() => proxy.accepted >= 5);
    const late = subscribe(storage, `${name} c`);
    await eventually(() => proxy.accepted >= 6);
    for (const { troubles } of [...all, late]) {
      expect(troubles.map(String)).toEqual([expect.stringContaining("too many connections")]);
    }
    await database.query(`ALTER ROLE ${role} CONNECTION LIMIT 10`);
    await eventually(() => [...all, late].every(({ told }) => told.length > 0));
    await database.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND query LIKE 'LISTEN%'",
      [role],
    );
    await eventually(() => all[0]?.troubles.length === 2);
    expect(all[1]?.troubles).toHaveLength(2);
    await storage.close();
    await pool.end();
    await proxy.close();
    await database.query(`DROP OWNED BY ${role}`);
    await database.query(`DROP ROLE ${role}`);
  });

  it("finds a connection that is dead without a word", async () => {
    const proxy = await TcpProxy.to(database.server.port);
    const troubles: unknown[] = [];
    let rereads = 0;
    const listener = new PostgresListener(
      {
        connect: () => new Client({ connectionString: database.urlFor(proxy) }),
        namespace: "default",
        queryTimeoutMs: 500,
        heartbeatMs: 50,
      },
      {
        onChange: () => {},
        prepare: async () => {},
        schema: () => "public",
        reread: async () => ++rereads > 0,
        onInterrupted: (error) => troubles.push(error),
        onSynced: () => {},
      },
    );
    listener.start();
    await eventually(() => rereads > 0);
    proxy.stalled = true;
    await eventually(() => troubles.length > 0);
    expect(String(troubles[0])).toContain("did not answer within 0.5 s");
    const before = rereads;
    proxy.stalled = false;
    await eventually(() => rereads > before);
    listener.stop();
    await eventually(() => proxy.connections === 0);
    await proxy.close();
  });

  it("finds out that it is deaf as soon as a question is not answered", async () => {
    const proxy = await TcpProxy.to(database.server.port);
    // With one connection for questions, so that all that are lost have been asked.
    const pool = database.pool({ connectionString: database.urlFor(proxy), max: 1 });
    const storage = open({ pool, queryTimeoutSeconds: 2 });
    const { heard, troubles } = await subscribed(storage, name);
    proxy.lose();
    await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
    await expect(storage.getState(name)).rejects.toThrow("did not answer");
    await eventually(() => heard.length > 0);
    // The query has shown it.
    expect(troubles).toEqual([]);
    await storage.close();
    await pool.end();
    await proxy.close();
  });

  it("reads what was lost on a connection that goes on, when a question was lost as well", async () => {
    const proxy = await TcpProxy.to(database.server.port);
    const connectionString = database.urlFor(proxy);
    const storage = open({ connectionString, queryTimeoutSeconds: 2 });
    const { heard, troubles } = await subscribed(storage, name);
    const { accepted } = proxy;
    proxy.stalled = true;
    await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
    await expect(storage.getState(name)).rejects.toThrow("did not answer");
    proxy.stalled = false;
    await eventually(() => heard.length > 0);
    expect(troubles).toEqual([]);
    // One for the question that replaces the lost one: the listening connection is the same.
    expect(proxy.accepted).toBeLessThanOrEqual(accepted + 2);
    await storage.close();
    await proxy.close();
  });

  it("goes on while the application's pool has no connection left", async () => {
    const pool = database.pool({ max: 1, application_name: "bulkman" });
    const storage = open({ pool, queryTimeoutSeconds: 2 });
    const { heard, troubles } = await subscribed(storage, name);
    const listening = await connections("LISTEN%");
    const taken = await pool.connect();
    // The first has the connection checked, and the circuits read again, which is over before the last.
    for (let question = 0; question < 3; question++) {
      await expect(storage.getState(name)).rejects.toThrow("did not answer");
    }
    await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
    await eventually(() => heard.length > 0);
    expect(troubles).toEqual([]);
    expect(await connections("LISTEN%")).toEqual(listening);
    taken.release();
    await storage.close();
    await pool.end();
  });

  it("stops in the middle of connecting", async () => {
    const proxy = await TcpProxy.to(database.server.port);
    proxy.stalled = true;
    const storage = open({ connectionString: database.urlFor(proxy) });
    const unsubscribe = storage.subscribe(name, { onRecord: () => {}, onError: () => {} });
    await eventually(() => proxy.connections > 0);
    unsubscribe();
    await eventually(() => proxy.connections === 0);
    await proxy.close();
  });
});

describe("polling", () => {
  it("receives changes without LISTEN, by one query for all circuits", async () => {
    const pool = database.pool({ max: 1, application_name: "bulkman" });
    const storage = open({ pool, pollSeconds: 0.02 });
    const names = [name, `${name} b`, `${name} c`];
    const all = await Promise.all(names.map((each) => subscribed(storage, each)));
    let queries = 0;
    pool.on("acquire", () => queries++);
    for (const { told } of all) told.length = 0;
    await eventually(() => all.every(({ told }) => told.length >= 5));
    expect(queries).toBeLessThanOrEqual(8);
    expect(await connections("LISTEN%")).toEqual([]);
    await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
    await eventually(() => all[0]?.heard.some(({ state }) => state === "OPEN"));
    await storage.close();
    await pool.end();
  });

  it("emits one error for each interruption", async () => {
    const proxy = await TcpProxy.to(database.server.port);
    const storage = open({ connectionString: database.urlFor(proxy), pollSeconds: 0.02 });
    const { told, troubles } = subscribe(storage, name);
    for (const interruptions of [1, 2]) {
      told.length = 0;
      await eventually(() => told.length > 0);
      const { accepted } = proxy;
      proxy.refusing = true;
      proxy.cut();
      await eventually(() => proxy.accepted > accepted + 4);
      expect(troubles).toHaveLength(interruptions);
      proxy.refusing = false;
    }
    await storage.close();
    await proxy.close();
  });
});
