import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CommandLine } from "../cli/command.js";
import type { TestDatabase } from "../integration/database.js";
import { PythonProcess, type PythonVersion } from "../integration/python.js";

const GUIDE = readFileSync("docs/internals/python-interop.md", "utf8");
const [GRANTS = ""] = Array.from(
  GUIDE.matchAll(/^```sql\n([\s\S]*?)^```/gm),
  ([, sql = ""]) => sql,
);

describe("the page about Python", () => {
  let commandLine: CommandLine;
  let database: TestDatabase;
  beforeEach(async () => {
    commandLine = await CommandLine.create();
    database = commandLine.database;
  }, 60_000);
  afterEach(() => commandLine.close());

  it("has SQL by which the users of both languages may use and migrate one table", async () => {
    const roles = ["circuits", "node_service", "python_service"];
    const named = (text: string) =>
      roles.reduce((sql, role) => sql.replaceAll(role, `${role}_${database.name}`), text);
    const user = (role: string) => ({ user: named(role), password: "x" });
    for (const role of roles.slice(1)) {
      await database.query(`CREATE ROLE ${named(role)} LOGIN PASSWORD 'x'`);
    }
    const pool = database.pool({ connectionString: database.urlFor(user("python_service")) });
    try {
      const versions: PythonVersion[] = ["0.4.1", "0.4.6", "0.5", "0.7"];
      for (const version of versions) {
        await expect(new PythonProcess(pool, version).start()).rejects.toMatchObject({
          code: "42501",
        });
      }
      await database.query(named(GRANTS));
      for (const version of versions) {
        const python = new PythonProcess(pool, version);
        await python.start();
        expect(await python.write(version, "CLOSED")).toBe(true);
      }
      // An older schema is brought up to date by whoever starts first.
      await database.query("DROP TRIGGER rc_circuit_breakers_after_change ON rc_circuit_breakers");
      const storage = database.storage({ connectionString: database.urlFor(user("node_service")) });
      expect(await storage.load("api")).toMatchObject({ state: "CLOSED" });
      await storage.close();
    } finally {
      await pool.end();
      const made = await database.query<{ role: string }>(
        "SELECT rolname AS role FROM pg_roles WHERE rolname LIKE '%' || current_database()",
      );
      for (const { role } of made) await database.query(`DROP OWNED BY ${role} CASCADE`);
      for (const { role } of made) await database.query(`DROP ROLE ${role}`);
    }
  });

  it("has a way to say in which zone Python wrote the times of a table", async () => {
    const [, zone = ""] = /^PGOPTIONS="(.*)" npx bulkman pg-setup$/m.exec(GUIDE) ?? [];
    const summer = "2999-07-01 12:00:00";
    await database.query("DROP TABLE rc_circuit_breakers");
    const pool = database.pool();
    await new PythonProcess(pool, "0.4.1").start();
    await pool.query(
      `INSERT INTO rc_circuit_breakers (resource_key, state, open_until) VALUES ('api', 'OPEN', '${summer}')`,
    );
    await pool.end();
    const setup = await commandLine.run(["pg-setup", "--yes"], { PGOPTIONS: zone });
    expect(setup).toMatchObject({ status: 0 });
    expect(await database.storage().getState("api")).toMatchObject({
      openUntil: new Date(`${summer}+02:00`),
    });
    await database.closeStorages();
  });
});
