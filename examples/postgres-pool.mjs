// A pg pool behind a bulkhead. Needs a Postgres: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE.
import { Bulkhead } from "bulkman";
import pg from "pg";
import { guardPool } from "./guard-pool.mjs";

const MAX = 5;
const TIMEOUT_SECONDS = 1;

const unguarded = new pg.Pool({
  // As many as the bulkhead lets through: calls wait in the bulkhead's queue, which is bounded and
  // counted, and not in the pool's, which is neither.
  max: MAX,
  // A query cannot be aborted from here. The server ends it soon after its caller was rejected, and so
  // gives the permit back.
  statement_timeout: TIMEOUT_SECONDS * 1000 + 100,
  connectionTimeoutMillis: 2000,
});
unguarded.on("error", (error) => console.error("idle connection lost:", error.message));

const database = new Bulkhead({
  name: "database",
  maxConcurrentCalls: MAX,
  maxQueueSize: 20,
  timeoutSeconds: TIMEOUT_SECONDS,
  // The database answered; the statement or its data was wrong.
  errorFilter: (error) => /^(22|23|42)/.test(error.code),
});

const pool = guardPool(unguarded, database);

const { rows } = await pool.query("SELECT $1::int + 1 AS next", [41]);
console.log("next:", rows[0].next);

const client = await pool.connect(); // for a transaction: the permit is held until release()
try {
  await client.query("BEGIN");
  await client.query("COMMIT");
  console.log("permits held in a transaction:", database.getStats().activeTasks);
} finally {
  client.release();
}

for (let i = 0; i < 6; i++) await pool.query("SELECT 1 / 0").catch(() => {});
console.log("after 6 wrong statements the circuit is", database.getStats().circuitStatus);

const sleeps = Array.from({ length: 5 }, () => pool.query("SELECT pg_sleep(60)"));
const ends = await Promise.allSettled(sleeps);
console.log("5 slow statements:", ends[0].reason.code);
console.log("after them the circuit is", database.getStats().circuitStatus);

// The server ends the 5 statements, their permits come back.
await database.shutdown({ drainSeconds: 5 });
console.log("still running:", database.getStats().abandonedTasks);
await pool.end();
