import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PostgresStorageOptions } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { join } from "./member.js";
import { subscribe, subscribed } from "./subscriber.js";

let database: TestDatabase;
const leaves: Array<() => Promise<void>> = [];
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(async () => {
  await Promise.all(leaves.splice(0).map((leave) => leave()));
  await database.drop();
});

async function member(options: PostgresStorageOptions = {}) {
  const connection = { connectionString: database.url, queryTimeoutSeconds: 5 };
  const joined = await join({ name: "api" }, { ...connection, ...options });
  leaves.push(joined.leave);
  return joined;
}

/** As a failover does. */
async function endConnections(): Promise<void> {
  await database.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bulkman' AND datname = $1",
    [database.name],
  );
}

/** To what a standby has that takes over without the last transactions. */
async function failOver(before: object): Promise<void> {
  await database.query(
    `BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM rc_circuit_breakers;
     INSERT INTO rc_circuit_breakers
     SELECT * FROM json_populate_record(NULL::rc_circuit_breakers, '${JSON.stringify(before)}'); COMMIT`,
  );
  await endConnections();
}

/** The circuit as the table has it. */
async function row() {
  const [found] = await database.query<{ [column: string]: unknown }>(
    "SELECT *, updated_at::text FROM rc_circuit_breakers",
  );
  return { ...found, state: found?.["state"], version: Number(found?.["version"]) };
}

describe("a database that lost everything", () => {
  it.each([
    "DELETE FROM rc_circuit_breakers",
    "DROP TABLE rc_circuit_breakers",
    "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
  ])(
    "is set up again, and the fleet goes on: %s",
    async (statement) => {
      const [a, b] = [await member(), await member()];
      await failCalls(a.bulkhead, 2);
      await eventually(() => b.status() === "OPEN");
      await database.query(statement);
      // A failover ends every connection.
      await endConnections();
      // Who opened the circuit opens it again.
      await eventually(async () => {
        const rows = await database
          .query<{ state: string }>("SELECT state FROM rc_circuit_breakers WHERE opened_by <> ''")
          .catch(() => []);
        return rows[0]?.state === "OPEN";
      });
      await eventually(() => a.status() === "OPEN" && b.status() === "OPEN");
      b.bulkhead.breaker?.close();
      await eventually(() => a.status() === "CLOSED");
      await failCalls(b.bulkhead, 2);
      await eventually(() => a.status() === "OPEN");
      for (const { troubles } of [a, b]) expect(troubles.length).toBeLessThanOrEqual(2);
    },
    30_000,
  );
});

describe.each([{}, { pollSeconds: 0.05 }])(
  "a database that lost the last changes, with %o",
  (options) => {
    it("gets an opening again, and everybody agrees", async () => {
      const all = [await member(options), await member(options)] as const;
      const before = await row();
      await failCalls(all[0].bulkhead, 2);
      await eventually(() => all[1].status() === "OPEN");
      await eventually(async () => (await row()).state === "OPEN");
      await failOver(before);
      await eventually(async () => (await row()).state === "OPEN");
      await eventually(() => all.every(({ status }) => status() === "OPEN"));
      expect((await member(options)).status()).toBe("OPEN");
      all[1].bulkhead.breaker?.close();
      await eventually(() => all[0].status() === "CLOSED");
    });

    it("gets the second opening of the same process again", async () => {
      const all = [await member(options), await member(options)] as const;
      const [{ bulkhead }] = all;
      await failCalls(bulkhead, 2);
      await eventually(async () => (await row()).state === "OPEN");
      bulkhead.breaker?.close();
      await eventually(async () => (await row()).state === "CLOSED");
      const before = await row();
      await failCalls(bulkhead, 2);
      await eventually(async () => (await row()).state === "OPEN");
      await eventually(() => all[1].status() === "OPEN");
      await failOver(before);
      await eventually(async () => (await row()).state === "OPEN");
      await eventually(() => all.every(({ status }) => status() === "OPEN"));
    });

    it("stays of use to others, when the row that went back is locked", async () => {
      const { storage } = await member(options);
      const { version } = await storage.load("witness");
      const witness = subscribe(storage, "witness", version);
      await database.edit("api", "state = 'OPEN', open_until = now() + '1 h'");
      const { troubles } = subscribe(storage, "api");
      await eventually(async () => (await storage.load("api")).state === "OPEN");
      const pool = database.pool({ max: 1 });
      const other = await pool.connect();
      // Locked at the moment that it is seen.
      await other.query(
        `SET session_replication_role = replica;
         BEGIN; UPDATE rc_circuit_breakers SET version = 1 WHERE resource_key = 'api'; COMMIT AND CHAIN;
         SELECT FROM rc_circuit_breakers WHERE resource_key = 'api' FOR UPDATE`,
      );
      // A poller sees it anyway; its query must not be cut off in the middle, which is emitted instead.
      if (!("pollSeconds" in options)) await endConnections();
      await eventually(() => troubles.some((error) => /lock|did not answer/.test(String(error))));
      await database.edit("witness", "state = 'OPEN', open_until = now() + '1 h'");
      await eventually(() => witness.heard.length > 0);
      await other.query("COMMIT");
      other.release();
      await pool.end();
    });

    it("is followed where it lost a closing", async () => {
      const all = [await member(options), await member(options)];
      await database.edit("api", "state = 'OPEN', open_until = now() + '1 h'");
      await eventually(() => all.every(({ status }) => status() === "OPEN"));
      const before = await row();
      await database.edit("api", "state = 'CLOSED'");
      await eventually(() => all.every(({ status }) => status() === "CLOSED"));
      await failOver(before);
      await eventually(() => all.every(({ status }) => status() === "OPEN"));
      expect((await row()).version).toBeGreaterThan(before.version);
    });
  },
);

it("is not taken for one that lost something, because of a notice that no change can have sent", async () => {
  const { heard, told, version } = await subscribed(database.storage(), "api");
  const forged = { state: "OPEN", version: Number.MAX_SAFE_INTEGER, readAt: 0 };
  await database.query("SELECT pg_notify('bulkman_circuits', $1)", [
    JSON.stringify({ schema: "public", namespace: "default", name: "api", record: forged }),
  ]);
  await eventually(() => heard.length > 0);
  told.length = 0;
  await endConnections();
  // What is read when it listens again.
  await eventually(() => told.length > 0);
  expect((await row()).version).toBe(version);
});
