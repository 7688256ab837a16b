import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type CircuitRecord,
  PostgresStorage,
  type PostgresStorageOptions,
} from "../../src/index.js";
import { PostgresListener } from "../../src/storage/postgres-listener.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
const storages: PostgresStorage[] = [];
let name = "";
let tests = 0;
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(() => {
  name = `api ${tests++}`;
});
afterEach(async () => {
  await Promise.all(storages.splice(0).map((storage) => storage.close()));
});
afterAll(() => database.drop());

function open(options: PostgresStorageOptions = {}): PostgresStorage {
  const storage = new PostgresStorage({
    connectionString: database.url,
    queryTimeoutSeconds: 10,
    ...options,
  });
  storages.push(storage);
  return storage;
}

/** A subscriber that listens: everything it is told, and what of that is news to it. */
async function subscribed(storage: PostgresStorage, to = name) {
  const told: CircuitRecord[] = [];
  const heard: CircuitRecord[] = [];
  const troubles: unknown[] = [];
  const { version } = await storage.load(to);
  let newest = version;
  const unsubscribe = storage.subscribe(to, {
    onRecord: (record) => {
      told.push(record);
      if (record.version <= newest) return;
      newest = record.version;
      heard.push(record);
    },
    onError: (error) => troubles.push(error),
  });
  // What the storage reads when it has begun to listen.
  await eventually(() => told.length > 0);
  return { told, heard, troubles, unsubscribe, version };
}

/** A subscriber that asks nothing itself. */
function circuit(storage: PostgresStorage, to: string) {
  const told: CircuitRecord[] = [];
  const troubles: unknown[] = [];
  storage.subscribe(to, {
    onRecord: (record) => told.push(record),
    onError: (error) => troubles.push(error),
  });
  return { told, troubles };
}

function update(set: string, circuit = name) {
  return database.query(`UPDATE rc_circuit_breakers SET ${set} WHERE resource_key = $1`, [circuit]);
}

/** What Python's resilient-circuit writes after each call, word for word in its effect. */
function pythonWrites(state: string, failures: number, openUntil: string | null) {
  return database.query(
    `INSERT INTO rc_circuit_breakers (resource_key, namespace, state, failure_count, open_until)
     VALUES ($1, 'default', $2, $3, $4)
     ON CONFLICT (resource_key, namespace) DO UPDATE SET state = EXCLUDED.state,
       failure_count = EXCLUDED.failure_count, open_until = EXCLUDED.open_until,
       updated_at = CURRENT_TIMESTAMP`,
    [name, state, failures, openUntil],
  );
}

async function connections(query: string): Promise<number[]> {
  const rows = await database.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'bulkman' AND query LIKE $2",
    [database.name, query],
  );
  return rows.map(({ pid }) => pid);
}

