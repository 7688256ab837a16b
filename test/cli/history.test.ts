import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { duration } from "../../src/cli/text.js";
import type { CircuitChange, PostgresStorage } from "../../src/index.js";
import { CommandLine } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  await commandLine.database.query("DELETE FROM rc_circuit_breakers; DELETE FROM bulkman_history");
  storage = commandLine.database.storage({ namespace: "my_app" });
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

const MY_APP = ["--namespace", "my_app"];
const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;

async function add(
  name: string,
  entries: ReadonlyArray<readonly [ago: number, from: string, to: string]>,
) {
  for (const [ago, from, to] of entries) {
    await commandLine.database.query(
      `INSERT INTO bulkman_history (changed_at, namespace, resource_key, old_state, new_state, changed_by)
       VALUES (now() - make_interval(secs => $1), 'my_app', $2, $3, $4, 'web-1 42')`,
      [ago, name, from, to],
    );
  }
}

async function change(name: string, changes: ReadonlyArray<(version: number) => CircuitChange>) {
  let { version } = await storage.load(name);
  for (const each of changes) version = (await storage.change(name, each(version))).record.version;
}

describe("bulkman history", () => {
  it("shows when a circuit changed, from, to, by whom and why", async () => {
    const cause = { rule: "5 consecutive failures", failure: "Error", code: "ECONNREFUSED" };
    const opening = { to: "OPEN", openSeconds: 0, failureCount: 5 } as const;
    await change("payments", [
      (version) => ({ ...opening, version, owner: "web-1 42", cause }),
      (version) => ({ to: "HALF_OPEN", version, owner: "web-2 43" }),
      (version) => ({ to: "CLOSED", version, owner: "web-2 43" }),
      (version) => ({
        ...opening,
        version,
        owner: "ann@laptop",
        byHand: true,
        reason: "moving\nhouse",
      }),
    ]);
    await commandLine.database.query("UPDATE bulkman_history SET changed_at = now()");
    const { stdout, stderr, status } = await commandLine.run(["history", ...MY_APP]);
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    const at = String.raw`\d\d:\d\d:\d\d|\d\d-\d\d \d\d:\d\d`;
    const lines = [
      `my_app: 4 changes from ${TIME} to ${TIME}`,
      "",
      "WHEN +NAME +FROM +TO +FOR +BY +WHY",
      `(${at}) +payments +CLOSED +OPEN +0s +web-1 42 +5 consecutive failures: ECONNREFUSED`,
      `(${at}) +payments +OPEN +HALF_OPEN +0s +web-2 43`,
      `(${at}) +payments +HALF_OPEN +CLOSED +0s +web-2 43`,
      `(${at}) +payments +CLOSED +OPEN +\\d+s so far +ann@laptop +moving\ufffdhouse`,
      "",
      String.raw`payments: opened 2 times, not closed for \d+s`,
      "",
    ];
    for (const [i, line] of stdout.split("\n").entries()) {
      expect(line).toMatch(new RegExp(`^${lines[i]}$`));
    }
  });

  it("shows how long each state lasted, and how often the circuit opened", async () => {
    await add("payments", [
      [3000, "CLOSED", "OPEN"],
      [2970, "OPEN", "HALF_OPEN"],
      [2969, "HALF_OPEN", "OPEN"],
      [2900, "OPEN", "CLOSED"],
    ]);
    await add("search", [[2400, "OPEN", "CLOSED"]]);
    const { stdout } = await commandLine.run(["history", ...MY_APP]);
    const rows = stdout.split("\n").slice(3, 8);
    expect(rows.map((row) => /(\S+) +(web-1 42)/.exec(row)?.[0])).toHaveLength(5);
    for (const [i, row] of [
      "CLOSED +OPEN +30s +web-1 42",
      "OPEN +HALF_OPEN +1s +web-1 42",
      "HALF_OPEN +OPEN +1m 9s +web-1 42",
      "OPEN +CLOSED +48m \\d+s so far +web-1 42",
      "OPEN +CLOSED +40m \\d+s so far +web-1 42",
    ].entries()) {
      expect(rows[i]).toMatch(new RegExp(`${row}$`));
    }
    const ends = stdout.trimEnd().split("\n").slice(-2);
    expect(ends[0]).toBe("payments: opened 2 times, not closed for 1m 40s");
    // It was open when the hour began.
    expect(ends[1]).toMatch(/^search: opened 0 times, not closed for (20m 0s|19m 59s)$/);
  });

  it("goes back as far as --since says, in one circuit when it has a name", async () => {
    await add("payments", [
      [7200, "CLOSED", "OPEN"],
      [60, "OPEN", "CLOSED"],
    ]);
    await add("search", [[30, "CLOSED", "OPEN"]]);
    const changes = async (...args: string[]) => {
      const { stdout } = await commandLine.run(["history", "--json", ...MY_APP, ...args]);
      return JSON.parse(stdout).changes.map(
        ({ name, to }: Record<string, string>) => `${name} ${to}`,
      );
    };
    expect(await changes()).toEqual(["payments CLOSED", "search OPEN"]);
    expect(await changes("payments")).toEqual(["payments CLOSED"]);
    expect(await changes("payments", "--since", "3h")).toEqual([
      "payments OPEN",
      "payments CLOSED",
    ]);
    expect(await changes("nothing")).toEqual([]);
    expect((await commandLine.run(["history"])).stdout).toMatch(
      new RegExp(`^default: 0 changes from ${TIME} to ${TIME}\n$`),
    );
  });

  it("has one JSON document for programs", async () => {
    await storage.load("payments");
    const session = `${commandLine.database.server.user} in test`;
    await commandLine.database.edit("payments", "state = 'OPEN', reason = 'why'");
    await commandLine.database.query("DELETE FROM rc_circuit_breakers");
    const { stdout } = await commandLine.run(["history", "--json", ...MY_APP]);
    const time = expect.stringMatching(/^\d{4}-.*Z$/);
    const common = { at: time, name: "payments", reason: "why", cause: null, failureCount: 0 };
    expect(JSON.parse(stdout)).toEqual({
      namespace: "my_app",
      since: time,
      readAt: time,
      changes: [
        {
          ...common,
          ...{ from: "CLOSED", to: "OPEN", by: session, isCurrent: false },
          seconds: expect.any(Number),
        },
        { ...common, from: "OPEN", to: "REMOVED", by: session, isCurrent: false, seconds: null },
      ],
      circuits: [{ name: "payments", openings: 1, secondsNotClosed: expect.any(Number) }],
    });
  });

  it("says that the history is missing, or may not be read", async () => {
    const role = `reader_${commandLine.database.name}`;
    const { query, urlFor } = commandLine.database;
    await query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    try {
      const dsn = urlFor({ user: role, password: "x" });
      expect(await commandLine.run(["history", "--dsn", dsn])).toMatchObject({
        status: 1,
        stderr: "bulkman history: this user needs SELECT on the table bulkman_history\n",
      });
      await query("ALTER TABLE bulkman_history RENAME TO hidden");
      expect(await commandLine.run(["history"])).toMatchObject({
        status: 1,
        stderr:
          'bulkman history: there is no table bulkman_history; run "bulkman pg-setup" to create it\n',
      });
      await query("ALTER TABLE hidden RENAME TO bulkman_history");
    } finally {
      await query(`DROP ROLE ${role}`);
    }
  });

  it.each([
    [["a", "b"], /too many arguments/],
    [["--since", "yesterday"], /--since must be a whole number/],
  ])("rejects %j", async (args, reason) => {
    const ended = await commandLine.run(["history", ...args]);
    expect(ended).toMatchObject({ status: 2, stderr: expect.stringMatching(reason) });
  });
});

it.each([
  [0, "0s"],
  [0.4, "0s"],
  [59.4, "59s"],
  [60, "1m 0s"],
  [130, "2m 10s"],
  [3600, "1h 0m"],
  [90_061, "1d 1h"],
])("formats %d seconds as %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});
