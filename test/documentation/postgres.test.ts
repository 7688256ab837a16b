import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPostgresOptions } from "../../src/storage/postgres/options.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";
import { codeIn, tableBelow } from "./tables.js";

const GUIDE = readFileSync("docs/operations/postgres.md", "utf8");
const REFERENCE = readFileSync("docs/reference/postgres-storage.md", "utf8");
const statements = Array.from(GUIDE.matchAll(/^```sql\n([\s\S]*?)^```/gm), ([, sql = ""]) => sql);

describe("the pages about Postgres", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  it("has SQL for operators that does what it says, in this order", async () => {
    const storage = database.storage({ namespace: "my_app" });
    await storage.load("payments");
    const [grant = "", list = "", isolate = "", close = "", prune = "", holders = "", ...others] =
      statements;
    expect(others).toEqual([]);
    const role = `my_service_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    try {
      await database.query(grant.replaceAll("my_service", role));
      const restricted = database.storage({
        connectionString: database.urlFor({ user: role, password: "x" }),
        namespace: "my_app",
      });
      await database.query(isolate);
      const isolated = { state: "OPEN", reason: "moving house" };
      expect(await restricted.getState("payments")).toMatchObject(isolated);
      const { version = 0 } = (await restricted.getState("payments")) ?? {};
      const common = { to: "OPEN", version, owner: "me", byHand: true } as const;
      const change = { ...common, openSeconds: 60, failureCount: 0 };
      expect(await restricted.change("payments", change)).toMatchObject({ changed: true });
      expect(await database.query("SELECT FROM bulkman_history")).toHaveLength(1);
      await restricted.close();
    } finally {
      await database.query(`DROP OWNED BY ${role}`);
      await database.query(`DROP ROLE ${role}`);
    }
    expect(await database.query(list)).toMatchObject([{ resource_key: "payments" }]);
    await database.query(close);
    expect(await storage.getState("payments")).toMatchObject({ state: "CLOSED" });
    expect(await database.query(list)).toEqual([]);
    await database.query("UPDATE rc_circuit_breakers SET updated_at = now() - interval '31 days'");
    await database.query(prune);
    expect(await storage.getState("payments")).toBeNull();
    const times = { leaseSeconds: 15, renewSeconds: 5 };
    const asked = { name: "payments", sequence: 1, limit: 10, keep: 0, ...times };
    await storage.lease([
      { ...asked, owner: "one", want: 3 },
      { ...asked, owner: "other", want: 4 },
    ]);
    expect(await database.query(holders)).toMatchObject([
      { name: "payments", owner: "other", permits: "4", permit_limit: "10" },
      { name: "payments", owner: "one", permits: "3", permit_limit: "10" },
    ]);
    await storage.close();
  });

  it("has the options and their defaults", () => {
    const { source: _, ...defaults } = readPostgresOptions({});
    const rows = tableBelow(REFERENCE, "## Options");
    const shown = rows.flatMap(([option = "", value = ""]) => {
      const text = codeIn(value)[0] ?? value;
      const byDefault =
        text === "os.hostname()" ? hostname() : JSON.parse(text === "–" ? "null" : text);
      return text === "–" ? [] : [[codeIn(option)[0], byDefault]];
    });
    expect(Object.fromEntries(shown)).toEqual(defaults);
    expect(rows.map(([option = ""]) => codeIn(option)[0])).toEqual([
      ...["pool", "connectionString"],
      ...Object.keys(defaults),
    ]);
  });
});