describe("what a subscriber hears", () => {
  it("is a change made by hand in SQL, with the time that is left by the database's clock", async () => {
    const { heard, version } = await subscribed(open());
    await update("state = 'OPEN', open_until = now() + '5 min'");
    const opened = await eventually(() => heard[0]);
    expect(opened).toMatchObject({ state: "OPEN", probeOwner: null });
    expect(opened.version).toBeGreaterThan(version);
    const left = Number(opened.openUntil) - Number(opened.readAt);
    expect(left).toBeGreaterThan(290_000);
    expect(left).toBeLessThanOrEqual(300_001);
    await update("state = 'CLOSED'");
    expect(await eventually(() => heard[1])).toMatchObject({ state: "CLOSED", openUntil: null });
    expect(heard).toHaveLength(2);
  });

  it("is a change that Python makes, but not that it counted a failure", async () => {
    const storage = open();
    const { heard, version } = await subscribed(storage);
    for (const failures of [1, 2, 3]) await pythonWrites("CLOSED", failures, null);
    expect(await storage.load(name)).toMatchObject({ version, failureCount: 3 });
    await pythonWrites("OPEN", 4, "2999-01-01 00:00:00");
    await pythonWrites("OPEN", 4, "2999-01-01 00:00:00");
    await pythonWrites("HALF_OPEN", 0, null);
    await pythonWrites("CLOSED", 0, null);
    await eventually(() => heard.length === 3);
    expect(heard.map(({ state }) => state)).toEqual(["OPEN", "HALF_OPEN", "CLOSED"]);
    expect(heard.map((record) => record.version).toSorted()).toEqual(
      heard.map((record) => record.version),
    );
    expect(heard[0]).toMatchObject({ failureCount: 4 });
  });

  it("is a half-open circuit that Python left, whose lease anybody may take", async () => {
    const storage = open();
    await subscribed(storage);
    await pythonWrites("HALF_OPEN", 0, null);
    const { version } = await storage.load(name);
    const { changed } = await storage.change(name, { to: "HALF_OPEN", version, owner: "a" });
    expect(changed).toBe(true);
    // Python goes on writing what it wrote: the lease stays.
    await pythonWrites("HALF_OPEN", 1, null);
    expect(await storage.getState(name)).toMatchObject({ probeOwner: "a" });
  });

  it.each(["DELETE FROM rc_circuit_breakers", "TRUNCATE rc_circuit_breakers"])(
    "is a closed circuit after %s",
    async (statement) => {
      const storage = open();
      const { heard } = await subscribed(storage);
      await update("state = 'OPEN', open_until = now() + '5 min'");
      const { version } = await eventually(() => heard[0]);
      await database.query(statement);
      const again = await eventually(() => heard.find(({ state }) => state === "CLOSED"));
      expect(again.version).toBeGreaterThan(version);
    },
  );

  it("is not what happens in another namespace or another schema", async () => {
    const storage = open();
    const { heard } = await subscribed(storage);
    await database.query("CREATE SCHEMA IF NOT EXISTS another");
    const connectionString = `${database.url}?options=-c%20search_path%3Danother`;
    for (const other of [open({ namespace: "other" }), open({ connectionString })]) {
      const { version } = await other.load(name);
      const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
      expect(await other.change(name, change)).toMatchObject({ changed: true });
    }
    await update("state = 'HALF_OPEN'", name);
    await eventually(() => heard.length > 0);
    expect(heard.map(({ state }) => state)).not.toContain("OPEN");
  });

  it("is what happens in the schema that an application's pool sets as it connects", async () => {
    await database.query("CREATE SCHEMA IF NOT EXISTS hooked");
    const pools = [1, 2].map(() => {
      const pool = database.pool({ max: 2 });
      pool.on("connect", (client) => {
        client.query("SET search_path TO hooked").catch(() => {});
      });
      return pool;
    });
    const [near = open(), far = open()] = pools.map((pool) =>
      open({ pool, connectionString: undefined }),
    );
    const { heard } = await subscribed(far);
    const elsewhere = await subscribed(open());
    const { version } = await near.load(name);
    const opening = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
    expect(await near.change(name, opening)).toMatchObject({ changed: true });
    expect(await eventually(() => heard[0])).toMatchObject({ state: "OPEN" });
    await update("state = 'HALF_OPEN'");
    await eventually(() => elsewhere.heard[0]);
    expect(elsewhere.heard.map(({ state }) => state)).toEqual(["HALF_OPEN"]);
    expect(heard.map(({ state }) => state)).toEqual(["OPEN"]);
    await Promise.all([near.close(), far.close()]);
    await Promise.all(pools.map((pool) => pool.end()));
  });

  it("is read again at every notice, as long as the schema of the table is unknown", async () => {
    let rereads = 0;
    const listener = new PostgresListener(
      {
        connect: () => new Client({ connectionString: database.url }),
        namespace: "default",
        queryTimeoutMs: 5000,
      },
      {
        onChange: () => {},
        prepare: async () => {},
        schema: () => undefined,
        reread: async () => void rereads++,
        onTrouble: () => {},
        onHearing: () => {},
      },
    );
    listener.start();
    await eventually(() => rereads === 1);
    await database.query("SELECT pg_notify('bulkman_circuits', $1)", [
      JSON.stringify({ schema: "anywhere", namespace: "default", name, record: {} }),
    ]);
    await eventually(() => rereads === 2);
    listener.stop();
  });

  it("is what came before the schema was known, without reading again for it", async () => {
    const client = new Client({ connectionString: database.url });
    const heard: unknown[] = [];
    let schema: string | undefined;
    let rereads = 0;
    const listener = new PostgresListener(
      { connect: () => client, namespace: "default", queryTimeoutMs: 5000 },
      {
        onChange: (circuit) => heard.push(circuit),
        prepare: async () => {},
        schema: () => schema,
        reread: async () => {
          rereads++;
          for (const each of ["public", "another"]) {
            await database.query("SELECT pg_notify('bulkman_circuits', $1)", [
              JSON.stringify({ schema: each, namespace: "default", name: each, record: {} }),
            ]);
          }
          await eventually(() => notices === 2);
          schema = "public";
        },
        onTrouble: () => {},
        onHearing: () => {},
      },
    );
    let notices = 0;
    client.on("notification", () => notices++);
    listener.start();
    await eventually(() => heard.length > 0);
    expect(heard).toEqual(["public"]);
    expect(rereads).toBe(1);
    listener.stop();
  });

  it("is the circuit as it stands, when a notice cannot be understood", async () => {
    const { told } = await subscribed(open());
    const strange = [
      "",
      "garbage",
      "null",
      "[]",
      '{"schema":"public"}',
      JSON.stringify({ schema: "public", namespace: "default", name, record: {} }),
      JSON.stringify({ schema: "public", namespace: "default", name, record: { state: "AJAR" } }),
    ];
    for (const notice of strange) {
      told.length = 0;
      await database.query("SELECT pg_notify('bulkman_circuits', $1)", [notice]);
      expect(await eventually(() => told[0])).toMatchObject({ state: "CLOSED" });
    }
  });
});

