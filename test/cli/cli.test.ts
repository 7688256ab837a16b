import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createDatabase, service, type TestDatabase } from "../integration/database.js";
import { eventually } from "../integration/eventually.js";
import { asVersion11, TcpProxy } from "../integration/tcp-proxy.js";

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let directory: string;
let program: string;
let database: TestDatabase;

beforeAll(async () => {
  program = join(process.cwd(), await service<string>("child"), "cli.js");
}, 60_000);
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "bulkman-cli-"));
  database = await createDatabase();
});
afterEach(async () => {
  await rm(directory, { recursive: true });
  await database.drop();
});

/** Runs the command in an empty directory with nothing but the given environment and input. */
function bulkman(args: string[], env: Record<string, string> = {}, input?: string): Promise<Ended> {
  const { PATH = "" } = process.env;
  const child = spawn(process.execPath, [program, ...args], {
    cwd: directory,
    env: { PATH, ...env },
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  child.stdin?.end(input);
  const read = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data) => {
    read.stdout += data;
  });
  child.stderr?.on("data", (data) => {
    read.stderr += data;
  });
  return new Promise((resolve) => {
    child.on("close", (status) => resolve({ status, ...read }));
  });
}

function rcVariables(): Record<string, string> {
  const { server, name } = database;
  return {
    RC_DB_HOST: "127.0.0.1",
    RC_DB_PORT: String(server.port),
    RC_DB_NAME: name,
    RC_DB_USER: server.user,
    RC_DB_PASSWORD: server.password,
  };
}

async function columns(): Promise<string[]> {
  const rows = await database.query<{ column_name: string }>(
    `SELECT column_name FROM information_schema.columns
     WHERE table_name = 'rc_circuit_breakers' ORDER BY ordinal_position`,
  );
  return rows.map(({ column_name }) => column_name);
}

const COLUMNS = [
  ...["resource_key", "namespace", "state", "failure_count", "open_until", "execution_log"],
  ...["created_at", "updated_at", "version", "opened_by", "probe_owner", "probe_until"],
  ...["probe_successes", "reason", "written_blind", "openings", "settings"],
  ...["changed_by", "opening_rule", "failure_name", "failure_code", "votes"],
];

