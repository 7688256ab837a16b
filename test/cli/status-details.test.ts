import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { statusTable } from "../../src/cli/status-table.js";
import { width } from "../../src/cli/text.js";
import type { CircuitRecord, PostgresStorage } from "../../src/index.js";
import { CommandLine } from "./command.js";

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

const MY_APP = ["--namespace", "my_app"];
const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;
const OPENING = {
  to: "OPEN",
  ...{ owner: "web-1 4242", openSeconds: 3600, failureCount: 5, openings: 2 },
  cause: { rule: "5 consecutive failures", failure: "Error", code: "ECONNREFUSED" },
} as const;

async function opened(name: string): Promise<CircuitRecord> {
  const { version } = await storage.load(name);
  return (await storage.change(name, { ...OPENING, version })).record;
}

async function closed(name: string): Promise<void> {
  const { version } = await storage.load(name);
  await storage.change(name, { to: "CLOSED", version, owner: "ann@laptop", byHand: true });
}

async function configured(name: string, until: Date | null): Promise<void> {
  const { version } = await storage.load(name);
  const values = { maxConcurrentCalls: 5, timeoutSeconds: null };
  const settings = { values, until, reason: "a slow index\u001b[2J", by: "ann@laptop" };
  await storage.configure(name, { version, settings });
}

describe("bulkman status", () => {
  it("shows which failure opened a circuit, and in which process", async () => {
    await opened("payments");
    const { stdout } = await commandLine.run(["status", ...MY_APP]);
    expect(stdout).toMatch(
      /^payments +OPEN .* 5 consecutive failures: ECONNREFUSED \(web-1 4242\)$/m,
    );
  });

  it("shows which hosts vote to open a circuit, as long as their isolations last", async () => {
    const vote = { ...OPENING, quorum: 3, openings: 1 };
    let { version } = await storage.load("payments");
    for (const [owner, host, openSeconds] of [
      ["web-1 4242", "web-1", 3600],
      ["web-1 4243", "web-1", 3600],
      ["web-2 77", "web-2", 0],
      ["web-3 77", "web-3\u001b[2J", 3600],
    ] as const) {
      const { record } = await storage.change("payments", {
        ...vote,
        ...{ version, owner, host, openSeconds },
      });
      version = record.version;
    }
    const voters = "2 of 3 hosts: web-1, web-3\ufffd[2J";
    const { stdout } = await commandLine.run(["status", ...MY_APP]);
    expect(stdout.split("\n")[3]).toMatch(/^payments +CLOSED /);
    expect(stdout).toContain(voters);
    const details = await commandLine.run(["status", "payments", ...MY_APP]);
    expect(details.stdout).toContain(`\nvotes       ${voters}\n`);
    const json = await commandLine.run(["status", "payments", "--json", ...MY_APP]);
    const [circuit] = JSON.parse(json.stdout).circuits;
    expect(circuit.votes.map(({ host }: { host: string }) => host)).toEqual(
      expect.arrayContaining(["web-1", "web-1", "web-3\u001b[2J"]),
    );
    expect(circuit.votes).toHaveLength(3);
    expect(circuit.votes[0]).toMatchObject({ quorum: 3, openSeconds: 3600, openings: 1 });
    await closed("payments");
    expect((await commandLine.run(["status", ...MY_APP])).stdout).not.toContain("hosts");
  });

  it("shows below a circuit what was set, as long as that lasts", async () => {
    await storage.load("before");
    await configured("payments", new Date("2999-01-01T12:00:00Z"));
    await configured("search", null);
    await configured("over", new Date("2020-01-01"));
    const { stdout } = await commandLine.run(["status", ...MY_APP]);
    const lines = stdout.trimEnd().split("\n").slice(3);
    expect(lines).toEqual([
      expect.stringMatching(/^before /),
      expect.stringMatching(/^over /),
      expect.stringMatching(/^payments /),
      "  set maxConcurrentCalls=5 timeoutSeconds=null until 2999-01-01, by ann@laptop: a slow index\ufffd[2J",
      expect.stringMatching(/^search /),
      "  set maxConcurrentCalls=5 timeoutSeconds=null, by ann@laptop: a slow index\ufffd[2J",
    ]);
  });

  it("fits a terminal with what was set, and counts the circuits that do not", async () => {
    const records = new Map<string, CircuitRecord>();
    for (const name of ["a", "b", "c"]) {
      await configured(name, null);
      records.set(name, await storage.load(name));
    }
    const table = (rows: number) => statusTable(records, { columns: 40, rows, color: false });
    for (const line of table(7)) expect(width(line)).toBeLessThanOrEqual(40);
    expect(table(7)).toHaveLength(7);
    expect(table(6).at(-1)).toBe("… and 1 more");
    expect(table(6)).toHaveLength(6);
    expect(table(5).at(-1)).toBe("… and 2 more");
    expect(table(5)).toHaveLength(4);
    expect(table(2)).toEqual([expect.stringMatching(/^NAME/), "… and 3 more"]);
  });

  it("has one JSON document with what opened a circuit, and what was set", async () => {
    await opened("payments");
    await configured("payments", new Date("2999-01-01T12:00:00Z"));
    const { stdout } = await commandLine.run(["status", "payments", "--json", ...MY_APP]);
    const { circuits } = JSON.parse(stdout);
    expect(circuits).toEqual([
      expect.objectContaining({
        cause: OPENING.cause,
        changedBy: "web-1 4242",
        settings: {
          values: { maxConcurrentCalls: 5, timeoutSeconds: null },
          until: "2999-01-01T12:00:00.000Z",
          reason: "a slow index\u001b[2J",
          by: "ann@laptop",
        },
      }),
    ]);
  });
});

