// One process of the fleet: a service whose bulkheads share their circuits, and the fleet's limit, with those of the
// other processes through Postgres.
import { once } from "node:events";
import { createServer } from "node:net";
import { Bulkhead, PostgresStorage } from "bulkman";
import { serve, settings, tellParent } from "./child.mjs";
import { machineTime } from "./clock.mjs";
import { answerWith, askDependency, askThrough } from "./http.mjs";

const { process: name, dependency, upstream, database, healthy, limited } = settings;

// Each process stands for a host of its own, because openQuorum counts hosts.
const circuitStorage = new PostgresStorage({ connectionString: database, host: `host-${name}` });
const bulkhead = new Bulkhead({ name: dependency, ...settings.bulkhead }, { circuitStorage });
const healthyBulkhead = new Bulkhead(
  { name: healthy.name, ...healthy.bulkhead },
  { circuitStorage },
);
const limitedBulkhead = new Bulkhead(
  { name: limited.name, ...limited.bulkhead },
  { circuitStorage },
);

/**
 * A change of this process's circuit, by the machine's clock: when it took effect; when a call of this
 * process had settled last (the cause, in the process that decided the change); and what became of a
 * call that was made at once: when it was let through, or when it was refused.
 * @typedef {object} Change
 * @property {import("bulkman").CircuitStatus} to
 * @property {number} at
 * @property {number} [settledAt]
 * @property {number} [letThroughAt]
 * @property {number} [refusedAt]
 */
/** @type {Change[]} */
const changes = [];
let settledAt;
let sent = 0;

/** The upstream is told who asks, so that it can say later who probed. */
async function ask({ signal }) {
  sent++;
  try {
    return await askDependency(dependency, `${upstream}/${name}`, { signal });
  } finally {
    settledAt = machineTime();
  }
}

async function tryAtOnce(change) {
  try {
    await bulkhead.run((context) => {
      change.letThroughAt = machineTime();
      return ask(context);
    });
  } catch {
    change.refusedAt = machineTime();
  }
}

/** Where this process calls the healthy dependency: a wrong address once it has gone mad. */
let healthyUrl = healthy.url;

const routes = {
  [`/${dependency}`]: () => askThrough(bulkhead, ask),
  [`/${healthy.name}`]: () =>
    askThrough(healthyBulkhead, ({ signal }) =>
      askDependency(healthy.name, healthyUrl, { signal }),
    ),
  [`/${limited.name}`]: () =>
    askThrough(limitedBulkhead, ({ signal }) =>
      askDependency(limited.name, limited.url, { signal }),
    ),
};

/** An address where nothing listens: that of a server that has just been closed. */
async function deadUrl() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}`;
}

function report() {
  const { limit } = limitedBulkhead.getStats().fleet;
  tellParent({
    stats: bulkhead.getStats(),
    sent,
    changes,
    isMad: healthyUrl !== healthy.url,
    limit,
  });
}

bulkhead.on("stateChange", ({ to }) => {
  const change = { to, at: machineTime(), settledAt };
  changes.push(change);
  report();
  // While the circuit is half-open, a call would be a probe: nothing is to be tried then.
  if (to !== "HALF_OPEN") void tryAtOnce(change);
});
const bulkheads = [bulkhead, healthyBulkhead, limitedBulkhead];
for (const one of bulkheads) {
  one.on("storageError", (error) => console.error(`process ${name}: ${error.message}`));
}
process.on("message", async () => {
  healthyUrl = await deadUrl();
});

await Promise.all(bulkheads.map((one) => one.ready()));
await serve((request, response) => {
  const route = Object.hasOwn(routes, request.url) ? routes[request.url] : undefined;
  if (route === undefined) response.writeHead(404).end();
  else answerWith(response, route);
});
setInterval(report, 40);
