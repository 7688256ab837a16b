import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { statusTable } from "../../src/cli/status-table.js";
import { width } from "../../src/cli/text.js";
import type { CircuitRecord, PostgresStorage } from "../../src/index.js";
import { eventually } from "../integration/eventually.js";
import { CommandLine, type Running } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  await commandLine.database.query("DELETE FROM rc_circuit_breakers");
  storage = commandLine.database.storage({ namespace: "my_app" });
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

const ESCAPE = "\u001b";
const SCREEN_CODES = new RegExp(`${ESCAPE}\\[(\\?\\d+[hl]|H${ESCAPE}\\[J)`, "g");
const MY_APP = ["--namespace", "my_app"];

async function opened(name: string, openSeconds = 3600, reason?: string): Promise<number> {
  const { version } = await storage.load(name);
  const opening = { to: "OPEN", version, owner: "a", openSeconds, failureCount: 5 } as const;
  const byHand = reason === undefined ? {} : { byHand: true, reason };
  return (await storage.change(name, { ...opening, ...byHand })).record.version;
}

async function probed(name: string): Promise<void> {
  const version = await opened(name, 0);
  await storage.change(name, { to: "HALF_OPEN", version, owner: "prober-1", successes: 2 });
}

async function closed(name: string): Promise<void> {
  const { version } = await storage.load(name);
  await storage.change(name, { to: "CLOSED", version, owner: "a", byHand: true });
}

