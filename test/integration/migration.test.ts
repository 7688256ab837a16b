import { readFileSync } from "node:fs";
import type { Pool } from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PostgresStorage } from "../../src/index.js";
import { SCHEMA_CHECK, SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { SCHEMA_VERSION, TRIGGERS } from "../../src/storage/postgres/triggers.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { PythonProcess, type PythonVersion } from "./python.js";
import { subscribe } from "./subscriber.js";

let database: TestDatabase;
let pool: Pool;
beforeEach(async () => {
  database = await createDatabase();
  pool = database.pool({ max: 4, options: "-c TimeZone=UTC" });
});
afterEach(async () => {
  await pool.end();
  await database.drop();
});

const file = (name: string) => readFileSync(new URL(`schemas/${name}`, import.meta.url), "utf8");

async function holds(check: string): Promise<boolean> {
  const [row] = await database.query<{ ok: boolean }>(`SELECT (${check}) AS ok`);
  return row?.ok ?? false;
}

/** The versions that the functions of the triggers carry. */
async function versions(): Promise<string[]> {
  const rows = await database.query<{ version: string }>(
    `SELECT DISTINCT coalesce(substring(p.prosrc FROM 'bulkman schema ([0-9]+)'), 'none') AS version
     FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE t.tgrelid = 'rc_circuit_breakers'::regclass AND t.tgname = ANY ($1)`,
    [TRIGGERS],
  );
  return rows.map(({ version }) => version);
}

/** It is complete, notifies of changes, and guards an isolation against a blind write. */
async function expectWorks(storage: PostgresStorage, name: string): Promise<void> {
  const { version } = await storage.load(name);
  expect(await holds(SCHEMA_CHECK)).toBe(true);
  const { told } = subscribe(storage, name);
  await eventually(() => told.length > 0);
  const change = { to: "OPEN", version, owner: "a", openSeconds: 60, failureCount: 1 } as const;
  expect(await database.storage().change(name, change)).toMatchObject({ changed: true });
  await eventually(() => told.some(({ state }) => state === "OPEN"));
  expect(await new PythonProcess(pool, "0.4.1").write(name, "CLOSED")).toBe(false);
}

const ROWS = `INSERT INTO rc_circuit_breakers (resource_key, state, failure_count, open_until) VALUES
  ('open', 'OPEN', 4, '2999-01-01 12:00:00+00'), ('closed', 'CLOSED', 2, NULL)`;

async function expectRows(storage: PostgresStorage): Promise<void> {
  const openUntil = new Date("2999-01-01T12:00:00Z");
  expect(await storage.getState("open")).toMatchObject({
    state: "OPEN",
    failureCount: 4,
    openUntil,
  });
  expect(await storage.getState("closed")).toMatchObject({ state: "CLOSED", failureCount: 2 });
}

describe("a table of an older version", () => {
  it.each([
    "first",
    "probe-successes",
    "opened-by",
    "reason",
    "written-blind",
    "openings",
    "failure-code",
  ])(
    "that had the columns up to %s is migrated by the first question, with its rows",
    async (name) => {
      await database.query(file(`${name}.sql`));
      await database.query(ROWS);
      expect(await holds(SCHEMA_CHECK)).toBe(false);
      const storage = database.storage();
      await expectRows(storage);
      await expectWorks(storage, "closed");
    },
  );

  it.each(["first", "reason", "written-blind", "openings", "failure-code"])(
    "that had the columns up to %s is migrated by pg-setup",
    async (name) => {
      await database.query(file(`${name}.sql`));
      await database.query(ROWS);
      await database.query(SCHEMA_SQL);
      const storage = database.storage({ ensureSchema: false });
      await expectRows(storage);
      await expectWorks(storage, "closed");
    },
  );

  it("that counted versions in milliseconds counts on in microseconds, also in new rows", async () => {
    await database.query(file("first.sql"));
    await database.query(ROWS);
    const storage = database.storage();
    const { version } = await storage.load("closed");
    const change = { to: "OPEN", version, owner: "a", openSeconds: 60, failureCount: 1 } as const;
    const { record } = await storage.change("closed", change);
    await database.query("DELETE FROM rc_circuit_breakers");
    expect((await storage.load("closed")).version).toBeGreaterThan(record.version);
  });

  it("is not taken for one of today because its columns and triggers have the same names", async () => {
    await database.query(SCHEMA_SQL);
    expect(await versions()).toEqual([String(SCHEMA_VERSION)]);
    // As a process of the older version does when a trigger is missing.
    await database.query(file("reason.sql"));
    expect(await versions()).toContain("none");
    expect(await holds(SCHEMA_CHECK)).toBe(false);
    await expectWorks(database.storage(), "api");
    expect(await versions()).toEqual([String(SCHEMA_VERSION)]);
  });
});

describe("a table of a newer version", () => {
  const NEWER = SCHEMA_SQL.replaceAll(/(?<=bulkman schema |installed > )[0-9]+/g, "99");
  const functions = () =>
    database.query(
      "SELECT oid, xmin::text FROM pg_proc WHERE starts_with(proname, 'rc_') ORDER BY oid",
    );

  it("is left alone", async () => {
    await database.query(NEWER);
    expect(await versions()).toEqual(["99"]);
    const before = await functions();
    await expectWorks(database.storage(), "api");
    expect(await functions()).toEqual(before);
  });

  it("is left alone by a process that knows no versions", async () => {
    await database.query(SCHEMA_SQL);
    expect(await holds(file("reason-check.sql"))).toBe(true);
  });

  it("is not brought back to an older one when something is missing, and says so", async () => {
    await database.query(NEWER);
    await database.query("DROP TRIGGER rc_circuit_breakers_after_change ON rc_circuit_breakers");
    const message = /a newer version of bulkman made it \(schema 99, this one makes [0-9]+\)/;
    await expect(database.storage().load("api")).rejects.toThrow(message);
    const setup = await pool.connect();
    await expect(setup.query(SCHEMA_SQL)).rejects.toThrow(message);
    setup.release(true);
    expect(await versions()).toEqual(["99"]);
    await database.query(NEWER);
    await expectWorks(database.storage(), "api");
  });
});

describe("a table that resilient-circuit made", () => {
  it.each(["0.3.1", "0.4.1", "0.4.6", "0.5", "0.7"] as const)(
    "in version %s is migrated with its rows, and Python goes on",
    async (version: PythonVersion) => {
      const python = new PythonProcess(pool, version);
      await python.start();
      await pool.query(ROWS);
      const storage = database.storage({
        connectionString: `${database.url}?options=-c%20TimeZone%3DUTC`,
      });
      await expectRows(storage);
      if (version === "0.3.1") {
        // Its upsert asks for a unique key of the name alone.
        await expect(python.write("closed", "OPEN", 60)).rejects.toMatchObject({ code: "42P10" });
      } else {
        await python.start();
        expect(await python.write("python", "OPEN", 60)).toBe(true);
        expect(await storage.getState("python")).toMatchObject({ state: "OPEN" });
      }
      await expectWorks(storage, "closed");
    },
  );
});
