import { hostname, userInfo } from "node:os";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { FIELDS } from "../../src/cli/fields.js";
import type { CircuitSettings, PostgresStorage } from "../../src/index.js";
import { CommandLine } from "./command.js";

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

const BY = `${userInfo().username}@${hostname()}`;
const NOTHING = { until: null, reason: null, by: BY };
const set = (...args: string[]) => commandLine.run(["set", "payments", ...args]);
const unset = (...args: string[]) => commandLine.run(["unset", "payments", ...args]);

async function settings(name = "payments"): Promise<CircuitSettings | null | undefined> {
  return (await storage.getState(name))?.settings;
}

async function secondsLeft(): Promise<number> {
  const { settings, readAt } = (await storage.getState("payments")) ?? {};
  return (Number(settings?.until) - Number(readAt)) / 1000;
}

describe("bulkman set", () => {
  it("keeps the fields in the record, with who set them, and changes nothing else", async () => {
    const before = await storage.load("payments");
    expect(await set("maxConcurrentCalls=5", "timeoutSeconds=2.5")).toEqual({
      status: 0,
      stdout: `payments: maxConcurrentCalls=5 timeoutSeconds=2.5, by ${BY}\n`,
      stderr: "",
    });
    const { version, settings, readAt: _, ...after } = await storage.load("payments");
    expect(before).toMatchObject(after);
    expect(version).toBeGreaterThan(before.version);
    expect(settings).toEqual({
      ...NOTHING,
      values: { maxConcurrentCalls: 5, timeoutSeconds: 2.5 },
    });
  });

  it("adds to what was set, until the same time, unless it is given another one", async () => {
    await set("maxConcurrentCalls=5", "--for", "1h", "--reason", "a slow index");
    expect(await secondsLeft()).toBeGreaterThan(3500);
    expect(await secondsLeft()).toBeLessThanOrEqual(3600);
    const first = await settings();
    await set("maxQueueSize=1", "maxConcurrentCalls=6");
    expect(await settings()).toEqual({
      ...first,
      values: { maxConcurrentCalls: 6, maxQueueSize: 1 },
    });
    await set("maxQueueSize=2", "--for", "2h", "--reason", "still");
    expect(await secondsLeft()).toBeGreaterThan(7100);
    expect(await settings()).toMatchObject({
      values: { maxConcurrentCalls: 6, maxQueueSize: 2 },
      reason: "still",
    });
  });

  it("adds nothing to what is over", async () => {
    const old = `'{"values": {"maxQueueSize": 9}, "until": "2020-01-01", "reason": "old"}'`;
    await commandLine.database.edit("payments", `settings = ${old}`);
    await set("maxConcurrentCalls=5");
    expect(await settings()).toEqual({ ...NOTHING, values: { maxConcurrentCalls: 5 } });
  });

  it.each<[string, unknown]>([
    ["timeoutSeconds=null", { timeoutSeconds: null }],
    ["failureThreshold=null", { failureThreshold: null }],
    ["reclaimAfterSeconds=0", { reclaimAfterSeconds: 0 }],
    ["failureRateThreshold=12.5", { failureRateThreshold: 12.5 }],
    ["isolationDuration=60", { isolationDuration: 60 }],
    [
      'isolationDuration={"min": 1, "max": 60}',
      { isolationDuration: { min: 1, max: 60, factor: 2 } },
    ],
  ])("accepts %s", async (field, values) => {
    expect(await set(field)).toMatchObject({ status: 0, stderr: "" });
    expect((await settings())?.values).toEqual(values);
  });

  it.each<[string, string]>([
    ["maxConcurrentCalls=0", "maxConcurrentCalls must be an integer of at least 1; got 0"],
    ["maxConcurrentCalls=1.5", "maxConcurrentCalls must be an integer of at least 1; got 1.5"],
    ["maxConcurrentCalls=five", "maxConcurrentCalls must be an integer of at least 1; got 'five'"],
    ["maxConcurrentCalls=null", "maxConcurrentCalls must be an integer of at least 1; got null"],
    ["maxConcurrentCalls=", "maxConcurrentCalls must be an integer of at least 1; got ''"],
    [
      "timeoutSeconds=-1",
      "timeoutSeconds must be a number of seconds over 0 and up to 2147483.647, or null; got -1",
    ],
    [
      'isolationDuration={"min": 5, "max": 1}',
      "isolationDuration.max must be at least isolationDuration.min, which is 5; got 1",
    ],
    [
      'isolationDuration={"min": 5}',
      "isolationDuration.max must be a number of seconds over 0 and up to 2147483.647; got undefined",
    ],
    [
      "maxConcurrentCall=5",
      'there is no field "maxConcurrentCall"; did you mean "maxConcurrentCalls"?',
    ],
    ["timeout=5000", 'there is no field "timeout"; did you mean "timeoutSeconds", in seconds?'],
    ["__proto__=5", 'there is no field "__proto__"; did you mean'],
    ["name=x", "name of a running bulkhead cannot be changed"],
    [
      "circuitBreakerEnabled=false",
      "circuitBreakerEnabled of a running bulkhead cannot be changed",
    ],
    ["healthCheck=1", "healthCheck of a running bulkhead cannot be changed"],
  ])("rejects %s, and names the field, the rule and the value", async (field, reason) => {
    const { version } = await storage.load("payments");
    const ended = await set("maxQueueSize=1", field);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toMatch(/^bulkman set: .*; see bulkman set --help\n$/);
    expect(ended.stderr).toContain(reason);
    expect((await storage.load("payments")).version).toBe(version);
  });

  it.each<[string, string[], RegExp]>([
    ["no field", ["payments"], /FIELD=VALUE is missing/],
    ["no name", ["maxQueueSize=1"], /NAME is missing/],
    [
      "a field twice",
      ["payments", "maxQueueSize=1", "maxQueueSize=2"],
      /maxQueueSize is given twice/,
    ],
    ["a wrong time", ["payments", "maxQueueSize=1", "--for", "1"], /--for must be/],
    ["an empty reason", ["payments", "maxQueueSize=1", "--reason", ""], /--reason must have/],
  ])("rejects %s", async (_, args, reason) => {
    const ended = await commandLine.run(["set", ...args], { RC_DB_HOST: "nowhere.invalid" });
    expect(ended).toMatchObject({ status: 2, stdout: "", stderr: expect.stringMatching(reason) });
  });

  it("takes a first name that contains =", async () => {
    await storage.load("a=b");
    expect(await commandLine.run(["set", "a=b", "maxQueueSize=1"])).toMatchObject({ status: 0 });
    expect(await settings("a=b")).toMatchObject({ values: { maxQueueSize: 1 } });
  });

  it("creates no circuit", async () => {
    const ended = await commandLine.run(["set", "search", "maxQueueSize=1"]);
    expect(ended).toMatchObject({ status: 1, stdout: "" });
    expect(ended.stderr).toContain('there is no circuit "search" in the namespace "default"');
    expect(await storage.getState("search")).toBeNull();
  });

  it("wins against processes that change the circuit at the same time, and against another operator", async () => {
    let { version } = await storage.load("payments");
    let isBusy = true;
    const others = (async () => {
      while (isBusy) {
        const change = { to: "OPEN", owner: "a", openSeconds: 0, failureCount: 1 } as const;
        version = (await storage.change("payments", { ...change, version })).record.version;
      }
    })();
    try {
      const both = await Promise.all([set("maxQueueSize=1"), set("maxConcurrentCalls=2")]);
      for (const ended of both) expect(ended).toMatchObject({ status: 0, stderr: "" });
    } finally {
      isBusy = false;
      await others;
    }
    expect((await settings())?.values).toEqual({ maxQueueSize: 1, maxConcurrentCalls: 2 });
  });
});

