import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./database.js";

let database: TestDatabase;
let roles: readonly string[] = [];
beforeAll(async () => {
  database = await createDatabase();
  roles = ["my_service", "any"].map((role) => `${role}_${database.name}`);
  for (const role of roles) await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
  const storage = database.storage();
  await storage.load("api");
});
afterAll(async () => {
  await database.closeStorages();
  for (const role of roles) {
    await database.query(`DROP OWNED BY ${role}`);
    await database.query(`DROP ROLE ${role}`);
  }
  await database.drop();
});

it("grants a service what it needs and keeps other roles out, by the statements of SECURITY.md", async () => {
  const [service = "", other = ""] = roles;
  const as = (user: string) =>
    database.pool({ connectionString: database.urlFor({ user, password: "x" }), max: 1 });
  const before = as(other);
  await before.query("SELECT pg_notify('bulkman_circuits', '')");
  await expect(before.query("SELECT FROM rc_circuit_breakers")).rejects.toThrow(
    "permission denied",
  );
  await before.end();

  const [, statements = ""] =
    /```sql\n([\s\S]*?)```/.exec(readFileSync("SECURITY.md", "utf8")) ?? [];
  expect(statements).toContain("REVOKE");
  await database.query(
    statements
      .replaceAll("DATABASE circuits", `DATABASE ${database.name}`)
      .replaceAll("my_service", service),
  );
  const after = as(other);
  await expect(after.query("SELECT 1")).rejects.toThrow("permission denied");
  await after.end();
  const connectionString = database.urlFor({ user: service, password: "x" });
  const storage = database.storage({ connectionString });
  const { version } = await storage.load("api");
  const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
  expect(await storage.change("api", change)).toMatchObject({ changed: true });
  const asked = { name: "api", owner: "a", sequence: 1, limit: 10, leaseSeconds: 15 };
  const leasing = { ...asked, keep: 0, want: 3, renewSeconds: 5 };
  expect(await storage.lease([leasing])).toMatchObject([{ permits: 3 }]);
  expect(await storage.lease([{ ...leasing, sequence: 2, want: 0 }])).toMatchObject([
    { permits: 0 },
  ]);
});
