import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PostgresStorage } from "../../src/index.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribe } from "./subscriber.js";

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

/** Writes what the triggers would not let pass, as a restore of old data does. */
async function writeUnseen(set: string, circuit: string): Promise<void> {
  await database.query(
    `BEGIN; SET LOCAL session_replication_role = replica;
     UPDATE rc_circuit_breakers SET ${set} WHERE resource_key = '${circuit}'; COMMIT`,
  );
}

/** A circuit beside an invalid one receives changes, and no error. */
async function expectHeard(
  storage: PostgresStorage,
  good: ReturnType<typeof subscribe>,
): Promise<void> {
  const { version } = await storage.load(name);
  const opening = { to: "OPEN", version, owner: "a", openSeconds: 60, failureCount: 1 } as const;
  expect(await storage.change(name, opening)).toMatchObject({ changed: true });
  await eventually(() => good.told.some(({ state }) => state === "OPEN"));
  expect(good.troubles).toEqual([]);
}

describe.each([
  { how: "listening", options: {} },
  { how: "polling", options: { pollSeconds: 0.02 } },
])("a circuit that cannot be loaded, when $how", ({ options }) => {
  it.each([
    ["has a NUL in its name", "a\u0000b", "the character NUL"],
    ["has half a surrogate pair in its name", "a\ud800b", "half a surrogate pair"],
    ["has a name that is too long", "n".repeat(300), "too long"],
  ])("troubles only its own subscribers: one that %s", async (_, bad, message) => {
    const storage = open(options);
    const [good, troubled] = [subscribe(storage, name), subscribe(storage, bad)];
    await expect(storage.load(bad)).rejects.toThrow(message);
    await eventually(() => troubled.troubles.length > 0);
    await eventually(() => good.told.length > 0);
    await expectHeard(open(), good);
    expect(String(troubled.troubles)).toContain(message);
    expect(troubled.troubles).toHaveLength(1);
  });

  it("troubles only its own subscribers: one that the database's encoding cannot hold", async () => {
    const latin = `${database.name}_latin`;
    await database.query(
      `CREATE DATABASE ${latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`,
    );
    const connectionString = database.url.replace(database.name, latin);
    const storage = open({ ...options, connectionString });
    const [good, troubled] = [subscribe(storage, name), subscribe(storage, "π")];
    await expect(storage.load("π")).rejects.toThrow("has no equivalent in encoding");
    expect(await storage.load("é")).toMatchObject({ state: "CLOSED" });
    await eventually(() => good.told.length > 0 && troubled.troubles.length > 0);
    await expectHeard(open({ connectionString }), good);
    expect(troubled.troubles).toHaveLength(1);
    await database.closeStorages();
    await database.query(`DROP DATABASE ${latin} WITH (FORCE)`);
  });

  it.each(["state = 'ajar'", "version = 9007199254740993"])(
    "troubles only its own subscribers, and until it is well: one with %s",
    async (damage) => {
      const bad = `${name} bad`;
      const other = open();
      await other.load(bad);
      await writeUnseen(damage, bad);
      const storage = open(options);
      const [good, troubled] = [subscribe(storage, name), subscribe(storage, bad)];
      await expect(storage.load(bad)).rejects.toThrow("malformed");
      await eventually(() => good.told.length > 0 && troubled.troubles.length > 0);
      await expectHeard(other, good);
      expect(troubled.troubles).toHaveLength(1);
      expect(troubled.told).toEqual([]);
      await database.query("DELETE FROM rc_circuit_breakers WHERE resource_key = $1", [bad]);
      await eventually(() => troubled.told.some(({ state }) => state === "CLOSED"));
    },
  );
});

describe("circuits that are loaded in one tick", () => {
  it("take one statement, and each gets its own record", async () => {
    const pool = database.pool({ max: 4 });
    const storage = open({ pool });
    await storage.load(name);
    let questions = 0;
    pool.on("acquire", () => questions++);
    const names = Array.from({ length: 500 }, (_, n) => `${name} ${n}`);
    const loaded = await Promise.all([...names, ...names].map((each) => storage.load(each)));
    expect(questions).toBe(1);
    await database.query(
      "UPDATE rc_circuit_breakers SET state = 'OPEN', failure_count = split_part(resource_key, ' ', 3)::int WHERE starts_with(resource_key, $1)",
      [`${name} `],
    );
    const again = await Promise.all(names.map((each) => storage.load(each)));
    expect(questions).toBe(2);
    again.forEach((record, n) => {
      expect(record).toMatchObject({ state: "OPEN", failureCount: n });
      expect(record.version).toBeGreaterThan(loaded[n]?.version ?? Number.POSITIVE_INFINITY);
    });
    await storage.close();
    await pool.end();
  });

  it("get each its own error, of those that cannot be loaded", async () => {
    const storage = open();
    const names = Array.from({ length: 50 }, (_, n) => `${name} ${n}`);
    const bad = ["n".repeat(256), "a\0b", "m".repeat(999)];
    const results = await Promise.allSettled([...names, ...bad].map((each) => storage.load(each)));
    expect(results.map(({ status }) => status)).toEqual([
      ...names.map(() => "fulfilled"),
      ...bad.map(() => "rejected"),
    ]);
    // Known from now on, they do not hold up the others.
    const again = await Promise.allSettled([...names, ...bad].map((each) => storage.load(each)));
    expect(again.map(({ status }) => status)).toEqual(results.map(({ status }) => status));
  });

  it("get all the error that concerns all", async () => {
    const storage = open();
    await storage.load(name);
    await storage.close();
    const results = await Promise.allSettled([storage.load(name), storage.load(`${name} b`)]);
    for (const result of results) {
      expect(result).toMatchObject({
        status: "rejected",
        reason: { name: "PostgresStorageError" },
      });
    }
  });
});
