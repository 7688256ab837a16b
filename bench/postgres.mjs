// What a circuit in Postgres costs a call, against one in memory: both in each round, with a real server.
import { Bulkhead, InMemoryStorage, PostgresStorage } from "bulkman";
import pg from "pg";
import { startPostgres } from "../scripts/postgres-server.mjs";
import { inRounds, nanosecondsPerCall, ratio, summary } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const CALLS = QUICK ? 1000 : 20_000;
const ROUNDS = QUICK ? 3 : 31;
const work = async () => 1;

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

const server = await startPostgres();
const pool = new pg.Pool({ connectionString: server.url });
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
  await server.remove();
}
