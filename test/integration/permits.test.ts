import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startPostgres } from "../../scripts/postgres-server.mjs";
import type { PermitNotice } from "../../src/index.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { permitRequest, readPools } from "./permit-pool.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
  await database.storage().load("api");
});
afterEach(() => database.closeStorages());
afterAll(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);

/** Lets the leases of a name run out, as time would. */
const age = (name: string, seconds: number) =>
  database.query(
    "UPDATE bulkman_permits SET asked_at = asked_at - make_interval(secs => $2) WHERE name = $1",
    [name, seconds],
  );

describe("permits in Postgres", () => {
  it.each(["read committed", "repeatable read", "serializable"])(
    "never exceed the limit when several connections ask at once, in %s transactions",
    async (level) => {
      const options = `-c default_transaction_isolation=${level.replace(" ", "\\ ")}`;
      const pool = database.pool({ max: 6, options });
      const storages = Array.from({ length: 6 }, () => open({ pool }));
      for (let round = 0; round < 5; round++) {
        const name = `${level} ${round}`;
        const grants = await Promise.all(
          storages.map((each, n) => each.lease([permitRequest(`${n}`, 4, { name })])),
        );
        const permits = grants.map(([grant]) => grant?.permits ?? Number.NaN);
        // The first takes 4, the second too, the third 2.
        expect(permits.sort()).toEqual([0, 0, 0, 2, 4, 4]);
      }
      await Promise.all(storages.map((each) => each.close()));
      await pool.end();
    },
  );

  it("are decided for several names at once without a deadlock, and returned in the order asked", async () => {
    const storages = Array.from({ length: 4 }, () => open());
    const names = ["b", "a", "d", "c"].map((name) => `order ${name}`);
    for (let round = 0; round < 10; round++) {
      const grants = await Promise.all(
        storages.map((each, n) => {
          const order = n % 2 === 0 ? names : names.toReversed();
          return each.lease(
            order.map((name) => permitRequest(`${n}`, 1, { name, limit: name.charCodeAt(6) })),
          );
        }),
      );
      const limits = names.map((name) => name.charCodeAt(6));
      for (const [n, each] of grants.entries()) {
        const expected = n % 2 === 0 ? limits : limits.toReversed();
        expect(each.map(({ limit }) => limit)).toEqual(expected);
      }
    }
    const [stats] = await database.query<{ deadlocks: string }>(
      "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    );
    expect(stats?.deadlocks).toBe("0");
  });

  it("are asked for by one query, however many bulkheads ask in one turn of the event loop", async () => {
    const pool = database.pool({ max: 2 });
    const storage = open({ pool });
    await storage.load("one query");
    let queries = 0;
    pool.on("acquire", () => queries++);
    const asking: Array<Promise<unknown>> = [];
    for (let n = 0; n < 20; n++) {
      // Timers that are due together, and the jobs after each of them, are one turn.
      setTimeout(async () => {
        await Promise.resolve();
        asking.push(storage.lease([permitRequest("a", n + 1, { name: `turn ${n}`, limit: 99 })]));
      }, 1);
    }
    await eventually(() => asking.length === 20);
    const grants = await Promise.all(asking);
    expect(grants).toMatchObject(Array.from({ length: 20 }, (_, n) => [{ permits: n + 1 }]));
    expect(queries).toBeLessThan(5);
    await storage.close();
    await pool.end();
  });

  it("fail for a name that the database cannot store, and for that one alone", async () => {
    const storage = open();
    const asked = [
      permitRequest("a", 1, { name: "bad \0" }),
      permitRequest("a", 1, { name: "ok" }),
    ];
    const [bad, good] = await Promise.allSettled(asked.map((each) => storage.lease([each])));
    expect(bad).toMatchObject({ status: "rejected", reason: { name: "PostgresStorageError" } });
    expect(good).toMatchObject({ status: "fulfilled", value: [{ permits: 1 }] });
  });

  it("come back when the lease of a process that crashed is over, and not before", async () => {
    const [one, other] = [open(), open()];
    await one.lease([permitRequest("crashed", 10, { name: "crash" })]);
    await other.lease([permitRequest("b", 10, { name: "crash" })]);
    await one.close();
    await age("crash", 8);
    const ask = () => other.lease([permitRequest("b", 10, { name: "crash" })]);
    expect(await ask()).toMatchObject([{ permits: 0, processes: 2 }]);
    await age("crash", 7);
    expect(await ask()).toMatchObject([{ permits: 10, processes: 1 }]);
  });

  it("belong to one namespace", async () => {
    const [one, other] = [open({ namespace: "one" }), open({ namespace: "other" })];
    for (const each of [one, other]) {
      expect(await each.lease([permitRequest("a", 10)])).toMatchObject([{ permits: 10 }]);
    }
  });

  it("wait for a lock no longer than a query may take, here and on the server", async () => {
    const storage = open({ queryTimeoutSeconds: 0.3 });
    await open().lease([permitRequest("a", 1, { name: "stuck" })]);
    const pool = database.pool({ max: 1 });
    const other = await pool.connect();
    await other.query("BEGIN; SELECT FROM bulkman_permits WHERE name = 'stuck' FOR UPDATE");
    await expect(storage.lease([permitRequest("b", 1, { name: "stuck" })])).rejects.toThrow();
    await eventually(async () => {
      const [row] = await database.query<{ waiting: number }>(
        "SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted",
      );
      return row?.waiting === 0;
    });
    await other.query("COMMIT");
    other.release();
    await pool.end();
    const pools = await readPools(database, ["stuck"]);
    expect(pools.get("stuck")?.shares.map(({ owner }) => owner)).toEqual(["a"]);
  });

  it("are found in the schema of the table, whatever the search path has before it", async () => {
    await database.query(`CREATE SCHEMA "My ""Own"""; CREATE SCHEMA decoy;
      CREATE TABLE decoy.bulkman_permits (namespace text, name text, owner text)`);
    const pool = database.pool({ max: 1, options: '-c search_path="My\\ ""Own"""' });
    const storage = open({ pool });
    expect(await storage.lease([permitRequest("a", 3)])).toMatchObject([{ permits: 3 }]);
    const elsewhere = database.pool({
      max: 1,
      options: '-c search_path=decoy,"My\\ ""Own"""',
    });
    const second = open({ pool: elsewhere, ensureSchema: false });
    expect(await second.lease([permitRequest("b", 10)])).toMatchObject([{ permits: 7 }]);
    // The function names its schema, so a renamed one is set up again.
    await database.query(`ALTER SCHEMA "My ""Own""" RENAME TO renamed`);
    const renamed = database.pool({ max: 1, options: "-c search_path=renamed" });
    const third = open({ pool: renamed });
    expect(await third.lease([permitRequest("c", 10)])).toMatchObject([{ processes: 3 }]);
    for (const each of [storage, second, third]) await each.close();
    for (const each of [pool, elsewhere, renamed]) await each.end();
  });

  it("are set up again when table and function were dropped", async () => {
    const storage = open();
    await storage.lease([permitRequest("a", 3, { name: "dropped" })]);
    await database.query("DROP FUNCTION bulkman_lease");
    await storage.lease([permitRequest("a", 3, { name: "dropped" })]);
    await database.query("DROP TABLE bulkman_permits");
    const asked = permitRequest("b", 10, { name: "dropped" });
    expect(await storage.lease([asked])).toMatchObject([{ permits: 10, processes: 1 }]);
    expect((await storage.load("dropped")).state).toBe("CLOSED");
  });

  it("have errors that say what is missing, without the right to set it up", async () => {
    const role = `lessee_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x';
      GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${role};
      REVOKE EXECUTE ON FUNCTION bulkman_lease FROM PUBLIC`);
    const connectionString = database.urlFor({ user: role, password: "x" });
    const ask = () => open({ connectionString }).lease([permitRequest("a", 1, { name: "role" })]);
    const advice =
      "this user needs SELECT, INSERT, UPDATE and DELETE on the table bulkman_permits, and EXECUTE on the function bulkman_lease";
    const denied = { name: "PostgresStorageError", code: "42501" };
    await expect(ask()).rejects.toMatchObject({
      ...denied,
      message: `permission denied for function bulkman_lease: ${advice}`,
    });
    await database.query(`GRANT EXECUTE ON FUNCTION bulkman_lease TO ${role}`);
    await expect(ask()).rejects.toMatchObject({
      ...denied,
      message: `permission denied for table bulkman_permits: ${advice}`,
    });
    await database.query(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON bulkman_permits TO ${role};
      GRANT EXECUTE ON FUNCTION bulkman_lease TO PUBLIC`,
    );
    expect(await ask()).toMatchObject([{ permits: 1 }]);
    await database.closeStorages();
    await database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });

  it("are rejected by a server that is read-only, with the reason", async () => {
    const pool = database.pool({ max: 1, options: "-c default_transaction_read_only=on" });
    const storage = open({ pool });
    await expect(storage.lease([permitRequest("a", 1)])).rejects.toMatchObject({
      name: "PostgresStorageError",
      code: "25006",
    });
    await storage.close();
    await pool.end();
  });

  it("reject when the storage is closed", async () => {
    const storage = open();
    await storage.lease([permitRequest("a", 1)]);
    await storage.close();
    await expect(storage.lease([permitRequest("a", 1)])).rejects.toThrow("is closed");
    expect(() => storage.subscribeToPermits("api", () => {})).toThrow("is closed");
  });
});

describe("notices of permits", () => {
  async function subscribed(name: string, options?: Parameters<typeof open>[0]) {
    const storage = open(options);
    const heard: PermitNotice[] = [];
    const unsubscribe = storage.subscribeToPermits(name, (notice) => heard.push(notice));
    return { storage, heard, unsubscribe };
  }

  const listens = async () => {
    const rows = await database.query<{ query: string }>(
      "SELECT query FROM pg_stat_activity WHERE datname = $1 AND application_name = 'bulkman' AND query LIKE '%LISTEN%'",
      [database.name],
    );
    return rows.map(({ query }) => query);
  };

  it("reach every process that subscribed, on the connection that listens already", async () => {
    const name = "told";
    const one = await subscribed(name);
    const told: unknown[] = [];
    one.storage.subscribe(name, { onRecord: (record) => told.push(record), onError: () => {} });
    const late = open();
    late.subscribe(name, { onRecord: (record) => told.push(record), onError: () => {} });
    await late.load(name);
    await eventually(() => told.length >= 2);
    const heard: PermitNotice[] = [];
    await eventually(async () => (await listens()).length === 2);
    expect((await listens()).filter((query) => query.includes("bulkman_permits"))).toHaveLength(1);
    const unsubscribe = late.subscribeToPermits(name, (notice) => heard.push(notice));
    await eventually(async () => {
      const queries = await listens();
      return queries.length === 2 && queries.every((query) => query.includes("bulkman_permits"));
    });
    await late.lease([permitRequest("a", 10, { name })]);
    await late.lease([permitRequest("b", 10, { name })]);
    const notice = { fair: 5, lastTurn: 0, gives: false };
    await eventually(() => one.heard.length > 0 && heard.length > 0);
    expect([one.heard, heard]).toEqual([[notice], [notice]]);
    unsubscribe();
    unsubscribe();
    await eventually(async () => (await listens()).includes("UNLISTEN bulkman_permits"));
  });

  it("arrive again after the listening connection was lost", async () => {
    const { storage, heard } = await subscribed("lost");
    await storage.lease([permitRequest("a", 10, { name: "lost" })]);
    for (const owner of ["b", "c"]) {
      await eventually(async () => (await listens()).some((query) => query.includes("permits")));
      heard.length = 0;
      await eventually(async () => {
        await storage.lease([permitRequest(owner, 10, { name: "lost" })]);
        return heard.length > 0;
      });
      await database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%LISTEN bulkman_permits'",
        [database.name],
      );
    }
  });

  it("are ignored when they are malformed, or of another schema, namespace or name", async () => {
    const { storage, heard } = await subscribed("forged");
    await storage.load("forged");
    await eventually(async () => (await listens()).some((query) => query.includes("permits")));
    const good = { schema: "public", namespace: "default", name: "forged", fair: 3, lastTurn: -7 };
    const payloads = [
      "",
      "null",
      "[",
      '"forged"',
      ...[
        { ...good },
        { ...good, gives: 1 },
        { ...good, gives: true, fair: -1 },
        { ...good, gives: true, fair: 1.5 },
        { ...good, gives: true, fair: "3" },
        { ...good, gives: true, lastTurn: null },
        { ...good, gives: true, schema: "other" },
        { ...good, gives: true, namespace: "other" },
        { ...good, gives: true, name: "__proto__" },
        { ...good, gives: true, name: ["forged"] },
        { ...good, gives: true },
      ].map((each) => JSON.stringify(each)),
    ];
    for (const payload of payloads) {
      await database.query("SELECT pg_notify('bulkman_permits', $1)", [payload]);
    }
    await eventually(() => heard.length > 0);
    expect(heard).toEqual([{ fair: 3, lastTurn: -7, gives: true }]);
  });

  it("are missing with polling, and permits are leased all the same", async () => {
    const { storage, heard } = await subscribed("polled", { pollSeconds: 0.05 });
    await storage.lease([permitRequest("a", 10, { name: "polled" })]);
    const [grant] = await storage.lease([permitRequest("b", 10, { name: "polled" })]);
    expect(grant).toMatchObject({ permits: 0, fair: 5 });
    expect(heard).toEqual([]);
  });
});

it("counts the leases that ran out while the database was stopped for one more lease", async () => {
  const server = await startPostgres();
  const own = await createDatabase(server);
  try {
    const [one, other] = [own.storage(), own.storage()];
    const times = { leaseSeconds: 1, renewSeconds: 0.1 };
    await one.lease([permitRequest("a", 8, times)]);
    await server.stop();
    await expect(other.lease([permitRequest("b", 10, times)])).rejects.toThrow();
    await server.start();
    // The lease has run out by now: longer than it lasts.
    await eventually(async () => {
      const [row] = await own.query<{ is_over: boolean }>(
        "SELECT asked_at + lease < clock_timestamp() AS is_over FROM bulkman_permits WHERE owner = 'a'",
      );
      return row?.is_over;
    });
    const ask = () => other.lease([permitRequest("b", 10, times)]);
    const [first] = await eventually(() => ask().catch(() => undefined));
    expect(first).toMatchObject({ permits: 2, processes: 2 });
    const last = await eventually(async () => {
      const [grant] = await ask();
      return grant?.processes === 1 ? grant : undefined;
    });
    expect(last.permits).toBe(10);
  } finally {
    await own.closeStorages();
    await server.remove();
  }
});