describe("bulkman status", () => {
  it("shows a table, with what is worth a look first", async () => {
    await storage.load("well");
    await probed("probed");
    await opened("failed");
    await opened("isolated", 1e9, "moving house");
    const ended = await commandLine.run(["status", ...MY_APP]);
    expect(ended).toMatchObject({ status: 0, stderr: "" });
    const [heading, blank, ...table] = ended.stdout.trimEnd().split("\n");
    expect(heading).toMatch(/^my_app: 4 circuits, 2 open, 1 half-open at \d{4}-\d\d-\d\d \d\d:/);
    expect(blank).toBe("");
    const time = String.raw`\d\d:\d\d:\d\d|\d\d-\d\d \d\d:\d\d`;
    for (const [i, line] of [
      "NAME +STATE +SINCE +UNTIL +WHY, OR WHO PROBES",
      `failed +OPEN +(${time}) +(${time}) +5 failures \\(a\\)`,
      String.raw`isolated +OPEN +(${time}) +\d{4}-\d\d-\d\d +moving house \(a\)`,
      `probed +HALF_OPEN +(${time}) +(${time}) +2 succeeded; prober-1`,
      `well +CLOSED +(${time})`,
    ].entries()) {
      expect(table[i]).toMatch(new RegExp(`^${line}$`));
    }
    expect(table).toHaveLength(5);
  });

  it("fits 80 columns and a line each, whatever the names and the reasons are", async () => {
    const names = [
      "a",
      "x".repeat(255),
      "支付".repeat(60),
      "👩‍👩‍👧‍👧".repeat(30),
      "e\u0301\u001b[2J\n\u202e",
    ];
    for (const name of names) await opened(name, 60, `${name} because`);
    const records = new Map<string, CircuitRecord>();
    for (const name of names) records.set(name, await storage.load(name));
    const lines = statusTable(records, { columns: 80, color: false });
    expect(lines).toHaveLength(1 + names.length);
    for (const line of lines) expect(width(line)).toBeLessThanOrEqual(80);
    const { stdout } = await commandLine.run(["status", ...MY_APP]);
    expect(stdout.split("\n")).toHaveLength(3 + names.length + 1);
    expect(lines.join()).toContain("…");
    for (const unsafe of [ESCAPE, "\u202e"]) expect(lines.join() + stdout).not.toContain(unsafe);
  });

  it("cuts nothing in a pipe, where a program may read it", async () => {
    const name = "x".repeat(255);
    await opened(name, 60, "because ".repeat(25).trim());
    const { stdout } = await commandLine.run(["status", ...MY_APP]);
    const [, , , row = ""] = stdout.split("\n");
    expect(row).toMatch(/^x{255} {2}OPEN .* {2}(because ?){25} \(a\)$/);
  });

  it("has one JSON document, with every figure of every circuit", async () => {
    await storage.load("b");
    await opened("a", 60, "why not");
    const { stdout, stderr, status } = await commandLine.run(["status", "--json", ...MY_APP]);
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    const json = async (name: string) => {
      const { readAt: _, updatedAt: since, ...record } = (await storage.getState(name)) ?? {};
      return JSON.parse(JSON.stringify({ name, since, ...record }));
    };
    expect(JSON.parse(stdout)).toEqual({
      namespace: "my_app",
      permits: [],
      readAt: expect.stringMatching(/^\d{4}-.*Z$/),
      circuits: [await json("a"), await json("b")],
    });
  });

  it("prints the namespaces with circuits when the namespace has none", async () => {
    const none = 'There is no circuit in the namespace "default"';
    expect((await commandLine.run(["status"])).stdout).toBe(`${none}.\n`);
    await storage.load("api");
    const { stdout, status } = await commandLine.run(["status"]);
    expect({ stdout, status }).toEqual({
      stdout: `${none}; there are circuits in: "my_app".\n`,
      status: 0,
    });
    const { circuits } = JSON.parse((await commandLine.run(["status", "--json"])).stdout);
    expect(circuits).toEqual([]);
  });

  it("shows what has no end, and what is over", async () => {
    await opened("ever");
    await opened("past", 0, "gone");
    const version = await opened("lease", 0);
    await storage.change("lease", { to: "HALF_OPEN", version, owner: "dead" });
    await commandLine.database.query(
      `UPDATE rc_circuit_breakers SET open_until = 'infinity' WHERE resource_key = 'ever';
       UPDATE rc_circuit_breakers SET probe_until = now() WHERE resource_key = 'lease'`,
    );
    const { stdout } = await commandLine.run(["status", ...MY_APP]);
    expect(stdout).toMatch(/^ever +OPEN .* for ever +5 failures \(.* in test\)$/m);
    expect(stdout).toMatch(/^past +OPEN .* over; next call probes$/m);
    expect(stdout).toMatch(/^lease +HALF_OPEN .*:\d\d +next call probes$/m);
  });

  it("finds the database and the namespace as the other commands and the services do", async () => {
    await storage.load("api");
    const { url, server, name } = commandLine.database;
    const none = { RC_DB_HOST: "", RC_DB_PASSWORD: "" };
    const byPg = { PGHOST: "127.0.0.1", PGPORT: `${server.port}`, PGDATABASE: name };
    const byUser = { PGUSER: server.user, PGPASSWORD: server.password };
    await writeFile(join(commandLine.directory, "of-mine.env"), "RC_NAMESPACE=my_app");
    for (const ended of [
      await commandLine.run(["status", "--dsn", url, ...MY_APP], none),
      await commandLine.run(["status"], { ...none, ...byPg, ...byUser, RC_NAMESPACE: "my_app" }),
      await commandLine.run(["status", "--env", "of-mine.env"]),
    ]) {
      expect(ended).toMatchObject({ status: 0, stdout: expect.stringMatching(/^api +CLOSED/m) });
    }
  });

  it("ends when its output is closed, also when nothing changes: --watch", async () => {
    for (let n = 0; n < 3; n++) await storage.load(`api ${n}`);
    for (const json of ["--json", ""]) {
      const line = `{ bulkman status ${json} --watch --namespace my_app; echo "status $?" >&2; } | head -2`;
      const ended = await commandLine.shell(line);
      expect(ended).toMatchObject({ status: 0, stderr: "status 0\n" });
      expect(ended.stdout.trimEnd().split("\n").length).toBeLessThanOrEqual(2);
    }
  });

  it("ends without an error when its output is closed", async () => {
    for (let n = 0; n < 20; n++) await storage.load(`api ${n}`);
    const line = '{ bulkman status --namespace my_app; echo "status $?" >&2; } | true';
    expect(await commandLine.shell(line)).toEqual({ status: 0, stdout: "", stderr: "status 0\n" });
  });

  it("fails in one line, and shows no password", async () => {
    const ended = await commandLine.run(["status", "--dsn", "postgres://u:se-cret@127.0.0.1:1/d"]);
    expect(ended).toMatchObject({ status: 1, stdout: "" });
    expect(ended.stderr).toMatch(/^bulkman status: .*ECONNREFUSED.*\n$/);
    expect(ended.stderr).not.toContain("se-cret");
    const url = "postgres://u:se-cret@127.0.0.1";
    const none = { RC_DB_HOST: "", RC_DB_PORT: "", RC_DB_NAME: "", RC_DB_USER: "" };
    for (const [args, env, target] of [
      [
        ["--dsn", `${url}:1/d`],
        { RC_DB_DSN: "postgres://elsewhere" },
        'host "127.0.0.1" (--dsn), port 1 (--dsn), database "d" (--dsn), user "u" (--dsn)',
      ],
      [
        [],
        { RC_DB_DSN: url, PGPORT: "1", PGDATABASE: "of-libpq" },
        'host "127.0.0.1" (RC_DB_DSN), port 1 (PGPORT), database "of-libpq" (PGDATABASE), user "u" (RC_DB_DSN)',
      ],
      [
        [],
        { ...none, RC_DB_HOST: "127.0.0.1", RC_DB_PORT: "1", PGUSER: "of-libpq" },
        'host "127.0.0.1" (RC_DB_HOST), port 1 (RC_DB_PORT), database "resilient_circuit_db" (default), user "postgres" (default)',
      ],
      [
        [],
        { ...none, PGHOST: "127.0.0.1", PGPORT: "1", PGUSER: "of-libpq" },
        'host "127.0.0.1" (PGHOST), port 1 (PGPORT), database "of-libpq" (default), user "of-libpq" (PGUSER)',
      ],
    ] as const) {
      const { stderr } = await commandLine.run(["status", ...args], { ...env });
      expect(stderr).toBe(`bulkman status: connect ECONNREFUSED 127.0.0.1:1; ${target}\n`);
    }
    const watching = await commandLine.run(["status", "--watch"], { RC_DB_PASSWORD: "se-cret" });
    expect(watching).toMatchObject({ status: 1, stdout: "" });
    expect(watching.stderr).toMatch(/^bulkman status: .*password.*\n$/);
    expect(watching.stderr).not.toContain("se-cret");
  });
});

