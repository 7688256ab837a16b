import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, type CircuitChange } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribe } from "./subscriber.js";
import { TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
  await open().load("api");
});
afterEach(() => database.closeStorages());
afterAll(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);

function opening(version: number, owner: string, openSeconds = 60): CircuitChange {
  return { to: "OPEN", version, owner, openSeconds, failureCount: 1 };
}

describe("a change", () => {
  it("is won by one of many that race, in every round, and the others are told by whom", async () => {
    const racers = Array.from({ length: 6 }, () => open());
    const [first = open()] = racers;
    let { version } = await first.load("race");
    for (let round = 0; round < 60; round++) {
      const kinds: Array<(owner: string) => CircuitChange> = [
        (owner) => opening(version, owner, 0),
        (owner) => ({ to: "HALF_OPEN", version, owner }),
        (owner) => ({ to: "CLOSED", version, owner, byHand: true }),
      ];
      const kind = kinds[round % kinds.length] ?? (() => opening(version, ""));
      const results = await Promise.all(
        racers.flatMap((racer, n) => [
          racer.change("race", kind(`${n} a`)),
          racer.change("race", kind(`${n} b`)),
        ]),
      );
      const winners = results.filter(({ changed }) => changed);
      expect(winners).toHaveLength(1);
      const record = { ...winners[0]?.record, readAt: null };
      for (const result of results) expect({ ...result.record, readAt: null }).toEqual(record);
      expect(record.version).toBeGreaterThan(version);
      version = record.version ?? 0;
    }
  });

  it("is made in a table that has columns of another program", async () => {
    await database.query(
      "ALTER TABLE rc_circuit_breakers ADD COLUMN time timestamptz, ADD COLUMN is_free boolean",
    );
    const storage = open();
    const { version } = await storage.load("wide");
    expect(await storage.change("wide", opening(version, "a"))).toMatchObject({ changed: true });
    await database.query("ALTER TABLE rc_circuit_breakers DROP COLUMN time, DROP COLUMN is_free");
  });

  it("waits for another's lock, and judges what that one left", async () => {
    const storage = open();
    const { version } = await storage.load("locked");
    const pool = database.pool({ max: 1 });
    const other = await pool.connect();
    await other.query("BEGIN");
    await other.query(
      "UPDATE rc_circuit_breakers SET state = 'OPEN', open_until = now() + '1 h' WHERE resource_key = 'locked'",
    );
    const changing = storage.change("locked", opening(version, "late"));
    await eventually(async () => {
      const [row] = await database.query<{ waiting: boolean }>(
        "SELECT count(*) > 0 AS waiting FROM pg_locks WHERE NOT granted",
      );
      return row?.waiting;
    });
    await other.query("COMMIT");
    const { changed, record } = await changing;
    expect(changed).toBe(false);
    expect(record.state).toBe("OPEN");
    expect(Number(record.openUntil) - Date.now()).toBeGreaterThan(1_800_000);
    other.release();
    await pool.end();
  });

  it("gives up behind a lock that stays, here and on the server, and is not made later", async () => {
    const patient = open();
    const { version } = await patient.load("stuck");
    const storage = open({ queryTimeoutSeconds: 0.3 });
    await storage.load("stuck");
    const pool = database.pool({ max: 1 });
    const other = await pool.connect();
    await other.query(
      "BEGIN; SELECT FROM rc_circuit_breakers WHERE resource_key = 'stuck' FOR UPDATE",
    );
    await expect(storage.change("stuck", opening(version, "late"))).rejects.toThrow();
    await eventually(async () => {
      const [row] = await database.query<{ waiting: number }>(
        "SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted",
      );
      return row?.waiting === 0;
    });
    await other.query("COMMIT");
    other.release();
    await pool.end();
    expect(await patient.getState("stuck")).toMatchObject({ state: "CLOSED", version });
  });
});

describe("a pool of the application's", () => {
  it("is used, and neither changed nor closed", async () => {
    const pool = database.pool({ max: 3, application_name: "app" });
    const storage = open({ pool });
    const heard: string[] = [];
    storage.subscribe("pooled", { onRecord: ({ state }) => heard.push(state), onError: () => {} });
    const { version } = await storage.load("pooled");
    await storage.change("pooled", opening(version, "a"));
    await eventually(() => heard.includes("OPEN"));
    await storage.close();
    await eventually(() => pool.idleCount === pool.totalCount);
    const settings = await pool.query("SHOW lock_timeout");
    expect(settings.rows).toEqual([{ lock_timeout: "0" }]);
    expect((await pool.query("SELECT pg_listening_channels()")).rows).toEqual([]);
    const client = await pool.connect();
    expect(client.listenerCount("error")).toBe(0);
    client.release();
    // Nothing of the storage is in the way of its owner.
    await pool.end();
  });

  it("may have its own way to read values", async () => {
    const pool = database.pool({
      max: 1,
      options: "-c DateStyle=German -c TimeZone=Asia/Kolkata -c extra_float_digits=0",
      types: { getTypeParser: () => () => "mine" },
    });
    const storage = open({ pool });
    const { version } = await storage.load("types");
    const { record } = await storage.change("types", opening(version, "a", 60));
    expect(Number(record.openUntil) - Number(record.readAt)).toBeGreaterThan(59_000);
    expect(Math.abs(Number(record.readAt) - Date.now())).toBeLessThan(5000);
    await pool.end();
  });

  it("is not waited for longer than the limit, and gets back what comes late", async () => {
    const pool = database.pool({ max: 1 });
    const storage = open({ pool, queryTimeoutSeconds: 0.2 });
    const client = await pool.connect();
    await expect(storage.load("busy")).rejects.toThrow("did not answer within 0.2 s");
    client.release();
    // Given back, or ended when its time was over in the middle of a question: held no more.
    await eventually(() => pool.waitingCount === 0 && pool.idleCount === pool.totalCount);
    // A limit of 0.2 s can be too short for a busy machine, once or twice.
    await eventually(
      async () => (await storage.load("busy").catch(() => null))?.state === "CLOSED",
    );
    await pool.end();
  });
});

