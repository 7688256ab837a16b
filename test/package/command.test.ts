import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { createDatabase, type TestDatabase } from "../integration/database.js";

const project = inject("packedProject");
let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

/** Runs the installed command; rejects unless it exits with status 0. */
async function bulkman(...args: string[]): Promise<string> {
  const program = join(project, "node_modules/.bin/bulkman");
  const { stdout } = await promisify(execFile)(program, [...args, "--dsn", database.url], {
    cwd: project,
    timeout: 60_000,
  });
  return stdout;
}

test("every command runs as it is installed, with the library's file of what queries Postgres", async () => {
  await bulkman("pg-setup", "--yes");
  await database.storage().load("payments");
  await bulkman("set", "payments", "maxConcurrentCalls=5", "--for", "1h");
  expect(await bulkman("isolate", "payments")).toContain("payments is isolated until");
  expect(await bulkman("wait", "payments", "--open")).toBe("payments is OPEN.\n");
  expect(await bulkman("status", "payments")).toContain("maxConcurrentCalls=5");
  expect(await bulkman("release", "payments")).toBe("payments is closed.\n");
  expect(await bulkman("history")).toContain("payments: opened once");
  expect(await bulkman("unset", "payments")).toContain("nothing is set any more");
  await database.query("UPDATE rc_circuit_breakers SET updated_at = '2020-01-01'");
  expect(await bulkman("prune", "--older-than", "1d", "--history", "1d", "--yes")).toBe(
    "payments\n",
  );
});