describe("bulkman unset", () => {
  it("removes one field, and keeps the rest with its end and its reason", async () => {
    await set("maxConcurrentCalls=5", "maxQueueSize=1", "--for", "1h", "--reason", "why");
    const before = await settings();
    const { stdout } = await unset("maxQueueSize");
    expect(stdout).toMatch(/^payments: maxConcurrentCalls=5 until .*, by .*: why\n$/);
    expect(await settings()).toEqual({ ...before, values: { maxConcurrentCalls: 5 } });
    expect((await unset("maxConcurrentCalls")).stdout).toBe("payments: nothing is set any more\n");
    expect(await settings()).toBeNull();
  });

  it("removes all that was set, also when it is over", async () => {
    await set("maxConcurrentCalls=5", "maxQueueSize=1");
    expect((await unset()).stdout).toBe("payments: nothing is set any more\n");
    expect(await settings()).toBeNull();
    const old = `'{"values": {"maxQueueSize": 9}, "until": "2020-01-01"}'`;
    await commandLine.database.edit("payments", `settings = ${old}`);
    await unset();
    expect(await settings()).toBeNull();
  });

  it("changes nothing when the field was not set", async () => {
    const { version } = await storage.load("payments");
    expect((await unset()).stdout).toBe("payments: nothing was set\n");
    expect((await storage.load("payments")).version).toBe(version);
    await set("maxQueueSize=1");
    const before = await storage.load("payments");
    expect((await unset("timeoutSeconds")).stdout).toBe(`payments: maxQueueSize=1, by ${BY}\n`);
    expect((await storage.load("payments")).version).toBe(before.version);
  });
});

it("sets every field of the configuration that can change", () => {
  expect(FIELDS).toContain("maxConcurrentCalls");
  expect(FIELDS).not.toContain("name");
  expect(FIELDS.length).toBeGreaterThanOrEqual(16);
});
