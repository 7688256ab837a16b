import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PostgresStorage } from "../../src/index.js";
import { eventually } from "../integration/eventually.js";
import { CommandLine, type Running } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  await commandLine.database.query("DELETE FROM rc_circuit_breakers");
  storage = commandLine.database.storage();
  await storage.load("payments");
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

const open = "state = 'OPEN', open_until = now() + interval '1 hour'";
const WAITING = { PGAPPNAME: "waiting" };

/** Connections of the command that listen. */
async function listening(): Promise<number> {
  const rows = await commandLine.database.query(
    `SELECT FROM pg_stat_activity WHERE application_name = 'waiting' AND datname = current_database()
     AND query LIKE 'LISTEN%'`,
  );
  return rows.length;
}

/** One that listens, and has read the circuits since. */
async function waiting(...args: string[]): Promise<Running> {
  const running = commandLine.start(["wait", "payments", ...args], WAITING);
  await eventually(async () => (await listening()) === 1);
  return running;
}

describe("bulkman wait", () => {
  it("ends at once when the circuit has that state", async () => {
    expect(await commandLine.run(["wait", "payments", "--closed"])).toEqual({
      status: 0,
      stdout: "payments is CLOSED.\n",
      stderr: "",
    });
    await commandLine.database.edit("payments", open);
    expect(await commandLine.run(["wait", "payments", "--open"])).toMatchObject({ status: 0 });
  });

  it("ends when the circuit gets that state, and not while it is half-open", async () => {
    await commandLine.database.edit("payments", open);
    const closing = await waiting("--closed");
    await commandLine.database.edit("payments", "state = 'HALF_OPEN'");
    await storage.load("another");
    expect(closing.process.exitCode).toBeNull();
    await commandLine.database.edit("payments", "state = 'CLOSED'");
    expect(await closing.ended).toEqual({ status: 0, stdout: "payments is CLOSED.\n", stderr: "" });
    const opening = await waiting("--open");
    await commandLine.database.edit("payments", open);
    expect(await opening.ended).toMatchObject({ status: 0, stdout: "payments is OPEN.\n" });
  });

  it("ends with 3 when the time is up", async () => {
    const ended = await commandLine.run(["wait", "payments", "--open", "--timeout", "1s"]);
    expect(ended).toEqual({
      status: 3,
      stdout: "",
      stderr: "bulkman wait: payments is still CLOSED after 1s\n",
    });
  });

  it("fails when the circuit does not exist, or is removed", async () => {
    expect(await commandLine.run(["wait", "search", "--open"])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no circuit "search"'),
    });
    const running = await waiting("--open");
    await commandLine.database.query("DELETE FROM rc_circuit_breakers");
    expect(await running.ended).toEqual({
      status: 1,
      stdout: "",
      stderr: 'bulkman wait: the circuit "payments" was removed\n',
    });
  });

  it("goes on when its connection is lost, and reads what it has missed", async () => {
    const running = await waiting("--open");
    await storage.close();
    await commandLine.database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = 'waiting' AND datname = current_database()`,
    );
    await commandLine.database.edit("payments", open);
    const { status, stderr } = await running.ended;
    expect(status).toBe(0);
    expect(stderr).toMatch(/^(bulkman wait: .*; trying again\n)?$/);
  });

  it("reads when a notice has no record", async () => {
    await commandLine.database.query(
      "ALTER TABLE rc_circuit_breakers DISABLE TRIGGER rc_circuit_breakers_after_write",
    );
    try {
      const running = await waiting("--open", "--timeout", "1m");
      await commandLine.database.edit("payments", open);
      await commandLine.database.query("SELECT pg_notify('bulkman_circuits', 'read again')");
      expect(await running.ended).toMatchObject({ status: 0, stderr: "" });
    } finally {
      await commandLine.database.query("ALTER TABLE rc_circuit_breakers ENABLE TRIGGER ALL");
    }
  });

  it("needs SELECT alone", async () => {
    const role = `reader_${commandLine.database.name}`;
    const { query, urlFor } = commandLine.database;
    await query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    try {
      await query(`GRANT SELECT ON rc_circuit_breakers TO ${role}`);
      const running = await waiting("--open", "--dsn", urlFor({ user: role, password: "x" }));
      await commandLine.database.edit("payments", open);
      expect(await running.ended).toMatchObject({ status: 0, stderr: "" });
    } finally {
      await query(`DROP OWNED BY ${role}`);
      await query(`DROP ROLE ${role}`);
    }
  });

  it.each(["SIGTERM", "SIGHUP"] as const)("ends by %s like other programs", async (signal) => {
    const running = await waiting("--open");
    running.process.kill(signal);
    const status = { SIGTERM: 143, SIGHUP: 129 }[signal];
    expect(await running.ended).toEqual({ status, stdout: "", stderr: "" });
    await eventually(async () => (await listening()) === 0);
  });

  const hasScript = spawnSync("script", ["--version"]).status === 0;
  it.runIf(hasScript)("ends by Ctrl-C on a terminal, and prints nothing", async () => {
    const running = commandLine.onTerminal(["wait", "payments", "--open"], WAITING);
    await eventually(async () => (await listening()) === 1);
    running.process.stdin?.write("\u0003");
    const { status, stdout } = await running.ended;
    expect([status, stdout.replace("^C", "")]).toEqual([130, ""]);
    await eventually(async () => (await listening()) === 0);
  });

  it.each<[string, string[], RegExp]>([
    ["no name", ["--open"], /NAME is missing/],
    ["two names", ["a", "b", "--open"], /one NAME is expected/],
    ["no state", ["a"], /one of --closed and --open is needed/],
    ["both states", ["a", "--closed", "--open"], /one of --closed and --open is needed/],
    ["a wrong time", ["a", "--open", "--timeout", "5"], /--timeout must be/],
  ])("rejects %s", async (_, args, reason) => {
    const ended = await commandLine.run(["wait", ...args], { RC_DB_HOST: "nowhere.invalid" });
    expect(ended).toMatchObject({ status: 2, stdout: "", stderr: expect.stringMatching(reason) });
  });
});