describe("a pool of the application's without a time limit", () => {
  let proxy: TcpProxy;
  beforeEach(async () => {
    proxy = await TcpProxy.to(database.server.port);
  });
  afterEach(() => proxy.close());

  it("has one wait of the storage in it, however often and by how many it is asked", async () => {
    const pool = database.pool({ connectionString: database.urlFor(proxy), max: 10 });
    proxy.stalled = true;
    const storage = open({ pool, queryTimeoutSeconds: 0.1 });
    for (let round = 0; round < 5; round++) {
      const asked = ["a", "b", "c"].map((name) => storage.getState(name));
      for (const each of await Promise.allSettled(asked)) {
        expect(each).toMatchObject({ status: "rejected", reason: { code: "ETIMEDOUT" } });
      }
      expect([pool.totalCount, pool.waitingCount, proxy.accepted]).toEqual([1, 0, 1]);
    }
    proxy.stalled = false;
    proxy.cut();
    const patient = open({ pool });
    expect(await patient.getState("api")).toMatchObject({ state: "CLOSED" });
    // The wait that no other query took over is over, too.
    await eventually(() => pool.idleCount === pool.totalCount);
    await Promise.all([storage.close(), patient.close()]);
    await pool.end();
  });

  it("gives the wait of a question that gave up to the next one", async () => {
    const pool = database.pool({ max: 1 });
    const held = await pool.connect();
    const storage = open({ pool, queryTimeoutSeconds: 0.1 });
    await expect(storage.getState("api")).rejects.toThrow("did not answer");
    await expect(storage.getState("api")).rejects.toThrow("did not answer");
    expect(pool.waitingCount).toBe(1);
    held.release();
    await eventually(() => storage.getState("api").catch(() => null));
    await eventually(() => pool.waitingCount === 0 && pool.idleCount === 1);
    await storage.close();
    await pool.end();
  });

  it("is done without the connection that hangs in it, when the database is reached again", async () => {
    const pool = database.pool({ connectionString: database.urlFor(proxy), max: 3 });
    proxy.stalled = true;
    const storage = open({ pool, queryTimeoutSeconds: 0.3 });
    const heard: string[] = [];
    storage.subscribe("api", { onRecord: ({ state }) => heard.push(state), onError: () => {} });
    await expect(storage.load("api")).rejects.toThrow("did not answer");
    await expect(storage.load("api")).rejects.toThrow("did not answer");
    expect(pool.totalCount).toBe(1);
    // What was said meanwhile is lost: the connection in the pool hangs for ever.
    proxy.stalled = false;
    await eventually(() => heard.length > 0);
    await eventually(() => storage.load("api").catch(() => null));
    expect([pool.totalCount, pool.waitingCount]).toEqual([2, 0]);
    await storage.close();
    proxy.cut();
    await eventually(() => pool.idleCount === pool.totalCount);
    await pool.end();
  });

  it("is used for what lies idle in it, also when a new connection hangs", async () => {
    const pool = database.pool({ connectionString: database.urlFor(proxy), max: 2 });
    const held = await pool.connect();
    proxy.stalled = true;
    const storage = open({ pool, queryTimeoutSeconds: 0.3 });
    await expect(storage.getState("api")).rejects.toThrow("did not answer");
    proxy.stalled = false;
    held.release();
    await eventually(() => storage.getState("api").catch(() => null));
    expect([pool.totalCount, proxy.accepted]).toEqual([2, 2]);
    await storage.close();
    proxy.cut();
    await eventually(() => pool.idleCount === pool.totalCount);
    await pool.end();
  });
});

describe("what a bulkhead asks of the database", () => {
  it("is nothing while its circuit is closed", async () => {
    const pool = database.pool({ max: 2 });
    let queries = 0;
    pool.on("acquire", () => queries++);
    const storage = open({ pool, heartbeatSeconds: null });
    const { told } = subscribe(storage, "closed");
    const bulkhead = new Bulkhead({ name: "closed" }, { circuitStorage: storage });
    await bulkhead.ready();
    // What the storage reads when it has begun to listen.
    await eventually(() => told.length > 0);
    // It looked for the table, loaded the circuit, tested its listening connection, and read again.
    expect(queries).toBeLessThanOrEqual(5);
    const before = queries;
    for (let n = 0; n < 2500; n++) {
      await passCalls(bulkhead, 3);
      await failCalls(bulkhead, 1);
    }
    expect(queries).toBe(before);
    await bulkhead.shutdown();
    await storage.close();
    await pool.end();
  }, 60_000);
});
