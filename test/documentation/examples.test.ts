import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "../integration/database.js";
import { type Example, GUIDES, readExamples } from "./examples.js";
import { Sandbox } from "./sandbox.js";
import { typeCheck } from "./type-check.js";

const examples = ["README.md", "examples/README.md", ...GUIDES].flatMap(readExamples);
const run = examples.filter(({ notRun }) => notRun === undefined);

describe("the examples of the pages", () => {
  let sandbox: Sandbox;
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
    const { server, name } = database;
    sandbox = await Sandbox.create({
      ...{ RC_DB_HOST: "127.0.0.1", RC_DB_PORT: String(server.port), RC_DB_NAME: name },
      ...{ RC_DB_USER: server.user, RC_DB_PASSWORD: server.password },
      ...{ PGHOST: "127.0.0.1", PGPORT: String(server.port), PGDATABASE: name },
      ...{ PGUSER: server.user, PGPASSWORD: server.password },
    });
  }, 60_000);
  afterAll(async () => {
    await sandbox.remove();
    await database.drop();
  });

  it("pass the strict type check", { timeout: 60_000 }, () => {
    expect(typeCheck(run)).toEqual([]);
  });

  const runAndCompare = async (example: Example) => {
    for (const { line, promised, printed } of await sandbox.run(example)) {
      expect({ line, text: printed }).toEqual({ line, text: promised });
    }
  };

  it.concurrent.for(run.filter((example) => !usesPostgres(example)))(
    "$place runs, and prints what it promises",
    { timeout: 30_000 },
    runAndCompare,
  );

  // One at a time: a query has one second, in which a busy machine starts few processes.
  it.for(run.filter(usesPostgres))(
    "$place runs with Postgres, and prints what it promises",
    { timeout: 30_000 },
    runAndCompare,
  );

  it("say why they are not run, if they are not", () => {
    const reasons = examples.flatMap(({ notRun }) => notRun ?? []);
    expect(reasons).toEqual(["test/package/newcomer.test.ts installs and runs it"]);
  });
});

function usesPostgres({ code }: Example): boolean {
  return /createStorage|PostgresStorage|from "pg"/.test(code);
}
