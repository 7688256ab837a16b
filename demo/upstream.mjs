// A dependency of the service, in a process of its own: a real HTTP server that can be made ill.
import { serve, settings, tellParent } from "./child.mjs";
import { machineTime } from "./clock.mjs";
import { seededRandom } from "./random.mjs";

const { name, seed, latency } = settings;
const random = seededRandom(seed);

/** @type {import("./plan.mjs").Mode} */
let mode = "healthy";
/** How many requests arrived in each mode. */
const received = { healthy: 0, hangs: 0, fails: 0 };
/** When each request arrived, and what it asked for. */
const arrivals = [];
/** Requests that it works on: now, and the most at any instant. A client that goes away does not end the work. */
const open = { now: 0, most: 0 };

process.on("message", (message) => {
  mode = message.mode;
  tellParent({ received, arrivals, mostOpen: open.most });
});

await serve((request, response) => {
  received[mode]++;
  arrivals.push({ at: machineTime(), path: request.url });
  // As a server behind a dead lock or a lost database: it takes the request and never answers.
  if (mode === "hangs") return;
  const status = mode === "fails" ? 500 : 200;
  const milliseconds = latency.least + (latency.most - latency.least) * random();
  open.now++;
  open.most = Math.max(open.most, open.now);
  setTimeout(() => {
    open.now--;
    response.writeHead(status).end(`${name}\n`);
  }, milliseconds);
});
