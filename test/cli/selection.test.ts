import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PostgresStorage } from "../../src/index.js";
import { eventually } from "../integration/eventually.js";
import { CommandLine } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  await commandLine.database.query("DELETE FROM rc_circuit_breakers");
  storage = commandLine.database.storage();
  for (const name of ["a", "b", "c"]) await storage.load(name);
  const other = commandLine.database.storage({ namespace: "other" });
  await other.load("a");
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

async function open(): Promise<string[]> {
  const rows = await commandLine.database.query<{ text: string }>(
    `SELECT namespace || ' ' || resource_key AS text FROM rc_circuit_breakers
     WHERE state = 'OPEN' ORDER BY text`,
  );
  return rows.map(({ text }) => text);
}

async function configured(): Promise<string[]> {
  const rows = await commandLine.database.query<{ text: string }>(
    `SELECT namespace || ' ' || resource_key AS text FROM rc_circuit_breakers
     WHERE settings IS NOT NULL ORDER BY text`,
  );
  return rows.map(({ text }) => text);
}

const ALL = ["default a", "default b", "default c"];

describe("several names", () => {
  it("are changed one after the other, each once", async () => {
    const isolated = await commandLine.run(["isolate", "b", "a", "b", "--for", "1h", "--yes"]);
    expect(isolated).toMatchObject({ status: 0, stderr: "" });
    expect(isolated.stdout).toMatch(/^b is isolated until .*\na is isolated until .*\n$/);
    expect(await open()).toEqual(["default a", "default b"]);
    expect(await commandLine.run(["release", "a", "b", "c", "--yes"])).toEqual({
      status: 0,
      stdout: "a is closed.\nb is closed.\nc was closed.\n",
      stderr: "",
    });
    const values = await commandLine.run(["set", "a", "c", "maxQueueSize=1", "--yes"]);
    expect(values).toMatchObject({ status: 0, stderr: "" });
    expect(await configured()).toEqual(["default a", "default c"]);
    await commandLine.run(["unset", "a", "c", "maxQueueSize", "--yes"]);
    expect(await configured()).toEqual([]);
  });

  it("are not changed when one of them does not exist", async () => {
    const ended = await commandLine.run(["isolate", "a", "z", "--yes"]);
    expect(ended).toMatchObject({ status: 1, stdout: "" });
    expect(ended.stderr).toContain('there is no circuit "z" in the namespace "default"');
    expect(await open()).toEqual([]);
  });

  it("say how many were changed when one cannot be", async () => {
    await commandLine.database.query(
      "ALTER TABLE rc_circuit_breakers ADD CONSTRAINT no_b CHECK (resource_key <> 'b' OR state <> 'OPEN')",
    );
    try {
      const ended = await commandLine.run(["isolate", "a", "b", "c", "--yes"]);
      expect(ended).toMatchObject({ status: 1, stdout: expect.stringMatching(/^a is isolated/) });
      expect(ended.stderr).toMatch(/^bulkman isolate: .*no_b.*; 1 of 3 circuits were changed\n$/);
      expect(await open()).toEqual(["default a"]);
    } finally {
      await commandLine.database.query("ALTER TABLE rc_circuit_breakers DROP CONSTRAINT no_b");
    }
  });
});

describe("--all", () => {
  it("changes every circuit of the namespace", async () => {
    await commandLine.run(["isolate", "--all", "--yes"]);
    expect(await open()).toEqual(ALL);
    await commandLine.run(["release", "--all", "--yes"]);
    expect(await open()).toEqual([]);
    await commandLine.run(["set", "--all", "maxQueueSize=1", "timeoutSeconds=1", "--yes"]);
    expect(await configured()).toEqual(ALL);
    await commandLine.run(["unset", "--all", "maxQueueSize", "--yes"]);
    expect((await storage.getState("b"))?.settings?.values).toEqual({ timeoutSeconds: 1 });
    await commandLine.run(["unset", "--all", "--yes"]);
    expect(await configured()).toEqual([]);
  });

  it("fails where there is no circuit", async () => {
    const ended = await commandLine.run(["release", "--all", "--yes", "--namespace", "empty"]);
    expect(ended).toMatchObject({
      status: 1,
      stderr: 'bulkman release: there is no circuit in the namespace "empty"\n',
    });
  });

  it("excludes names", async () => {
    const ended = await commandLine.run(["isolate", "--all", "a"]);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toContain("--all and a NAME exclude each other");
  });
});

describe("the question", () => {
  it("needs a terminal, a pipe with an answer, or --yes", async () => {
    const ended = await commandLine.run(["isolate", "a", "b"]);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toContain("there is no terminal to ask on; use --yes to change them");
    expect(await open()).toEqual([]);
    const piped = await commandLine.shell("echo y | bulkman isolate --all --for 1h");
    expect(piped).toMatchObject({ status: 0 });
    expect(piped.stderr).toContain('Isolate for 1h 3 circuits of the namespace "default"? [y/N]');
    expect(await open()).toEqual(ALL);
  });

  const hasScript = spawnSync("script", ["--version"]).status === 0;
  it.runIf(hasScript).each<[string, number, string[]]>([
    ["y\n", 0, ["default a", "default b"]],
    ["\n", 1, []],
    ["no\n", 1, []],
    ["\u0003", 130, []],
  ])("shows the names on a terminal, and takes %j for an answer", async (answer, status, after) => {
    const args = ["set", "a", "b", "maxQueueSize=1"];
    const asking = commandLine.onTerminal(args, { TERM: "dumb" });
    await eventually(() => asking.read.stdout.includes("[y/N]"));
    expect(asking.read.stdout).toMatch(
      /^a\r\nb\r\n\r\nSet maxQueueSize=1 in 2 circuits of the namespace "default"\? \[y\/N\]/,
    );
    asking.process.stdin?.write(answer);
    expect((await asking.ended).status).toBe(status);
    expect(await configured()).toEqual(after);
  });

  it.runIf(hasScript)("is not asked for one name", async () => {
    const ended = await commandLine.onTerminal(["isolate", "a"], { TERM: "dumb" }).ended;
    expect(ended).toMatchObject({ status: 0, stdout: expect.stringMatching(/^a is isolated/) });
  });
});
