import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CircuitChange } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { join } from "./member.js";

let database: TestDatabase;
let name = "";
let tests = 0;
const leaves: Array<() => Promise<void>> = [];
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(() => {
  name = `api ${tests++}`;
});
afterEach(async () => {
  await Promise.all(leaves.splice(0).map((leave) => leave()));
  await database.closeStorages();
});
afterAll(() => database.drop());

/** What setting the clock of the database back does to a row: all times in it move ahead of the clock. */
function setBack(interval: string): Promise<unknown> {
  const moved = ["updated_at", "open_until", "probe_until"]
    .map((column) => `${column} = ${column} + interval '${interval}'`)
    .join(", ");
  return database.query(
    `BEGIN; SET LOCAL session_replication_role = replica;
     UPDATE rc_circuit_breakers SET ${moved} WHERE resource_key = '${name}'; COMMIT`,
  );
}

async function member() {
  const connection = { connectionString: database.url, queryTimeoutSeconds: 5 };
  const joined = await join({ name, isolationDuration: 0.3 }, connection);
  leaves.push(joined.leave);
  return joined;
}

describe("a database whose clock was set back by an hour", () => {
  async function open(owner: string) {
    const storage = database.storage();
    const { version } = await storage.load(name);
    const change = { to: "OPEN", version, owner, openSeconds: 60, failureCount: 1 } as const;
    return { storage, record: (await storage.change(name, change)).record };
  }
  const claim = (version: number, owner: string): CircuitChange => {
    return { to: "HALF_OPEN", version, owner };
  };

  it("grants the lease to who asks for it after the isolation, and then to the next prober", async () => {
    const { storage, record } = await open("a");
    await setBack("1 hour");
    const first = await storage.change(name, claim(record.version, "a"));
    expect(first).toMatchObject({ changed: true, record: { state: "HALF_OPEN", probeOwner: "a" } });
    const early = await storage.change(name, claim(first.record.version, "b"));
    expect(early.changed).toBe(false);
    await setBack("1 hour");
    const second = await storage.change(name, claim(first.record.version, "b"));
    expect(second).toMatchObject({ changed: true, record: { probeOwner: "b" } });
  });

  it("ends no isolation early that a person gave a reason for", async () => {
    const { storage, record } = await open("a");
    const given = { owner: "a", openSeconds: 60, failureCount: 0, byHand: true, reason: "moving" };
    const change = { to: "OPEN", version: record.version, ...given } as const;
    const { version } = (await storage.change(name, change)).record;
    await setBack("1 hour");
    const early = { ...claim(version, "b"), early: true } as const;
    expect((await storage.change(name, early)).changed).toBe(false);
  });

  it("grants no lease within an isolation that began before that hour", async () => {
    const { storage, record } = await open("a");
    await setBack("-10 seconds");
    expect((await storage.change(name, claim(record.version, "b"))).changed).toBe(false);
  });

  it("holds no process back, neither the one that opened the circuit nor a new one", async () => {
    const opener = await member();
    await failCalls(opener.bulkhead, 2);
    await eventually(async () => (await opener.storage.getState(name))?.state === "OPEN");
    await setBack("1 hour");
    const late = await member();
    expect(late.status()).toBe("OPEN");
    await eventually(() => late.bulkhead.execute(() => "up").catch(() => undefined));
    await eventually(() => opener.status() === "CLOSED" && late.status() === "CLOSED");
    await opener.bulkhead.execute(() => "up");
  });

  it("holds back no process that has opened the circuit itself", async () => {
    const { storage, bulkhead, status } = await member();
    await failCalls(bulkhead, 2);
    await eventually(async () => (await storage.getState(name))?.state === "OPEN");
    await setBack("1 hour");
    await eventually(() => bulkhead.execute(() => "up").catch(() => undefined));
    await eventually(() => status() === "CLOSED");
  });
});
