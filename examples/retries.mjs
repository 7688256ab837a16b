// Retries belong around a bulkhead. Inside, a call keeps its permit while it only waits to try again,
// and the circuit sees one failure where there were three.
import { Bulkhead, withBulkhead } from "bulkman";
import pRetry from "p-retry";

const PAUSES = { retries: 2, minTimeout: 50, factor: 2 };

// Stands for a dependency that is down.
async function order() {
  throw new Error("connection reset");
}

/** Orders, and looks at the bulkhead in the pause before each new attempt. */
async function watch(where, bulkhead, start) {
  const held = [];
  const look = () => setTimeout(() => held.push(bulkhead.getStats().activeTasks), 10);
  await start({ ...PAUSES, onFailedAttempt: look }).catch((error) => error);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const { failedExecutions, circuitStatus } = bulkhead.getStats();
  const pauses = held.slice(0, PAUSES.retries).join(", ");
  console.log(`${where}: permits held in the pauses: ${pauses}`);
  console.log(`${where}: failures seen: ${failedExecutions}, circuit: ${circuitStatus}`);
}

const outside = new Bulkhead({ name: "outside", failureThreshold: 3 });
const guardedOrder = withBulkhead(outside)(order);

/** Not worth it while the circuit is open: the answer is known, and the wait is longer. */
const isWorthIt = ({ error }) => error.code !== "ERR_BULKHEAD_CIRCUIT_OPEN";

await watch("outside", outside, (options) =>
  pRetry(guardedOrder, { ...options, shouldRetry: isWorthIt }),
);

let attempts = 0;
const again = pRetry(() => guardedOrder(attempts++), { ...PAUSES, shouldRetry: isWorthIt });
await again.catch((error) => console.log(`open circuit: ${error.code}, attempts: ${attempts}`));

const inside = new Bulkhead({ name: "inside", failureThreshold: 3 });
await watch("inside", inside, (options) => inside.execute(() => pRetry(order, options)));
