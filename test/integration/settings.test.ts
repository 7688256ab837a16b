import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CircuitSettings } from "../../src/index.js";
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

const SETTINGS: CircuitSettings = {
  values: { maxConcurrentCalls: 5 },
  until: new Date("2999-01-01T12:00:00.500Z"),
  reason: "incident 7",
  by: "operator@host",
};

describe("settings that SQL writes", () => {
  it("reach a subscriber, complete, with a higher version", async () => {
    const { heard, version } = await subscribed(open(), name);
    await database.edit(name, `settings = '{"values": {"maxConcurrentCalls": 5}}'`);
    const record = await eventually(() => heard[0]);
    expect(record.version).toBeGreaterThan(version);
    expect(record).toMatchObject({
      state: "CLOSED",
      settings: {
        values: { maxConcurrentCalls: 5 },
        until: null,
        reason: null,
        // The session's user and application.
        by: `${database.server.user} in test`,
      },
    });
    await database.edit(name, "settings = NULL");
    expect(await eventually(() => heard[1])).toMatchObject({ settings: null });
  });

  it("end at the same moment in whatever zone it was written, or never", async () => {
    const storage = open();
    await storage.load(name);
    const until = async (text: string) => {
      await database.edit(name, `settings = '{"values": {}, "until": "${text}"}'`);
      return (await storage.getState(name))?.settings?.until;
    };
    expect(await until("2999-01-01 12:00:00.5+05:30")).toEqual(
      new Date("2999-01-01T06:30:00.500Z"),
    );
    expect(await until("infinity")).toBeNull();
    expect(await until("20000-01-01")).toBeNull();
  });

  it.each(["[]", "5", "null", '{"maxConcurrentCalls": 5}', '{"values": [5]}'])(
    "are rejected when they are malformed, such as %s",
    async (json) => {
      await open().load(name);
      const { version } = await open().load(name);
      await expect(database.edit(name, `settings = '${json}'`)).rejects.toThrow(
        /settings must be \{"values": \{...\}/,
      );
      await expect(
        database.edit(name, `settings = '{"values": {}, "until": "noon"}'`),
      ).rejects.toThrow(/noon/);
      expect(await open().load(name)).toMatchObject({ version, settings: null });
    },
  );

  it("do not keep a process from its circuit where the trigger that checks them was bypassed", async () => {
    const storage = open();
    await storage.load(name);
    const pool = database.pool({ max: 1 });
    await pool.query("SET session_replication_role = replica");
    for (const json of ["5", '{"values": {}, "until": 5, "reason": [], "by": {}}']) {
      await pool.query("UPDATE rc_circuit_breakers SET settings = $2 WHERE resource_key = $1", [
        name,
        json,
      ]);
      expect(await storage.getState(name)).toMatchObject({ state: "CLOSED" });
    }
    expect((await storage.load(name)).settings).toEqual({
      values: {},
      until: null,
      reason: null,
      by: null,
    });
    await pool.end();
  });

  it("may come with the row, and are completed then, too", async () => {
    await open().load("another");
    await database.query(
      `INSERT INTO rc_circuit_breakers (resource_key, state, settings)
       VALUES ('${name}', 'CLOSED', '{"values": {"maxQueueSize": 1}}')`,
    );
    expect((await open().load(name)).settings).toMatchObject({
      values: { maxQueueSize: 1 },
      by: `${database.server.user} in test`,
    });
  });

  it("leave a change of the state in the same statement as it is", async () => {
    const storage = open();
    const { version } = await storage.load(name);
    const opening = { to: "OPEN", openSeconds: 60, failureCount: 1, owner: "a" } as const;
    await storage.change(name, { ...opening, version });
    await database.edit(
      name,
      `state = 'OPEN', open_until = now() + interval '1 hour', settings = '{"values": {}}'`,
    );
    // Another program opened it: the row names no opening of bulkman any more.
    expect(await storage.load(name)).toMatchObject({ openedBy: null, settings: { values: {} } });
  });
});

describe("settings", () => {
  it("stay through what Python writes", async () => {
    const storage = open();
    const { version } = await storage.load(name);
    const { record } = await storage.configure(name, { version, settings: SETTINGS });
    const python = (state: string) =>
      database.query(
        `INSERT INTO rc_circuit_breakers (resource_key, namespace, state, failure_count, open_until)
         VALUES ($1, 'default', $2::text, 1, CASE $2::text WHEN 'OPEN' THEN now() END)
         ON CONFLICT (resource_key, namespace) DO UPDATE SET state = EXCLUDED.state,
           failure_count = EXCLUDED.failure_count, open_until = EXCLUDED.open_until,
           updated_at = CURRENT_TIMESTAMP`,
        [name, state],
      );
    await python("CLOSED");
    expect(await storage.load(name)).toMatchObject({ version: record.version, settings: SETTINGS });
    for (const state of ["OPEN", "HALF_OPEN", "CLOSED"]) {
      await python(state);
      expect(await storage.load(name)).toMatchObject({ state, settings: SETTINGS });
    }
  });

  it("that a notice cannot hold are read by the processes", async () => {
    const { heard, troubles } = await subscribed(open(), name);
    const storage = open();
    const { version } = await storage.load(name);
    const values = { text: "x".repeat(20_000) };
    const settings = { ...SETTINGS, values };
    const { changed } = await storage.configure(name, { version, settings });
    expect(changed).toBe(true);
    expect(await eventually(() => heard[0])).toMatchObject({ settings });
    expect(troubles).toEqual([]);
  });

  it("leave the circuit's time of its last change alone", async () => {
    const storage = open();
    const { version, updatedAt } = await storage.load(name);
    const { record } = await storage.configure(name, { version, settings: SETTINGS });
    expect(record.updatedAt).toEqual(updatedAt);
  });
});