describe("listening", () => {
  it("takes one connection for all circuits of a storage, as long as somebody wants to hear", async () => {
    const storage = open();
    const all = await Promise.all([subscribed(storage), subscribed(storage, `${name} too`)]);
    expect(await connections("LISTEN%")).toHaveLength(1);
    for (const { unsubscribe } of all) unsubscribe();
    await eventually(async () => (await connections("LISTEN%")).length === 0);
    const again = await subscribed(storage);
    await update("state = 'OPEN', open_until = now() + '5 min'");
    await eventually(() => again.heard[0]);
  });

  it("begins again when its connection is ended, and reads what it missed", async () => {
    const storage = open();
    // Nothing changes it: what it is told is what was read again.
    const quiet = circuit(storage, `${name} quiet`);
    const { heard, troubles } = await subscribed(storage);
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
      await update(`state = '${state}', open_until = now() + '5 min'`);
      await eventually(() => heard.at(-1)?.state === state);
      await eventually(() => quiet.told.length > 0);
      expect(troubles).toHaveLength(1);
    }
  });

  it("is told to be lost once for each interruption, and at once to who comes during it", async () => {
    await open().load(name);
    const role = `lone_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1`);
    await database.query(`GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${role}`);
    const proxy = await TcpProxy.to(database.server.port);
    const connectionString = database.urlFor({ port: proxy.port, user: role, password: "x" });
    const pool = database.pool({ connectionString, max: 1, idleTimeoutMillis: 0 });
    await pool.query("SELECT 1");
    const storage = open({ pool, connectionString: undefined });
    const all = [circuit(storage, name), circuit(storage, `${name} b`)];
    await eventually(() => proxy.accepted >= 5);
    const late = circuit(storage, `${name} c`);
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
        reread: async () => void rereads++,
        onTrouble: (error) => troubles.push(error),
        onHearing: () => {},
      },
    );
    listener.start();
    await eventually(() => rereads === 1);
    proxy.stalled = true;
    await eventually(() => troubles.length > 0);
    expect(String(troubles[0])).toContain("did not answer within 0.5 s");
    proxy.stalled = false;
    await eventually(() => rereads === 2);
    listener.stop();
    await eventually(() => proxy.connections === 0);
    await proxy.close();
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
  it("hears of changes without LISTEN, by one query for all circuits", async () => {
    const pool = database.pool({ max: 1, application_name: "bulkman" });
    const storage = open({ pool, pollSeconds: 0.02, connectionString: undefined });
    const names = [name, `${name} b`, `${name} c`];
    const all = await Promise.all(names.map((each) => subscribed(storage, each)));
    let queries = 0;
    pool.on("acquire", () => queries++);
    for (const { told } of all) told.length = 0;
    await eventually(() => all.every(({ told }) => told.length >= 5));
    expect(queries).toBeLessThanOrEqual(8);
    expect(await connections("LISTEN%")).toEqual([]);
    await update("state = 'OPEN', open_until = now() + '5 min'");
    await eventually(() => all[0]?.heard.some(({ state }) => state === "OPEN"));
    await storage.close();
    await pool.end();
  });

  it("is told to fail once for each interruption", async () => {
    const proxy = await TcpProxy.to(database.server.port);
    const storage = open({ connectionString: database.urlFor(proxy), pollSeconds: 0.02 });
    const { told, troubles } = circuit(storage, name);
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
