import type { Pool } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { guardPool } from "../../examples/guard-pool.mjs";
import { Bulkhead, BulkheadFullError, BulkheadTimeoutError } from "../../src/index.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

/** The plain pool, and the guarded one. */
let pool: Pool;
let bulkhead: Bulkhead;
let guarded: Pool;

function guard(config: { maxQueueSize?: number; timeoutSeconds?: number }): void {
  bulkhead = new Bulkhead({
    name: "database",
    maxConcurrentCalls: 2,
    failureThreshold: 1,
    ...config,
  });
  guarded = guardPool(pool, bulkhead);
}

beforeEach(() => {
  pool = database.pool({ max: 2 });
  guard({ maxQueueSize: 0 });
});
afterEach(() => pool.end());

describe("query() of a guarded pool", () => {
  it("takes one permit, and resolves with the rows", async () => {
    const { rows } = await guarded.query("SELECT $1::int AS n", [7]);
    expect(rows).toEqual([{ n: 7 }]);
    expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 1, successfulExecutions: 1 });
  });

  it("rejects with the error of Postgres itself, and moves the circuit", async () => {
    await expect(guarded.query("SELECT 1 / 0")).rejects.toMatchObject({ code: "22012" });
    expect(bulkhead.getStats().circuitStatus).toBe("OPEN");
  });
});

describe("connect() of a guarded pool", () => {
  it("holds a permit from the wait for a client until its release", async () => {
    const client = await guarded.connect();
    const other = await guarded.connect();
    await expect(guarded.connect()).rejects.toBeInstanceOf(BulkheadFullError);
    await expect(guarded.query("SELECT 1")).rejects.toBeInstanceOf(BulkheadFullError);
    expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);

    client.release();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, successfulExecutions: 1 });
    const again = await guarded.connect();
    for (const each of [other, again]) each.release();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, successfulExecutions: 3 });
    expect(pool).toMatchObject({ totalCount: 2, idleCount: 2, waitingCount: 0 });
  });

  it("counts a failure when the client is released with an error", async () => {
    const client = await guarded.connect();
    client.release(new Error("broken"));
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 1, circuitStatus: "OPEN" });
    await vi.waitUntil(() => pool.totalCount === 0);
  });

  it("gives the permit back once when the client is released twice, which pg rejects", async () => {
    const client = await guarded.connect();
    client.release();
    expect(() => client.release()).toThrow();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, totalExecutions: 1 });
  });

  it("rejects with the error of connecting, and counts it", async () => {
    const unreachable = database.pool({ user: "nobody_of_that_name", connectionString: undefined });
    guarded = guardPool(unreachable, bulkhead);
    await expect(guarded.connect()).rejects.toThrow();
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, circuitStatus: "OPEN" });
    await unreachable.end();
  });

  it("releases a client that comes late, and gives its permit back then", async () => {
    guard({ timeoutSeconds: 0.05 });
    const held = [await pool.connect(), await pool.connect()];
    await expect(guarded.connect()).rejects.toBeInstanceOf(BulkheadTimeoutError);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, abandonedTasks: 1 });
    expect(pool.waitingCount).toBe(1);

    for (const client of held) client.release();
    await bulkhead.idle();
    expect(bulkhead.getStats()).toMatchObject({ abandonedTasks: 0, failedExecutions: 1 });
    expect(pool).toMatchObject({ totalCount: 2, idleCount: 2, waitingCount: 0 });
  });

  it("has no time limit any more when the client is there", async () => {
    guard({ timeoutSeconds: 5 });
    await guarded.query("SELECT 1"); // so that a client is idle
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    try {
      const client = await guarded.connect();
      await vi.advanceTimersByTimeAsync(60_000);
      expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, abandonedTasks: 0 });
      client.release();
    } finally {
      vi.useRealTimers();
    }
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 0, successfulExecutions: 2 });
  });
});

it("a guarded pool is the pool in everything else", async () => {
  const listener = vi.fn();
  guarded.on("connect", listener);
  await guarded.query("SELECT 1");
  expect(listener).toHaveBeenCalledTimes(1);
  expect(guarded.totalCount).toBe(1);
  expect(guarded.ended).toBe(false);
});
