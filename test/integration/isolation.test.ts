import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CircuitChange } from "../../src/index.js";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";

let database: TestDatabase;
afterEach(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);

describe.each(["repeatable read", "serializable"])("a database that isolates by %s", (level) => {
  beforeEach(async () => {
    database = await createDatabase();
    await database.query(
      `ALTER DATABASE ${database.name} SET default_transaction_isolation = '${level}'`,
    );
  });

  it("is set up by any number of processes at once", async () => {
    const loaded = await Promise.all(Array.from({ length: 10 }, () => open().load("api")));
    expect(new Set(loaded.map(({ version }) => version)).size).toBe(1);
  });

  it("lets one of many that race win, in every round, and tells the others by whom", async () => {
    const racers = Array.from({ length: 6 }, () => open());
    let { version } = await open().load("race");
    for (let round = 0; round < 15; round++) {
      const kinds: Array<(owner: string) => CircuitChange> = [
        (owner) => ({ to: "OPEN", version, owner, openSeconds: 0, failureCount: 1 }),
        (owner) => ({ to: "HALF_OPEN", version, owner }),
        (owner) => ({ to: "CLOSED", version, owner, byHand: true }),
      ];
      const results = await Promise.all(
        racers.map((racer, n) => {
          const change = kinds[round % kinds.length]?.(`${n}`);
          return change === undefined ? undefined : racer.change("race", change);
        }),
      );
      expect(results.filter((result) => result?.changed)).toHaveLength(1);
      const versions = new Set(results.map((result) => result?.record.version));
      expect(versions.size).toBe(1);
      version = results[0]?.record.version ?? 0;
    }
  });

  it("is asked again on the same connection, when another's change came between", async () => {
    const pool = database.pool({ max: 1 });
    const ended: unknown[] = [];
    pool.on("remove", (client) => ended.push(client));
    const storage = open({ pool });
    const { version } = await storage.load("api");
    const others = database.pool({ max: 1 });
    const other = await others.connect();
    await other.query("BEGIN");
    await other.query(
      "UPDATE rc_circuit_breakers SET state = 'OPEN', open_until = now() + '1 h' WHERE resource_key = 'api'",
    );
    const change = { to: "OPEN", version, owner: "late", openSeconds: 1, failureCount: 1 } as const;
    const changing = storage.change("api", change);
    await eventually(async () => {
      const [row] = await database.query<{ waiting: boolean }>(
        "SELECT count(*) > 0 AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1",
        [database.name],
      );
      return row?.waiting;
    });
    await other.query("COMMIT");
    const { changed, record } = await changing;
    expect(changed).toBe(false);
    expect(record.state).toBe("OPEN");
    expect(Number(record.openUntil) - Number(record.readAt)).toBeGreaterThan(1_800_000);
    expect(ended).toEqual([]);
    other.release();
    await storage.close();
    await Promise.all([pool.end(), others.end()]);
  });

  it("is set up by several pg-setup at once", async () => {
    const pool = database.pool({ max: 6 });
    await Promise.all(Array.from({ length: 6 }, () => pool.query(SCHEMA_SQL)));
    await pool.end();
    expect(await open({ ensureSchema: false }).load("api")).toMatchObject({ state: "CLOSED" });
  });
});
