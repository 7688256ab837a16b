import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, type PostgresStorage } from "../../src/index.js";
import { eventually } from "../integration/eventually.js";
import { CommandLine } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  const { query } = commandLine.database;
  await query("DELETE FROM rc_circuit_breakers");
  storage = commandLine.database.storage();
  for (const name of ["new", "old", "older", "open"]) await storage.load(name);
  await query(
    "INSERT INTO rc_circuit_breakers (resource_key, namespace, state) VALUES ('old', 'other', 'CLOSED')",
  );
  await query("UPDATE rc_circuit_breakers SET state = 'OPEN' WHERE resource_key = 'open'");
  const age = "updated_at = now() - interval '31 days'";
  await query(`UPDATE rc_circuit_breakers SET ${age} WHERE resource_key <> 'new'`);
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

async function left(): Promise<string[]> {
  const rows = await commandLine.database.query<{ text: string }>(
    "SELECT namespace || ' ' || resource_key AS text FROM rc_circuit_breakers ORDER BY text",
  );
  return rows.map(({ text }) => text);
}

const ALL = ["default new", "default old", "default older", "default open", "other old"];
const PRUNED = ["default new", "default open", "other old"];
const PRUNE = ["prune", "--older-than", "30d"];

describe("bulkman prune", () => {
  it("removes the closed circuits of the namespace that are old, and prints their names", async () => {
    expect(await commandLine.run([...PRUNE, "--yes"])).toEqual({
      status: 0,
      stdout: "old\nolder\n",
      stderr: 'Removed 2 of 2 circuits of the namespace "default".\n',
    });
    expect(await left()).toEqual(PRUNED);
    expect(await commandLine.run(PRUNE)).toEqual({
      status: 0,
      stdout: "",
      stderr: 'Removed 0 of 0 circuits of the namespace "default".\n',
    });
  });

  it("takes no circuit from a bulkhead that uses it", async () => {
    const bulkhead = new Bulkhead({ name: "old" }, { circuitStorage: storage });
    await bulkhead.ready();
    await eventually(async () => {
      const listening =
        "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
      return (await commandLine.database.query(listening)).length > 0;
    });
    expect(await commandLine.run([...PRUNE, "--yes"])).toMatchObject({ status: 0 });
    await eventually(async () => (await left()).includes("default old"));
    await bulkhead.shutdown();
  });

  it.each<[string, string[], RegExp]>([
    ["no age", ["--yes"], /--older-than is missing/],
    ["a wrong age", ["--older-than", "1 month"], /--older-than must be a whole number/],
    ["nobody to ask", ["--older-than", "30d"], /there is no terminal to ask on; use --yes/],
  ])("removes nothing with %s", async (_, args, reason) => {
    const ended = await commandLine.run(["prune", ...args]);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toMatch(/^bulkman prune: .*--help\n$/);
    expect(ended.stderr).toMatch(reason);
    expect(await left()).toEqual(ALL);
  });

  it("prints which privilege is missing", async () => {
    const role = `pruner_${commandLine.database.name}`;
    const { query, urlFor } = commandLine.database;
    await query(`CREATE ROLE ${role} LOGIN PASSWORD 'se-cret'`);
    try {
      await query(`GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${role}`);
      const dsn = urlFor({ user: role, password: "se-cret" });
      expect(await commandLine.run([...PRUNE, "--yes", "--dsn", dsn])).toEqual({
        status: 1,
        stdout: "",
        stderr: "bulkman prune: this user needs DELETE on the table rc_circuit_breakers\n",
      });
    } finally {
      await query(`DROP OWNED BY ${role}`);
      await query(`DROP ROLE ${role}`);
    }
  });

  const hasScript = spawnSync("script", ["--version"]).status === 0;
  it.runIf(hasScript).each([
    ["y\n", 0, PRUNED],
    ["\n", 1, ALL],
    ["\u0003", 130, ALL],
  ])(
    "shows what it would remove, asks on a terminal, and takes %j for an answer",
    async (...row) => {
      const [answer, status, expected] = row;
      const asking = commandLine.onTerminal(PRUNE, { TERM: "dumb" });
      await eventually(() => asking.read.stdout.includes("[y/N]"));
      expect(asking.read.stdout).toMatch(/^old\r\nolder\r\n\r\nRemove 2 circuits of .*\[y\/N\]/);
      asking.process.stdin?.write(answer);
      expect((await asking.ended).status).toBe(status);
      expect(await left()).toEqual(expected);
    },
  );

  it("keeps a circuit that has settings in force", async () => {
    await commandLine.database.query(
      `UPDATE rc_circuit_breakers SET settings = CASE resource_key
         WHEN 'old' THEN '{"values": {}, "until": "2020-01-01"}'::jsonb
         ELSE '{"values": {}}' END WHERE namespace = 'default'`,
    );
    expect(await commandLine.run([...PRUNE, "--yes"])).toMatchObject({
      status: 0,
      stdout: "old\n",
    });
  });
});

describe("bulkman prune --history", () => {
  const count = async () => {
    const changes =
      "SELECT namespace || ' ' || resource_key AS text FROM bulkman_history ORDER BY id";
    return (await commandLine.database.query<{ text: string }>(changes)).map(({ text }) => text);
  };
  beforeEach(async () => {
    await commandLine.database.query("DELETE FROM bulkman_history");
    await commandLine.database.query(
      `INSERT INTO bulkman_history (changed_at, namespace, resource_key, old_state, new_state) VALUES
       (now() - interval '31 days', 'default', 'a', 'CLOSED', 'OPEN'),
       (now() - interval '31 days', 'other', 'b', 'CLOSED', 'OPEN'),
       (now() - interval '29 days', 'default', 'c', 'CLOSED', 'OPEN')`,
    );
  });

  it("removes the changes of the namespace that are older, and no circuit", async () => {
    const ended = await commandLine.run(["prune", "--history", "30d", "--yes"]);
    expect(ended).toEqual({
      ...{ status: 0, stdout: "" },
      stderr: 'Removed 1 change in the history of the namespace "default".\n',
    });
    expect(await count()).toEqual(["other b", "default c"]);
    expect(await left()).toEqual(ALL);
  });

  it("asks once for both, also another program", async () => {
    const both = "bulkman prune --older-than 30d --history 30d";
    const ended = await commandLine.shell(`echo n | ${both}`);
    expect(ended).toMatchObject({ status: 1, stdout: "" });
    expect(ended.stderr).toContain(
      'Remove 2 circuits and 1 change in the history of the namespace "default"? [y/N]',
    );
    expect(await left()).toEqual(ALL);
    expect(await count()).toHaveLength(3);
    expect(await commandLine.shell(`echo y | ${both}`)).toMatchObject({ status: 0 });
    expect(await left()).toEqual(PRUNED);
    expect(await count()).toEqual(["other b", "default c"]);
  });

  it("does not ask when nothing is that old", async () => {
    expect(await commandLine.run(["prune", "--history", "60d"])).toMatchObject({ status: 0 });
    expect(await count()).toHaveLength(3);
  });
});
