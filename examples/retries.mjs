// Retries belong around a bulkhead. Inside, a call keeps its permit while it only waits to try again,
// and the circuit sees one failure where there were three.
import { setTimeout as sleep } from "node:timers/promises";
import { Bulkhead, withBulkhead } from "bulkman";
import pRetry from "p-retry";

const PAUSES = { retries: 2, minTimeout: 50, factor: 2 };

// Stands for a dependency that is down.
async function order() {
  throw new Error("connection reset");
}

const outside = new Bulkhead({ name: "outside", failureThreshold: 3 });
const guardedOrder = withBulkhead(outside)(order);

function orderWithRetries(options) {
  return pRetry(() => guardedOrder(), {
    ...PAUSES,
    // While the circuit is open the answer is known, and another one is further away than the pauses.
    shouldRetry: ({ error }) => error.code !== "ERR_BULKHEAD_CIRCUIT_OPEN",
    ...options,
  });
}

// What not to do, to compare.
const inside = new Bulkhead({ name: "inside", failureThreshold: 3 });

function retriesInside(options) {
  return inside.execute(() => pRetry(order, { ...PAUSES, ...options }));
}

/** Orders, and looks at the bulkhead in each pause. */
async function watch(bulkhead, start) {
  const held = [];
  const look = () => setTimeout(() => held.push(bulkhead.getStats().activeTasks), 10);
  await start({ onFailedAttempt: look }).catch(() => {});
  await sleep(20);
  const { failedExecutions, circuitStatus } = bulkhead.getStats();
  const pauses = held.slice(0, PAUSES.retries).join(", ");
  console.log(`${bulkhead.name}: permits held in the pauses: ${pauses}`);
  console.log(`${bulkhead.name}: failures seen: ${failedExecutions}, circuit: ${circuitStatus}`);
}

await watch(outside, orderWithRetries);
await watch(inside, retriesInside);

let attempts = 0;
const last = orderWithRetries({ onFailedAttempt: () => attempts++ });
await last.catch((error) => console.log(`open circuit: ${error.code}, attempts: ${attempts}`));
