import type { Pool } from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PostgresStorage } from "../../src/index.js";
import { CREATION_SQL, SCHEMA_CHECK } from "../../src/storage/postgres/schema.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { PythonProcess, type PythonVersion } from "./python.js";
import { subscribe } from "./subscriber.js";

let database: TestDatabase;
let pool: Pool;
beforeEach(async () => {
  database = await createDatabase();
  pool = database.pool({ max: 8 });
});
afterEach(async () => {
  await pool.end();
  await database.drop();
});

const VERSIONS: readonly PythonVersion[] = ["0.4.1", "0.4.6", "0.5", "0.7"];

/** A process of Node that starts: what it receives, and its first query. */
function startNode(storage: PostgresStorage = database.storage()) {
  const subscription = subscribe(storage, "api");
  return { ...subscription, storage, loaded: storage.load("api") };
}

async function isInPlace(): Promise<boolean> {
  const [row] = await database.query<{ ok: boolean }>(`SELECT (${SCHEMA_CHECK}) AS ok`);
  return row?.ok ?? false;
}

async function isWaiting(): Promise<boolean> {
  const [row] = await database.query<{ waiting: boolean }>(
    `SELECT count(*) > 0 AS waiting FROM pg_stat_activity
     WHERE wait_event_type = 'Lock' AND application_name = 'bulkman' AND datname = current_database()`,
  );
  return row?.waiting ?? false;
}

/** Both work, neither has had an error, and Node receives what Python writes. */
async function expectWell(node: ReturnType<typeof startNode>, python: PythonProcess) {
  expect(await node.loaded).toMatchObject({ state: "CLOSED" });
  expect(await isInPlace()).toBe(true);
  await eventually(() => node.told.length > 0);
  expect(await python.write("api", "OPEN", 60)).toBe(true);
  await eventually(() => node.told.some(({ state }) => state === "OPEN"));
  expect(node.troubles).toEqual([]);
}

describe.each(VERSIONS)("an empty database where resilient-circuit %s starts", (version) => {
  it.each([0, 1, 3, 5])("and Node after %i of its statements is set up for both", async (after) => {
    const python = new PythonProcess(pool, version);
    let node: ReturnType<typeof startNode> | undefined;
    let isLoaded = false;
    const begin = async () => {
      node = startNode();
      node.loaded.then(() => {
        isLoaded = true;
      });
      await eventually(async () => isLoaded || (await isWaiting()));
    };
    await python.start(async (count) => {
      if (count === after) await begin();
    });
    if (node === undefined) await begin();
    await expectWell(node ?? startNode(), python);
  });

  it("in the middle of the start of Node is set up for both", async () => {
    const python = new PythonProcess(pool, version);
    const nodes = Array.from({ length: 4 }, () => startNode());
    const [first = startNode()] = nodes;
    // From here on it could see a table that is not complete.
    await eventually(async () => {
      const [row] = await database.query(
        "SELECT to_regclass('rc_circuit_breakers') IS NOT NULL AS ok",
      );
      return row?.["ok"];
    });
    await python.start();
    for (const node of nodes) {
      expect(await node.loaded).toMatchObject({ state: "CLOSED" });
      expect(node.troubles).toEqual([]);
    }
    await expectWell(first, python);
  });
});

describe("an empty database", () => {
  it("is set up by any number of processes of both languages at once", async () => {
    const pythons = Array.from({ length: 4 }, () => new PythonProcess(pool, "0.7"));
    const nodes = Array.from({ length: 4 }, () => startNode());
    await Promise.all(pythons.map((python) => python.start()));
    for (const node of nodes) {
      expect(await node.loaded).toMatchObject({ state: "CLOSED" });
      expect(node.troubles).toEqual([]);
    }
    expect(await isInPlace()).toBe(true);
  });

  it("gets its table from Python, when that waits for Node to create it", async () => {
    const [create = "", finish = ""] = CREATION_SQL.split(/(?=^DO )/m);
    const node = await pool.connect();
    await node.query(create);
    const python = new PythonProcess(pool, "0.4.1");
    const starting = python.start();
    const waiting =
      "SELECT count(*) > 0 AS ok FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted";
    await eventually(async () => (await database.query(waiting))[0]?.["ok"]);
    await expect(node.query(finish)).rejects.toMatchObject({ code: "40001" });
    await node.query("ROLLBACK");
    node.release();
    await starting;
    await expectWell(startNode(), python);
  });
});

describe("a table that is set up", () => {
  it.each(VERSIONS)("stays so when resilient-circuit %s starts beside Node", async (version) => {
    const node = startNode();
    await node.loaded;
    const python = new PythonProcess(pool, version);
    for (let starts = 0; starts < 3; starts++) {
      const starting = python.start();
      for (let loads = 0; loads < 5; loads++) await node.storage.load(`api ${loads}`);
      await starting;
    }
    await expectWell(node, python);
  });
});