describe("bulkman status --watch --json", () => {
  // After the last line there may be a space, which shows that the pipe is still read.
  const linesOf = ({ read }: Running) =>
    read.stdout
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));

  it("has one line for each circuit, and then one for each change, until it is stopped", async () => {
    await storage.load("old");
    const watching = commandLine.start(["status", "--watch", "--json", ...MY_APP]);
    const seen = (count: number) => eventually(() => linesOf(watching).length >= count);
    await seen(1);
    await storage.load("new");
    await seen(2);
    await opened("new", 60, "why");
    await seen(3);
    // Not of this namespace.
    await commandLine.database.storage().load("other");
    await closed("new");
    await seen(4);
    await commandLine.database.query("DELETE FROM rc_circuit_breakers WHERE resource_key = 'old'");
    await seen(5);
    watching.process.kill("SIGTERM");
    expect(await watching.ended).toMatchObject({ status: 143, stderr: "" });
    expect(linesOf(watching)).toEqual([
      expect.objectContaining({ namespace: "my_app", name: "old", state: "CLOSED" }),
      expect.objectContaining({ name: "new", state: "CLOSED", since: expect.any(String) }),
      expect.objectContaining({ name: "new", state: "OPEN", reason: "why" }),
      expect.objectContaining({ name: "new", state: "CLOSED", reason: null }),
      { namespace: "my_app", name: "old", removed: true },
    ]);
  });

  it("prints once that the connection is lost, and later what it has missed", async () => {
    await storage.load("api");
    const watching = commandLine.start(["status", "--watch", "--json", ...MY_APP], {
      PGAPPNAME: "watching",
    });
    await eventually(async () => (await listening()) === 1);
    await storage.close();
    await commandLine.database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = 'watching' AND datname = current_database()`,
    );
    await commandLine.database.query("UPDATE rc_circuit_breakers SET state = 'OPEN'");
    await eventually(() => linesOf(watching).some(({ state }) => state === "OPEN"));
    watching.process.kill("SIGINT");
    const { status, stderr } = await watching.ended;
    expect(status).toBe(130);
    expect(stderr).toMatch(/^bulkman status: .*; trying again\n$/);
    await eventually(async () => (await listening("")) === 0);
  });

  async function listening(query = "LISTEN"): Promise<number> {
    const rows = await commandLine.database.query(
      `SELECT FROM pg_stat_activity WHERE application_name = 'watching'
         AND datname = current_database() AND starts_with(query, $1)`,
      [query],
    );
    return rows.length;
  }
});

// `script` gives a command a real terminal. It belongs to util-linux, which not every system has.
const hasScript = spawnSync("script", ["--version"]).status === 0;
describe.runIf(hasScript)("bulkman status on a terminal", () => {
  const RED = "\u001b[31mOPEN     \u001b[39m";

  it.each([
    { env: {}, colored: true },
    { env: { NO_COLOR: "1" }, colored: false },
    { env: { TERM: "dumb" }, colored: false },
  ])("has colours: $colored with $env", async ({ env, colored }) => {
    await opened("api");
    const { status, stdout } = await commandLine.onTerminal(["status", ...MY_APP], env).ended;
    expect(status).toBe(0);
    expect(stdout).toContain("OPEN");
    expect(stdout.includes(RED)).toBe(colored);
    expect(stdout.includes("\u001b")).toBe(colored);
  });

  it("--watch draws in place, leaves the terminal as it was, and ends with 130 on Ctrl-C", async () => {
    await storage.load("api");
    const watching = commandLine.onTerminal(["status", "--watch", ...MY_APP]);
    await eventually(() => watching.read.stdout.includes("CLOSED"));
    await opened("api", 60, "because");
    await eventually(() => watching.read.stdout.includes("because"));
    watching.process.stdin?.write("\u0003");
    const { status, stdout } = await watching.ended;
    expect(status).toBe(130);
    const escapes = stdout.match(SCREEN_CODES) ?? [];
    expect(escapes.slice(0, 3)).toEqual(["\u001b[?1049h", "\u001b[?25l", "\u001b[H\u001b[J"]);
    expect(escapes.slice(-2)).toEqual(["\u001b[?25h", "\u001b[?1049l"]);
    expect(stdout.trimEnd().endsWith("\u001b[?1049l")).toBe(true);
    expect(escapes.slice(3, -2).length).toBeGreaterThan(0);
    expect(new Set(escapes.slice(3, -2))).toEqual(new Set(["\u001b[H\u001b[J"]));
  });

  it("--watch shows as many circuits as there is room for, and how many more there are", async () => {
    for (let n = 0; n < 40; n++) await storage.load(`api ${n}`);
    await opened("worst");
    const watching = commandLine.onTerminal(["status", "--watch", ...MY_APP]);
    await eventually(() => watching.read.stdout.includes("more"));
    watching.process.stdin?.write("\u0003");
    const { stdout } = await watching.ended;
    const [, drawn = ""] = stdout.split("\u001b[H\u001b[J");
    const lines = drawn.split("\r\n");
    expect(lines[3]).toContain("worst");
    expect(lines[23]).toContain("… and 21 more");
  });

  it("--watch on a simple terminal writes table after table", async () => {
    await storage.load("api");
    const watching = commandLine.onTerminal(["status", "--watch", ...MY_APP], { TERM: "dumb" });
    await eventually(() => watching.read.stdout.includes("CLOSED"));
    await opened("api");
    await eventually(() => watching.read.stdout.includes("5 failures"));
    watching.process.stdin?.write("\u0003");
    const { status, stdout } = await watching.ended;
    expect(status).toBe(130);
    expect(stdout).not.toContain("\u001b");
  });
});
