import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { PostgresListener } from "../../src/storage/postgres/listener.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribed } from "./subscriber.js";

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

describe("what a subscriber receives", () => {
  it("is a manual change in SQL, with the time that is left by the database's clock", async () => {
    const { heard, version } = await subscribed(open(), name);
    await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
    const opened = await eventually(() => heard[0]);
    expect(opened).toMatchObject({ state: "OPEN", probeOwner: null });
    expect(opened.version).toBeGreaterThan(version);
    const left = Number(opened.openUntil) - Number(opened.readAt);
    expect(left).toBeGreaterThan(290_000);
    expect(left).toBeLessThanOrEqual(300_001);
    await database.edit(name, "state = 'CLOSED'");
    expect(await eventually(() => heard[1])).toMatchObject({ state: "CLOSED", openUntil: null });
    expect(heard).toHaveLength(2);
  });

  it("is a change that Python makes, but not that it counted a failure", async () => {
    const storage = open();
    const { heard, version } = await subscribed(storage, name);
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

  it("is a half-open circuit that Python left, whose lease is free", async () => {
    const storage = open();
    await subscribed(storage, name);
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
      const { heard } = await subscribed(storage, name);
      await database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
      const { version } = await eventually(() => heard[0]);
      await database.query(statement);
      const again = await eventually(() => heard.find(({ state }) => state === "CLOSED"));
      expect(again.version).toBeGreaterThan(version);
    },
  );

  it("is not what happens in another namespace or another schema", async () => {
    const storage = open();
    const { heard } = await subscribed(storage, name);
    await database.query("CREATE SCHEMA IF NOT EXISTS another");
    const connectionString = `${database.url}?options=-c%20search_path%3Danother`;
    for (const other of [open({ namespace: "other" }), open({ connectionString })]) {
      const { version } = await other.load(name);
      const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
      expect(await other.change(name, change)).toMatchObject({ changed: true });
    }
    await database.edit(name, "state = 'HALF_OPEN'");
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
    const [near = open(), far = open()] = pools.map((pool) => open({ pool }));
    const { heard } = await subscribed(far, name);
    const elsewhere = await subscribed(open(), name);
    const { version } = await near.load(name);
    const opening = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
    expect(await near.change(name, opening)).toMatchObject({ changed: true });
    expect(await eventually(() => heard[0])).toMatchObject({ state: "OPEN" });
    await database.edit(name, "state = 'HALF_OPEN'");
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
        reread: async () => ++rereads > 0,
        onInterrupted: () => {},
        onSynced: () => {},
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
          return true;
        },
        onInterrupted: () => {},
        onSynced: () => {},
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
    const { told } = await subscribed(open(), name);
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