describe("bulkman status NAME", () => {
  it("shows all that is known of one circuit", async () => {
    await storage.load("other");
    await opened("payments");
    await configured("payments", new Date("2999-01-01T12:00:00Z"));
    const ended = await commandLine.run(["status", "payments", ...MY_APP]);
    expect(ended).toMatchObject({ status: 0, stderr: "" });
    const expected = [
      `payments of my_app is OPEN at ${TIME}`,
      "",
      `since       ${TIME}`,
      `until       ${TIME}`,
      "why         5 consecutive failures: ECONNREFUSED",
      "failure     Error ECONNREFUSED",
      "opened by   web-1 4242",
      "openings    2 since it was closed last",
      "set         maxConcurrentCalls=5 timeoutSeconds=null until 2999-01-01 12:00:00, by ann@laptop: a slow index\ufffd[2J".replace(
        /[[\]]/g,
        "\\$&",
      ),
      "",
    ];
    expect(ended.stdout).toMatch(new RegExp(`^${expected.join("\n")}$`));
  });

  it("shows who probes, and after what", async () => {
    const { version } = await opened("payments");
    await commandLine.database.query("UPDATE rc_circuit_breakers SET open_until = now()");
    const record = await storage.load("payments");
    expect(record.version).toBeGreaterThan(version);
    const probing = { to: "HALF_OPEN", version: record.version, owner: "web-2 77" } as const;
    await storage.change("payments", { ...probing, successes: 1 });
    const { stdout } = await commandLine.run(["status", "payments", ...MY_APP]);
    expect(stdout).toMatch(/ is HALF_OPEN at /);
    expect(stdout).toMatch(/^probes {6}1 succeeded$/m);
    expect(stdout).toMatch(new RegExp(`^prober {6}web-2 77 until ${TIME}$`, "m"));
    expect(stdout).toMatch(/^changed by {2}web-2 77$/m);
  });

  it("says in which namespace a missing circuit is, and exits with 1", async () => {
    await storage.load("payments");
    expect(await commandLine.run(["status", "payments"])).toEqual({
      status: 1,
      stdout: "",
      stderr: `bulkman status: there is no circuit "payments" in the namespace "default"; it is in: "my_app"\n`,
    });
  });

  it("is not watched, and is one", async () => {
    for (const args of [
      ["a", "--watch"],
      ["a", "b"],
    ]) {
      expect(await commandLine.run(["status", ...args])).toMatchObject({ status: 2, stdout: "" });
    }
  });
});
