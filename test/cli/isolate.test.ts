import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, type PostgresStorage } from "../../src/index.js";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { eventually } from "../integration/eventually.js";
import { withChildren } from "../integration/fleet.js";
import { CommandLine } from "./command.js";

let commandLine: CommandLine;
let storage: PostgresStorage;

beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
beforeEach(async () => {
  await commandLine.database.query("DELETE FROM rc_circuit_breakers");
  storage = commandLine.database.storage();
});
afterEach(() => commandLine.database.closeStorages());
afterAll(() => commandLine.close());

async function secondsOpen(name: string): Promise<number> {
  const { openUntil, readAt } = (await storage.getState(name)) ?? {};
  return ((openUntil?.getTime() ?? Number.NaN) - (readAt?.getTime() ?? Number.NaN)) / 1000;
}

const OPERATOR = expect.stringMatching(/^[^@ ]+@[^@ ]+$/);

describe("bulkman isolate and release", () => {
  it("are followed by every running process, in the middle of its calls", async () => {
    const { url } = commandLine.database;
    await withChildren(2, async (children) => {
      const config = { name: "payments" };
      const start = { config, storage: { connectionString: url, queryTimeoutSeconds: 10 } };
      for (const child of children) await child.ask("start", start);
      const statuses = () => Promise.all(children.map((child) => child.ask("look")));
      const isIn = (state: string) => async () =>
        (await statuses()).every(({ status }) => status === state);
      const call = () => Promise.all(children.map((child) => child.ask("call", "succeed")));

      for (const child of children) await child.ask("watch");
      const ended = await commandLine.run(["isolate", "payments", "--for", "2h"]);
      expect(ended).toEqual({ status: 0, stdout: expect.stringMatching(ISOLATED), stderr: "" });
      // Each process calls at the very moment that it receives the isolation.
      for (const child of children) {
        expect(await child.ask("watched")).toMatchObject({ code: "ERR_BULKHEAD_CIRCUIT_OPEN" });
      }
      for (const { retryAfterSeconds } of await call()) {
        expect(retryAfterSeconds).toBeGreaterThan(7000);
      }

      expect(await commandLine.run(["release", "payments"])).toEqual({
        status: 0,
        stdout: "payments is closed.\n",
        stderr: "",
      });
      await eventually(isIn("CLOSED"));
      for (const called of await call()) expect(called.outcome).toBe("succeeded");
      for (const { troubles } of await statuses()) expect(troubles).toEqual([]);
    });
  });

  it("isolate a circuit in every state, for ten minutes by default", async () => {
    const { version } = await storage.load("api");
    const opening = { to: "OPEN", version, owner: "a", openSeconds: 0, failureCount: 3 } as const;
    const { record } = await storage.change("api", opening);
    await storage.change("api", { to: "HALF_OPEN", version: record.version, owner: "a" });
    expect(await commandLine.run(["isolate", "api"])).toMatchObject({ status: 0 });
    expect(await storage.getState("api")).toMatchObject({
      ...{ state: "OPEN", failureCount: 0, reason: "by hand", probeOwner: null },
      ...{ openedBy: OPERATOR, changedBy: OPERATOR, cause: null },
    });
    expect(await secondsOpen("api")).toBeGreaterThan(9 * 60);
    expect(await secondsOpen("api")).toBeLessThanOrEqual(10 * 60);
    const again = ["isolate", "api", "--for", "30d", "--reason", " Umzug nach Köln; it's 'done' "];
    expect(await commandLine.run(again)).toMatchObject({ status: 0 });
    expect(await storage.getState("api")).toMatchObject({ reason: "Umzug nach Köln; it's 'done'" });
    expect(await secondsOpen("api")).toBeGreaterThan(29 * 86_400);
  });

  it("isolate for as long as was said, also where a health check passes", async () => {
    const bulkhead = new Bulkhead(
      { name: "api", healthCheck: () => true, healthCheckInterval: 0.02 },
      { circuitStorage: storage },
    );
    await bulkhead.ready();
    expect(await commandLine.run(["isolate", "api", "--for", "1h"])).toMatchObject({ status: 0 });
    await eventually(() => bulkhead.getState() === "isolated");
    let checks = 0;
    let calls = 0;
    bulkhead.on("healthCheck", () => checks++);
    const call = () => bulkhead.execute(() => calls++).catch(() => {});
    await eventually(async () => {
      await call();
      return checks >= 10;
    });
    expect(calls).toBe(0);
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", reason: "by hand" });
    expect(await commandLine.run(["release", "api"])).toMatchObject({ status: 0 });
    await eventually(async () => {
      await call();
      return calls > 0;
    });
    await bulkhead.shutdown();
  });

  it("win against processes that change the circuit at the same time", async () => {
    let { version } = await storage.load("busy");
    let isBusy = true;
    const others = (async () => {
      while (isBusy) {
        const change = { to: "OPEN", owner: "a", openSeconds: 0, failureCount: 1 } as const;
        version = (await storage.change("busy", { ...change, version })).record.version;
      }
    })();
    try {
      const ended = await commandLine.run(["isolate", "busy", "--for", "1h", "--reason", "enough"]);
      expect(ended).toMatchObject({ status: 0, stderr: "" });
    } finally {
      isBusy = false;
      await others;
    }
    expect(await storage.getState("busy")).toMatchObject({ state: "OPEN", reason: "enough" });
  });

  it("release changes nothing that is closed", async () => {
    const before = await storage.load("api");
    const ended = await commandLine.run(["release", "api"]);
    expect(ended).toEqual({ status: 0, stdout: "api was closed.\n", stderr: "" });
    expect((await storage.getState("api"))?.version).toBe(before.version);
  });

  it("release ends the votes to open a circuit, also of one that is closed", async () => {
    const vote = async (host: string) => {
      const { version } = await storage.load("api");
      const owner = `${host} 1`;
      const opening = { to: "OPEN", openSeconds: 60, failureCount: 5, quorum: 2 } as const;
      return (await storage.change("api", { ...opening, version, owner, host })).record;
    };
    expect(await vote("web-3")).toMatchObject({ state: "CLOSED", votes: [{ host: "web-3" }] });
    expect(await commandLine.run(["release", "api"])).toEqual({
      status: 0,
      stdout: "api was closed; 1 vote to open it has ended.\n",
      stderr: "",
    });
    expect(await vote("web-4")).toMatchObject({ state: "CLOSED", votes: [{ host: "web-4" }] });
    expect(await vote("web-3")).toMatchObject({ state: "OPEN" });
    expect((await commandLine.run(["release", "api"])).stdout).toBe("api is closed.\n");
    expect(await vote("web-4")).toMatchObject({ state: "CLOSED", votes: [{ host: "web-4" }] });
  });

  it.each([
    { args: ["--namespace", "orders"], env: {} },
    { args: [], env: { RC_NAMESPACE: "orders" } },
    { args: ["--namespace", "orders"], env: { RC_NAMESPACE: "default" } },
  ])("touch the namespace of $args and $env only", async ({ args, env }) => {
    await storage.load("api");
    const orders = commandLine.database.storage({ namespace: "orders" });
    await orders.load("api");
    await commandLine.run(["isolate", "api", ...args], env);
    expect((await orders.getState("api"))?.state).toBe("OPEN");
    expect((await storage.getState("api"))?.state).toBe("CLOSED");
    await commandLine.run(["release", "api", ...args], env);
    expect((await orders.getState("api"))?.state).toBe("CLOSED");
  });

  it.each(["isolate", "release"])(
    "%s creates no circuit, and prints the namespaces that have one",
    async (command) => {
      const refused = (stderr: string) => ({ status: 1, stdout: "", stderr });
      const nowhere = `bulkman ${command}: there is no circuit "api" in the namespace "default"; see bulkman status\n`;
      expect(await commandLine.run([command, "api"])).toEqual(refused(nowhere));
      const orders = commandLine.database.storage({ namespace: "orders" });
      await orders.load("api");
      const elsewhere = nowhere.replace("see bulkman status", 'it is in: "orders"');
      expect(await commandLine.run([command, "api"])).toEqual(refused(elsewhere));
      expect(await storage.getState("api")).toBeNull();
    },
  );

  it("take a name that looks like an option after --", async () => {
    await storage.load("--for");
    expect(await commandLine.run(["isolate", "--", "--for"])).toMatchObject({ status: 0 });
    expect((await storage.getState("--for"))?.state).toBe("OPEN");
  });

  it.each<[string, string[], RegExp]>([
    ["no name", ["isolate"], /NAME is missing/],
    ["a URL", ["release", "a", "postgres://u:se-cret@h/d"], /a connection string is no NAME/],
    ["an empty name", ["release", ""], /NAME must be a string of 1 to 255 characters/],
    ["no unit", ["isolate", "a", "--for", "10"], /--for must be .* such as 30s, 10m, 2h or 30d/],
    ["an unknown unit", ["isolate", "a", "--for", "10y"], /--for must be/],
    ["no time", ["isolate", "a", "--for", "0s"], /--for must be/],
    ["a fraction", ["isolate", "a", "--for", "1.5h"], /--for must be/],
    ["more than a year", ["isolate", "a", "--for", "366d"], /from 1s to 365d/],
    [
      "an empty reason",
      ["isolate", "a", "--reason", " "],
      /--reason must have 1 to 255 characters/,
    ],
    ["a long reason", ["isolate", "a", "--reason", "x".repeat(256)], /got 256/],
    ["no namespace", ["release", "a", "--namespace", ""], /--namespace must be/],
    ["an option of the other", ["release", "a", "--for", "1h"], /unknown option --for/],
  ])("print one line with what is wrong: %s", async (_, args, reason) => {
    const ended = await commandLine.run(args, { RC_DB_HOST: "nowhere.invalid" });
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toMatch(/^bulkman (isolate|release): .*; see bulkman \w+ --help\n$/);
    expect(ended.stderr).toMatch(reason);
    expect(ended.stderr).not.toContain("se-cret");
  });

  it("print one line when the table does not exist, and create none", async () => {
    await commandLine.database.query("DROP TABLE rc_circuit_breakers");
    const ended = await commandLine.run(["isolate", "api"]);
    expect(ended).toMatchObject({ status: 1, stdout: "" });
    expect(ended.stderr).toMatch(/^bulkman isolate: .* is missing; run "bulkman pg-setup".*\n$/);
    await commandLine.database.query(SCHEMA_SQL);
  });
});

const ISOLATED = /^payments is isolated until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(2h\)\.\n$/;