describe("bulkman pg-setup", () => {
  it("--dry-run prints the SQL and connects to nothing", async () => {
    const ended = await bulkman(["pg-setup", "--dry-run"], { RC_DB_HOST: "nowhere.invalid" });
    expect(ended).toEqual({ status: 0, stdout: SCHEMA_SQL, stderr: "" });
  });

  it("--yes prints the SQL and sets the table up, and may run again", async () => {
    for (const _ of [1, 2]) {
      const ended = await bulkman(["pg-setup", "--yes", "--dsn", database.urlFor({})]);
      expect(ended.stderr).toMatch(
        /^The table rc_circuit_breakers is ready in database "test_.*"\.\n$/,
      );
      expect(ended).toMatchObject({ status: 0, stdout: SCHEMA_SQL });
      expect(await columns()).toEqual(COLUMNS);
    }
  });

  it("prints SQL that does the same when it is run manually", async () => {
    const { stdout } = await bulkman(["pg-setup", "--dry-run"]);
    await database.query(stdout);
    expect(await columns()).toEqual(COLUMNS);
  });

  it("finds the database by RC_DB_*", async () => {
    expect(await bulkman(["pg-setup", "--yes"], rcVariables())).toMatchObject({ status: 0 });
    expect(await columns()).toEqual(COLUMNS);
  });

  it("finds the database by PG*", async () => {
    const { server, name } = database;
    const ended = await bulkman(["pg-setup", "--yes"], {
      PGHOST: "127.0.0.1",
      PGPORT: String(server.port),
      PGDATABASE: name,
      PGUSER: server.user,
      PGPASSWORD: server.password,
    });
    expect(ended).toMatchObject({ status: 0 });
    expect(await columns()).toEqual(COLUMNS);
  });

  it.each([
    [".env", []],
    ["of-mine.env", ["--env", "of-mine.env"]],
  ])("reads %s, and the environment wins over it", async (file, args) => {
    const { RC_DB_PORT = "", ...others } = rcVariables();
    const lines = Object.entries({ ...others, RC_DB_PORT: "1" }).map(([k, v]) => `${k}="${v}"`);
    await writeFile(join(directory, file), lines.join("\n"));
    expect(await bulkman(["pg-setup", "--yes", ...args])).toMatchObject({ status: 1 });
    expect(await bulkman(["pg-setup", "--yes", ...args], { RC_DB_PORT })).toMatchObject({
      status: 0,
    });
    expect(await columns()).toEqual(COLUMNS);
  });

  it("changes nothing without a terminal to ask on", async () => {
    const ended = await bulkman(["pg-setup"], rcVariables());
    expect(ended.status).toBe(2);
    expect(ended.stderr).toMatch(/^bulkman pg-setup: there is no terminal to ask on.*\n$/);
    expect(await columns()).toEqual([]);
  });

  it.each([
    ["y\n", 0, COLUMNS],
    ["yes", 0, COLUMNS],
    ["n\ny\n", 1, []],
    ["\n", 1, []],
    ["", 2, []],
  ])("takes the answer %j from a pipe", async (answer, status, expected) => {
    const ended = await bulkman(["pg-setup"], rcVariables(), answer);
    expect(ended.status).toBe(status);
    expect(ended.stdout).toBe(SCHEMA_SQL);
    expect(ended.stderr).toMatch(/^\nRun this in database .*\? \[y\/N\] \n/);
    if (answer === "") expect(ended.stderr).toContain("there is no terminal to ask on; use --yes");
    expect(await columns()).toEqual(expected);
  });

  it("ends after its answer, also when the pipe stays open", async () => {
    const { PATH = "" } = process.env;
    const env = { PATH, ...rcVariables() };
    const command = `'${process.execPath}' '${program}' pg-setup 2>&1 >/dev/null`;
    const line = `(echo y; exec sleep 60) | { ${command}; echo "ended with $?"; }`;
    const shell = spawn("sh", ["-c", line], { cwd: directory, env, detached: true });
    let shown = "";
    shell.stdout.on("data", (data) => {
      shown += data;
    });
    try {
      expect(await eventually(() => /ended with .*/.exec(shown))).toContain("ended with 0");
      expect(await columns()).toEqual(COLUMNS);
    } finally {
      process.kill(-(shell.pid ?? 0));
    }
  });

  it.each<[string, string[], Record<string, string>, number, RegExp]>([
    ["an unknown option", ["--force"], {}, 2, /unknown option --force/],
    ["an option without its value", ["--dsn"], {}, 2, /: --dsn needs a value/],
    ["another option instead of the value", ["--dsn", "--yes"], {}, 2, /: --dsn needs a value/],
    ["a value for an option that has none", ["--yes=se-cret"], {}, 2, /: --yes takes no value;/],
    ["a stray argument", ["postgres://u:se-cret@h/d"], {}, 2, /too many arguments/],
    ["no such file", ["--env", "none.env", "--yes"], {}, 2, /none\.env cannot be read \(ENOENT\)/],
    ["a DSN that is none", ["--yes", "--dsn", "host=h password=se-cret"], {}, 1, /must be a URL/],
    ["no user", ["--yes"], { PGHOST: "127.0.0.1" }, 2, /no user is named; use --dsn or set PGUSER/],
    ["a wrong port", ["--yes"], { RC_DB_HOST: "h", RC_DB_PORT: "x" }, 1, /RC_DB_PORT must be/],
    [
      "nobody there",
      ["--yes", "--dsn", "postgres://u:se-cret@127.0.0.1:1/d"],
      {},
      1,
      /ECONNREFUSED/,
    ],
  ])("prints one line with what is wrong: %s", async (_, args, env, status, reason) => {
    const ended = await bulkman(["pg-setup", ...args], env);
    expect(ended.status).toBe(status);
    expect(ended.stderr).toMatch(/^bulkman pg-setup: .*\n$/);
    expect(ended.stderr).toMatch(reason);
    expect(ended.stderr + ended.stdout).not.toContain("se-cret");
  });

  it("names a server that is too old, and changes nothing", async () => {
    const [row] = await database.query<{ server_version: string }>("SHOW server_version");
    const proxy = await TcpProxy.to(database.server.port);
    proxy.corrupt = asVersion11(row?.server_version ?? "");
    const ended = await bulkman(["pg-setup", "--yes", "--dsn", database.urlFor(proxy)]);
    await proxy.close();
    expect(ended.status).toBe(1);
    expect(ended.stderr).toMatch(
      /^bulkman pg-setup: PostgreSQL 11[\d.]* is too old; version 12 or newer is needed; host /,
    );
    expect(await columns()).toEqual([]);
  });

  it("takes no part of a password that is not encoded for a host or a database", async () => {
    for (const [args, env] of [
      [["--dsn", "postgres://postgres:12/hunter2@127.0.0.1:5432/db"], {}],
      [["--dsn", "postgres://postgres:hun@ter w/hunter2@127.0.0.1/db"], {}],
      [[], { RC_DB_HOST: "postgres://postgres:hunter2@127.0.0.1/db" }],
    ] as const) {
      const ended = await bulkman(["pg-setup", "--yes", ...args], env);
      expect(ended.status).toBe(1);
      expect(ended.stderr).toMatch(
        /^bulkman pg-setup: .*(percent-encode|must be a name, not a URL)/,
      );
      expect(ended.stderr).not.toMatch(/hun|ter|:12/);
    }
  });

  it("says so when the password is wrong, or the user may not", async () => {
    const wrong = await bulkman([
      "pg-setup",
      "--yes",
      "--dsn",
      database.urlFor({ password: "se-cret/2" }),
    ]);
    expect(wrong).toMatchObject({ status: 1, stderr: expect.stringContaining("password") });
    const role = `reader_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'se-cret'`);
    try {
      const dsn = database.urlFor({ user: role, password: "se-cret" });
      const refused = await bulkman(["pg-setup", "--yes", "--dsn", dsn]);
      expect(refused).toMatchObject({
        status: 1,
        stderr: expect.stringContaining("permission denied"),
      });
      for (const { stdout, stderr } of [wrong, refused])
        expect(stdout + stderr).not.toContain("se-cret");
    } finally {
      await database.query(`DROP ROLE ${role}`);
    }
  });

  // `script` gives a command a real terminal. It belongs to util-linux, which not every system has.
  const hasScript = spawnSync("script", ["--version"]).status === 0;
  it.runIf(hasScript).each([
    ["y\n", 0, COLUMNS],
    ["n\n", 1, []],
    ["\n", 1, []],
    ["\u0003", 130, []],
  ])("asks on a terminal, and takes %j for an answer", async (answer, status, expected) => {
    const command = `"${process.execPath}" "${program}" pg-setup`;
    const child = spawn("script", ["-qec", command, "/dev/null"], {
      cwd: directory,
      env: { PATH: process.env["PATH"] ?? "", TERM: "dumb", ...rcVariables() },
      stdio: ["pipe", "pipe", "inherit"],
    });
    let shown = "";
    child.stdout.on("data", (data) => {
      const wasAsked = shown.includes("[y/N]");
      shown += data;
      if (!wasAsked && shown.includes("[y/N]")) child.stdin.write(answer);
    });
    const ended = await new Promise((resolve) => child.on("close", resolve));
    child.stdin.destroy();
    expect(ended).toBe(status);
    expect(shown).not.toContain(database.server.password);
    expect(await columns()).toEqual(expected);
  });
});

describe("bulkman", () => {
  it("prints its version and its help", async () => {
    expect(await bulkman(["--version"])).toMatchObject({
      status: 0,
      stdout: `${manifest.version}\n`,
    });
    expect((await bulkman(["pg-setup", "--help"])).stdout).toContain("--dry-run");
    const { stdout } = await bulkman(["--help"]);
    const commands = Array.from(stdout.matchAll(/^ {2}(\S+) {2,}\w/gm), ([, name = ""]) => name);
    expect(commands).toEqual([
      ...[
        "status",
        "history",
        "isolate",
        "release",
        "set",
        "unset",
        "limit",
        "wait",
        "prune",
        "pg-setup",
      ],
    ]);
    for (const command of commands) {
      const { status, stdout, stderr } = await bulkman([command, "--help"]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toMatch(new RegExp(`^Usage: bulkman ${command} `));
      for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    }
  });

  it("has status 2 for no command and for one that it does not know", async () => {
    expect(await bulkman([])).toMatchObject({ status: 2, stdout: "" });
    const ended = await bulkman(["reboot"]);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toBe('bulkman: there is no command "reboot"; see bulkman --help\n');
  });
});
