// CPU-bound work in a pool of threads, behind a bulkhead that bounds how much of it there is.
import { availableParallelism } from "node:os";
import { Bulkhead } from "bulkman";
import { Piscina } from "piscina";

const threads = Math.min(2, availableParallelism());
const pool = new Piscina({
  filename: new URL("./cpu-bound-worker.mjs", import.meta.url).href,
  name: "countPrimes",
  minThreads: threads,
  maxThreads: threads,
});
// As many permits as threads: work waits in the bulkhead's queue, where the time limit covers it.
const primes = new Bulkhead({
  name: "primes",
  maxConcurrentCalls: threads,
  maxQueueSize: 4,
  timeoutSeconds: 30,
});

// When the time is up, piscina ends the thread, and with it the work; then the permit comes back.
const countPrimes = (below, options) =>
  primes.run(({ signal }) => pool.run(below, { signal }), options);

let turns = 0;
const eventLoop = setInterval(() => turns++, 5);
const counted = await Promise.all([100_000, 200_000, 300_000].map((n) => countPrimes(n)));
console.log("primes:", counted.map(({ result }) => result).join(", "));
console.log("the event loop went on:", turns > 0);
clearInterval(eventLoop);

const endless = countPrimes(Number.POSITIVE_INFINITY, { timeoutSeconds: 0.2 });
await endless.catch((error) => console.log("endless:", error.code));

const burst = Array.from({ length: 10 }, () => countPrimes(10));
const refused = (await Promise.allSettled(burst)).filter(({ status }) => status === "rejected");
console.log("of 10 at once were refused:", refused.length);

await primes.shutdown({ drainSeconds: 5 });
console.log("still running:", primes.getStats().abandonedTasks);
await pool.destroy();
