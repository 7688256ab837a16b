// One process of the fleet: the service of the first act with one dependency only, whose circuit it shares
// with the other processes through Postgres.
import { Bulkhead, PostgresStorage } from "bulkman";
import { serve, settings, tellParent } from "./child.mjs";
import { machineTime } from "./clock.mjs";
import { answerWith, askDependency, askThrough } from "./http.mjs";

const { process: name, dependency, upstream, database } = settings;

const bulkhead = new Bulkhead(
  { name: dependency, ...settings.bulkhead },
  { circuitStorage: new PostgresStorage({ connectionString: database }) },
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

function report() {
  tellParent({ stats: bulkhead.getStats(), sent, changes });
}

bulkhead.on("stateChange", ({ to }) => {
  const change = { to, at: machineTime(), settledAt };
  changes.push(change);
  report();
  // While the circuit is half-open, a call would be a probe: nothing is to be tried then.
  if (to !== "HALF_OPEN") void tryAtOnce(change);
});
bulkhead.on("storageError", (error) => console.error(`process ${name}: ${error.message}`));

await bulkhead.ready();
await serve((_request, response) => answerWith(response, () => askThrough(bulkhead, ask)));
setInterval(report, 40);
