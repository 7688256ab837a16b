import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { join } from "./member.js";

let database: TestDatabase;
let role = "";
let name = "";
let tests = 0;
const leaves: Array<() => Promise<void>> = [];

beforeAll(async () => {
  database = await createDatabase();
  role = `guest_${database.name}`;
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
});
beforeEach(() => {
  name = `api ${tests++}`;
});
afterEach(async () => {
  await Promise.all(leaves.splice(0).map((leave) => leave()));
});
afterAll(async () => {
  await database.query(`DROP ROLE ${role}`);
  await database.drop();
});

async function fleet() {
  const connection = { connectionString: database.url, queryTimeoutSeconds: 5 };
  return Promise.all(
    [1, 2, 3].map(async () => {
      const { bulkhead, status, troubles, leave } = await join({ name }, connection);
      leaves.push(leave);
      const seen: string[] = [];
      bulkhead.on("stateChange", ({ to }) => seen.push(to));
      return { seen, status, troubles };
    }),
  );
}

/** Sends a notice as a role that may do nothing but connect. */
async function forge(record: object): Promise<void> {
  const pool = database.pool({
    connectionString: database.urlFor({ user: role, password: "x" }),
    max: 1,
  });
  const denied = pool.query("SELECT FROM rc_circuit_breakers");
  await expect(denied).rejects.toThrow("permission denied");
  await pool.query("SELECT pg_notify('bulkman_circuits', $1)", [
    JSON.stringify({ schema: "public", namespace: "default", name, record }),
  ]);
  await pool.end();
}

function forged(fields: object) {
  const at = Date.now();
  return {
    ...{ failureCount: 0, openUntil: null, openedBy: null, reason: null, probeOwner: null },
    ...{ probeUntil: null, probeSuccesses: 0, updatedAt: at, readAt: at },
    ...fields,
  };
}

describe("a notice of a role that may only connect", () => {
  it.each([
    ["far ahead of every clock", () => Number.MAX_SAFE_INTEGER],
    ["a little ahead of the database's clock", () => (Date.now() + 1_000_000) * 1000],
  ])("cuts nothing off for longer than a moment: its version is %s", async (_, version) => {
    const all = await fleet();
    await forge(forged({ state: "OPEN", openUntil: Date.now() + 1e12, version: version() }));
    await eventually(() => all.every(({ seen }) => seen[0] === "OPEN"));
    await eventually(() => all.every(({ status }) => status() === "CLOSED"));
    for (const state of ["OPEN", "CLOSED", "OPEN"]) {
      await database.edit(name, `state = '${state}', open_until = now() + '1 h'`);
      await eventually(() => all.every(({ status }) => status() === state));
    }
    for (const { troubles } of all) expect(troubles).toEqual([]);
  });

  it("admits calls for a moment at most while the circuit is open", async () => {
    const all = await fleet();
    await database.edit(name, "state = 'OPEN', open_until = now() + '1 h'");
    await eventually(() => all.every(({ status }) => status() === "OPEN"));
    await forge(forged({ state: "CLOSED", version: Number.MAX_SAFE_INTEGER }));
    await eventually(() => all.every(({ seen }) => seen.includes("CLOSED")));
    await eventually(() => all.every(({ status }) => status() === "OPEN"));
    await database.edit(name, "state = 'CLOSED'");
    await eventually(() => all.every(({ status }) => status() === "CLOSED"));
  });
});
