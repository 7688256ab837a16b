// Several processes, one circuit, in Postgres. Needs RC_DB_HOST (and RC_DB_PORT,
// RC_DB_NAME, RC_DB_USER, RC_DB_PASSWORD when they are not the usual ones).
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Bulkhead, createStorage } from "bulkman";

async function payments() {
  const storage = createStorage({ namespace: "shop" });
  const config = { name: "payments", failureThreshold: 3, isolationDuration: 60 };
  const bulkhead = new Bulkhead(config, { circuitStorage: storage });
  await bulkhead.ready();
  return { bulkhead, close: () => bulkhead.shutdown().then(() => storage.close()) };
}

// Only this process finds out that the provider of payments is down.
async function parent() {
  const children = [1, 2].map((number) => fork(import.meta.filename, [String(number)]));
  const ended = children.map((child) => once(child, "exit"));
  await Promise.all(children.map((child) => once(child, "message"))); // all are ready
  const { bulkhead, close } = await payments();
  bulkhead.on("stateChange", ({ to, reason }) => console.log(`parent: ${to}: ${reason}`));
  for (let i = 0; i < 3; i++) await bulkhead.execute(() => Promise.reject(new Error("down")));
  await Promise.all(ended);
  await close();
}

/** Pays again and again, with success, until it is rejected. */
async function child(number) {
  const { bulkhead, close } = await payments();
  process.send("ready");
  try {
    while (true) await bulkhead.execute(sleep, 10);
  } catch (error) {
    console.log(`child ${number}: ${error.code}`);
  }
  await close();
  process.disconnect();
}

const [number] = process.argv.slice(2);
await (number === undefined ? parent() : child(number));
