import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { permitsTable } from "../../src/cli/permits.js";
import type { PermitNotice, PostgresStorage } from "../../src/index.js";
import { eventually } from "../integration/eventually.js";
import { permitRequest, readPools } from "../integration/permit-pool.js";
import { CommandLine, type Running } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  await commandLine.database.query("DELETE FROM rc_circuit_breakers; DELETE FROM bulkman_permits");
  storage = commandLine.database.storage();
  for (const name of ["payments", "search"]) await storage.load(name);
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

const limit = (...args: string[]) => commandLine.run(["limit", ...args]);
const hasScript = spawnSync("script", ["--version"]).status === 0;
const UUID = "01234567-89ab-cdef-0123-456789abcdef";
const ask = async (owner: string, want: number, name = "payments") => {
  const [grant] = await storage.lease([permitRequest(`${owner} ${UUID}`, want, { name })]);
  return grant;
};
const limitSet = async (name = "payments") =>
  (await readPools(commandLine.database, [name])).get(name)?.limitSet;

describe("bulkman limit", () => {
  it("sets the limit of the fleet, before a process asks and after", async () => {
    expect(await limit("payments", "30")).toEqual({
      status: 0,
      stdout: "payments: permits held: 0 of 30, which an operator has set\n",
      stderr: "",
    });
    expect(await ask("web-1 42", 50)).toMatchObject({ permits: 30, limit: 30 });
    expect((await limit("payments", "4")).stdout).toBe(
      "payments: permits held: 30 of 4, which an operator has set\n",
    );
    expect(await ask("web-1 42", 50)).toMatchObject({ permits: 4, limit: 4 });
  });

  it("gives the limit of the code again", async () => {
    await ask("web-1 42", 3);
    await limit("payments", "30");
    expect((await limit("payments", "--unset")).stdout).toBe(
      "payments: nothing is set any more; permits held: 3 of 10\n",
    );
    expect((await limit("payments", "--unset")).stdout).toBe(
      "payments: nothing was set; permits held: 3 of 10\n",
    );
    await ask("web-1 42", 0);
    expect((await limit("payments", "--unset")).stdout).toBe(
      "payments: nothing was set; no permit is held\n",
    );
    expect(await limitSet()).toBeNull();
  });

  it("sends the processes a notice: to ask when there is room, or to give back", async () => {
    const heard: PermitNotice[] = [];
    storage.subscribeToPermits("payments", (notice) => heard.push(notice));
    await ask("web-1 42", 10);
    await ask("web-2 43", 5);
    await eventually(async () => {
      await ask("web-2 43", 5);
      return heard.length > 0;
    });
    heard.length = 0;
    await limit("payments", "4");
    await eventually(() => heard.length > 0);
    expect(heard).toEqual([{ fair: 2, lastTurn: 0, gives: false }]);
    heard.length = 0;
    await limit("payments", "30");
    await eventually(() => heard.length > 0);
    expect(heard).toEqual([{ fair: 30, lastTurn: 0, gives: true }]);
  });

  it("sets several, after it has asked, and none when one of them does not exist", async () => {
    await ask("web-1 42", 3, "without circuit");
    const { status, stdout, stderr } = await limit("payments", "nope", "5", "--yes");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toContain('there is no circuit "nope" in the namespace "default"');
    expect(await limitSet()).toBeNull();
    const question = commandLine.shell("yes | bulkman limit payments 'without circuit' 5");
    expect(await question).toMatchObject({
      status: 0,
      stdout:
        "payments: permits held: 0 of 5, which an operator has set\n" +
        "without circuit: permits held: 3 of 5, which an operator has set\n",
      stderr: expect.stringContaining("Set the limit 5 for 2 circuits of the namespace"),
    });
    expect(await limitSet("without circuit")).toBe(5);
  });

  it("without arguments shows every limit, and who holds how many permits", async () => {
    await ask("web-1 42", 7);
    await limit("search", "20");
    expect(await limit()).toEqual({
      status: 0,
      stdout:
        "PERMITS OF  HELD  LIMIT    BY\n" +
        "payments    7     10       web-1 42: 7\n" +
        "search      0     20, set\n",
      stderr: "",
    });
    expect(await limit("--namespace", "other")).toEqual({
      status: 0,
      stdout: 'No permit is held and no limit is set in the namespace "other".\n',
      stderr: "",
    });
  });

  it("does not exist in another namespace", async () => {
    const { status, stderr } = await limit("payments", "5", "--namespace", "other");
    expect([status, stderr]).toEqual([1, expect.stringContaining('it is in: "default"')]);
  });

  it.each([
    [["payments"], "NUMBER is missing, or --unset: after NAME, an integer >= 1"],
    [["payments", "1.5"], "NUMBER is missing, or --unset: after NAME, an integer >= 1"],
    [["payments", "9".repeat(20)], "NUMBER is missing, or --unset: after NAME, an integer >= 1"],
    [["5"], "NAME is missing: the name of a bulkhead"],
    [["", "5"], "NAME must be a string of 1 to 255 characters"],
  ])("rejects the arguments %j", async (args, reason) => {
    const { status, stderr } = await limit(...args);
    expect(status).toBe(2);
    expect(stderr).toContain(reason);
  });

  it("says which privileges it needs", async () => {
    const { database } = commandLine;
    const role = `limiter_${database.name}`;
    await database.query(
      `CREATE ROLE ${role} LOGIN PASSWORD 'x'; GRANT SELECT ON rc_circuit_breakers TO ${role}`,
    );
    const env = { RC_DB_USER: role, RC_DB_PASSWORD: "x" };
    const { status, stderr } = await commandLine.run(["limit", "payments", "5"], env);
    expect(status).toBe(1);
    expect(stderr).toContain("permission denied for table bulkman_permits: this user needs");
    await database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
});

describe("bulkman status", () => {
  it("shows who holds how many permits, below the circuits", async () => {
    await ask("web-1 42", 7);
    await ask("web-2 43", 7);
    await ask("web-1 42", 3, "a b\u202e");
    await limit("search", "20");
    const { stdout } = await commandLine.run(["status"]);
    expect(stdout.split("\n\n").at(-1)).toBe(
      "PERMITS OF  HELD  LIMIT    BY\n" +
        "a b\ufffd        3     10       web-1 42: 3\n" +
        "payments    10    10       web-1 42: 7, web-2 43: 3\n" +
        "search      0     20, set\n",
    );
    const none = await commandLine.run(["status", "--namespace", "other"]);
    expect(none.stdout).not.toContain("PERMITS");
  });

  it("shows the permits of one name, with what each wants and until when", async () => {
    await ask("web-1 42", 7);
    await limit("payments", "9");
    const { stdout } = await commandLine.run(["status", "payments"]);
    expect(stdout).toContain("\npermits     7 of 9, which an operator has set\n");
    expect(stdout).toMatch(/\n {12}web-1 42 holds 7, wants 7, until \d{4}-\d\d-\d\d [\d:]{8}\n/);
    const other = await commandLine.run(["status", "search"]);
    expect(other.stdout).not.toContain("permits");
  });

  it("has them in its JSON, without leases that are over", async () => {
    await ask("web-1 42", 7);
    await ask("gone 44", 1);
    await commandLine.database.query(
      "UPDATE bulkman_permits SET asked_at = asked_at - interval '1 minute' WHERE owner LIKE 'gone%'",
    );
    const { stdout } = await commandLine.run(["status", "payments", "--json"]);
    const until = expect.stringMatching(/^\d{4}-.*Z$/);
    expect(JSON.parse(stdout).permits).toEqual([
      {
        ...{ name: "payments", limit: 10, limitSet: null, held: 7 },
        owners: [{ owner: "web-1 42", permits: 7, wants: 7, until }],
      },
    ]);
    expect(JSON.parse((await commandLine.run(["status", "--json"])).stdout).permits).toHaveLength(
      1,
    );
  });

  it("counts leases that are over while the database learns", async () => {
    await ask("away 44", 6);
    await commandLine.database.query(
      "UPDATE bulkman_permits SET asked_at = asked_at - interval '1 minute'",
    );
    await ask("web-1 42", 10);
    const { stdout } = await commandLine.run(["status", "--json"]);
    expect(JSON.parse(stdout).permits).toMatchObject([{ held: 10, owners: [{}, {}] }]);
  });

  it("shows the permits of a name without a circuit", async () => {
    await ask("web-1 42", 7, "no circuit");
    const shown = await commandLine.run(["status", "no circuit"]);
    expect(shown).toMatchObject({ status: 0, stderr: "" });
    expect(shown.stdout).toMatch(
      new RegExp(
        "^no circuit of default has permits, and no circuit\\n\\npermits     7 of 10\\n" +
          " {12}web-1 42 holds 7, wants 7, until [\\d-]{10} [\\d:]{8}\\n$",
      ),
    );
    const { stdout } = await commandLine.run(["status", "no circuit", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      circuits: [],
      permits: [{ name: "no circuit", limit: 10, held: 7 }],
    });
    const neither = await commandLine.run(["status", "neither"]);
    expect([neither.status, neither.stdout]).toEqual([1, ""]);
    expect(neither.stderr).toContain('there is no circuit "neither" in the namespace "default"');
  });

  it("works without the table of permits, and for a user that may not read it", async () => {
    const { database } = commandLine;
    const role = `reader_${database.name}`;
    await database.query(
      `CREATE ROLE ${role} LOGIN PASSWORD 'x'; GRANT SELECT ON rc_circuit_breakers TO ${role}`,
    );
    const env = { RC_DB_USER: role, RC_DB_PASSWORD: "x" };
    for (const args of [["status"], ["status", "payments"]]) {
      const { status, stdout } = await commandLine.run(args, env);
      expect([status, stdout]).toEqual([0, expect.stringContaining("payments")]);
    }
    const { stdout } = await commandLine.run(["status", "--json"], env);
    expect(JSON.parse(stdout).permits).toBeNull();
    const listed = await commandLine.run(["limit"], env);
    expect([listed.status, listed.stdout]).toEqual([1, ""]);
    expect(listed.stderr).toContain("there is no table bulkman_permits, or this user needs SELECT");
    await database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
});

describe("bulkman status --watch", () => {
  it("shows the permits below the circuits in every table", async () => {
    await ask("web-1 42", 7);
    const watching = commandLine.start(["status", "--watch"]);
    await eventually(() => watching.read.stdout.includes("web-1 42: 7"));
    await storage.load("new");
    await eventually(() => watching.read.stdout.split("web-1 42: 7").length > 2);
    watching.process.kill("SIGTERM");
    const { status, stdout } = await watching.ended;
    expect(status).toBe(143);
    expect(stdout).toMatch(/\nsearch +CLOSED .*\n\nPERMITS OF +HELD +LIMIT +BY\n/);
  });

  // `script` gives a command a real terminal. It belongs to util-linux, which not every system has.
  it.runIf(hasScript)("on a terminal follows the permits while no circuit changes", async () => {
    await ask("web-1 42", 7);
    const watching = commandLine.onTerminal(["status", "--watch"]);
    await eventually(() => watching.read.stdout.includes("web-1 42: 7"));
    await ask("web-1 42", 3);
    await eventually(() => watching.read.stdout.includes("web-1 42: 3"));
    await ask("web-1 42", 0);
    await eventually(() => !screenOf(watching).includes("PERMITS OF"));
    watching.process.stdin?.write("\u0003");
    expect((await watching.ended).status).toBe(130);
  });

  /** What was drawn last. */
  const screenOf = ({ read }: Running) => read.stdout.split("\u001b[H\u001b[J").at(-1) ?? "";
});

describe("the table of permits", () => {
  const pool = (n: number) => ({ name: `p${n}`, limit: 9, limitSet: null, held: n, holders: [] });
  const tableOf = (count: number, rows: number) =>
    permitsTable(
      Array.from({ length: count }, (_, n) => pool(n)),
      { columns: 80, rows },
    );

  it("has as many names as there is room for, and says how many more there are", () => {
    expect(tableOf(3, 4)).toHaveLength(4);
    expect(tableOf(4, 4).at(-1)).toBe("… and 2 more");
    expect(tableOf(4, 4)).toHaveLength(4);
    expect(tableOf(4, 2)).toEqual([expect.stringMatching(/^PERMITS OF/), "… and 4 more"]);
    expect(tableOf(1, 2)).toHaveLength(2);
  });

  it("is left out without a row for a name, and without names", () => {
    expect(tableOf(1, 1)).toEqual([]);
    expect(tableOf(0, 10)).toEqual([]);
  });
});

it("bulkman prune removes the rows of permits that no process has used, and no limit", async () => {
  const { database } = commandLine;
  for (const name of ["old", "limited", "leased", "young"]) await ask("web-1 42", 3, name);
  await limit("limited", "5");
  await database.query(
    "UPDATE bulkman_permits SET asked_at = asked_at - interval '40 days' WHERE name <> 'young'",
  );
  await database.query("UPDATE bulkman_permits SET lease = '41 days' WHERE name = 'leased'");
  const prune = (age: string) => commandLine.run(["prune", "--older-than", age, "--yes"]);
  const left = async () =>
    (
      await database.query<{ row: string }>(
        "SELECT name || ' ' || split_part(owner, ' ', 1) AS row FROM bulkman_permits ORDER BY 1",
      )
    ).map(({ row }) => row.trim());
  const before = await left();
  await prune("60d");
  expect(await left()).toEqual(before);
  await prune("30d");
  expect(await left()).toEqual(["leased", "leased web-1", "limited", "young", "young web-1"]);
  // The leases of owners that could not ask for an hour may still count.
  await database.query("UPDATE bulkman_permits SET asked_at = now() - interval '23 hours'");
  await prune("1h");
  expect(await left()).toHaveLength(5);
});
