// What a guard costs a request on the loopback interface, of a bare Agent, and beside an interceptor of undici's own. The
// server is a process of its own.
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { guardDispatcher } from "bulkman/undici";
import { Agent, fetch, interceptors, request } from "undici-7";
import { inRounds, nanosecondsPerCall, ratio, summary } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const REQUESTS = QUICK ? 50 : 500;
const ROUNDS = QUICK ? 3 : 61;
const AT_ONCE = [1, 10];

/** Each reads the whole body. */
const CLIENTS = {
  fetch: async (url, dispatcher) => (await fetch(url, { dispatcher })).text(),
  request: async (url, dispatcher) => (await request(url, { dispatcher })).body.text(),
};

if (process.argv[2] === "server") serve();
else await measure();

function serve() {
  const server = createServer((_request, response) => response.end("hello"));
  server.listen(0, "127.0.0.1", () => process.send(server.address().port));
  process.on("disconnect", () => process.exit());
}

async function measure() {
  const child = fork(import.meta.filename, ["server"]);
  const [port] = await once(child, "message");
  const url = `http://127.0.0.1:${port}`;
  const dispatchers = {
    bare: new Agent(),
    retry: new Agent().compose(interceptors.retry()),
    guarded: guardDispatcher({
      dispatcher: new Agent(),
      defaults: { maxConcurrentCalls: 100, timeoutSeconds: 10 },
    }),
  };
  const clients = {};
  for (const [name, send] of Object.entries(CLIENTS)) {
    clients[name] = [];
    for (const atOnce of AT_ONCE) {
      const run = (dispatcher) => () =>
        nanosecondsPerCall(REQUESTS, () => inLanes(atOnce, () => send(url, dispatcher)));
      const subjects = Object.entries(dispatchers).map(([subject, each]) => [subject, run(each)]);
      const samples = await inRounds(Object.fromEntries(subjects), {
        rounds: ROUNDS,
        warmUps: QUICK ? 1 : 10,
      });
      clients[name].push({
        atOnce,
        bare: summary(samples.bare),
        retry: summary(samples.retry),
        guarded: summary(samples.guarded),
        ratio: ratio(samples, "guarded", "bare"),
        ratioOfRetry: ratio(samples, "retry", "bare"),
        ratioToRetry: ratio(samples, "guarded", "retry"),
      });
    }
  }
  await tell({ requests: REQUESTS, rounds: ROUNDS, clients });
  child.disconnect();
  for (const dispatcher of Object.values(dispatchers)) await dispatcher.destroy();
}

/** So many requests are under way at any time. */
async function inLanes(lanes, send) {
  const lane = async () => {
    for (let n = 0; n < REQUESTS / lanes; n++) await send();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}
