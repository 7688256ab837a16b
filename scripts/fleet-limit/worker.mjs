// @ts-check
// A process of the fleet: calls at a rate that it is told, and a log of what ran.
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Bulkhead, PostgresStorage } from "bulkman";

/** @type {import("./fleet.mjs").WorkerSettings} */
const { log, storage: options, config, callMs } = JSON.parse(process.env.BULKMAN_FLEET ?? "");

/** What a request to the storage is, in the log. */
class CountingStorage extends PostgresStorage {
  /** @param {Parameters<PostgresStorage["lease"]>[0]} requests */
  async lease(requests) {
    write("question", performance.now());
    return await super.lease(requests);
  }
}

/**
 * At once and not buffered: the process may be killed. Times are by the machine's monotonic clock.
 * @param {"start" | "end" | "question" | "full" | "trouble"} what
 * @param {number} value
 */
function write(what, value) {
  appendFileSync(log, `${what} ${process.hrtime.bigint()} ${value}\n`);
}

const storage = new CountingStorage(options);
const bulkhead = new Bulkhead(config, { circuitStorage: storage });
bulkhead.on("storageError", () => write("trouble", 0));

async function call() {
  const came = performance.now();
  try {
    await bulkhead.call(async () => {
      write("start", performance.now() - came);
      try {
        await sleep(callMs);
      } finally {
        write("end", 0);
      }
    });
  } catch {
    write("full", 0);
  }
}

let perSecond = 0;
let due = 0;
let before = performance.now();
const timer = setInterval(() => {
  const now = performance.now();
  // After a freeze it does not make up for the calls that it missed.
  due += (Math.min(now - before, 100) / 1000) * perSecond * (0.5 + Math.random());
  before = now;
  for (; due >= 1; due--) void call();
}, 5);

process.on("message", async (/** @type {{ perSecond?: number, end?: true }} */ message) => {
  perSecond = message.perSecond ?? 0;
  if (message.end !== true) return;
  clearInterval(timer);
  await bulkhead.shutdown({ drainSeconds: 10 });
  await storage.close();
  process.disconnect();
});
process.send?.("ready");
