import { afterAll, beforeAll, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { startPair } from "./standby.js";
import { subscribe, subscribed } from "./subscriber.js";

let pair: Awaited<ReturnType<typeof startPair>>;
let database: TestDatabase;
beforeAll(async () => {
  pair = await startPair();
  database = await createDatabase(pair.primary);
}, 60_000);
afterAll(async () => {
  await database.closeStorages();
  await pair.stop();
});

it("follows a standby by polling, says so once, and receives notices when it is promoted", async () => {
  await database.storage().load("api");
  const connectionString = database.urlFor({ port: pair.standby.port });
  const pool = database.pool({ connectionString, max: 2 });
  await eventually(async () => {
    const { rows } = await pool
      .query("SELECT FROM rc_circuit_breakers")
      .catch(() => ({ rows: [] }));
    return rows.length === 1;
  });
  const storage = database.storage({ pool });
  const { heard, troubles } = await subscribed(storage, "api");
  await database.edit("api", "state = 'OPEN', open_until = now() + '5 min'");
  await eventually(() => heard.at(-1)?.state === "OPEN");
  await database.edit("api", "state = 'CLOSED'");
  await eventually(() => heard.at(-1)?.state === "CLOSED");
  const late = subscribe(storage, "api");
  await eventually(() => late.troubles.length === 1);
  const asked = { name: "api", owner: "a", limit: 10, keep: 0, leaseSeconds: 15, renewSeconds: 5 };
  const notices: unknown[] = [];
  storage.subscribeToPermits("api", (notice) => notices.push(notice));
  await expect(storage.lease([{ ...asked, sequence: 1, want: 10 }])).rejects.toMatchObject({
    name: "PostgresStorageError",
    code: "25006",
  });
  for (const reported of [troubles, late.troubles]) {
    expect(reported.map(String)).toEqual([expect.stringContaining("like a standby")]);
  }
  await pool.query("SELECT pg_promote()");
  // Each subscriber gets an error as long as no notices arrive.
  await eventually(async () => {
    const { troubles: now, unsubscribe } = subscribe(storage, "api");
    await Promise.resolve();
    unsubscribe();
    return now.length === 0;
  });
  await pool.query("UPDATE rc_circuit_breakers SET state = 'OPEN'");
  await eventually(() => heard.at(-1)?.state === "OPEN");
  await storage.lease([{ ...asked, sequence: 2, want: 10 }]);
  await storage.lease([{ ...asked, owner: "b", sequence: 1, want: 10 }]);
  await eventually(() => notices.length > 0);
  expect(troubles).toHaveLength(1);
  await storage.close();
  await pool.end();
}, 60_000);
