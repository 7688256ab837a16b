// The service: an HTTP server that answers each request with one call to a dependency, by a fetch that is either bare
// or guarded by a dispatcher. Nothing else differs between the two.
import { BulkheadManager } from "bulkman";
import { guardDispatcher } from "bulkman/undici";
import pLimit from "p-limit";
import { serve, settings, tellParent } from "./child.mjs";
import { answerWith, askDependency } from "./http.mjs";

const { style, upstreams, timeoutSeconds, requestsAtOnce } = settings;
const names = Object.keys(upstreams);

/**
 * How the sick dependency hurts the healthy one, in both runs: a service works on a limited number of
 * requests at once, whatever they are for, and the others wait in line, first in first out. It is what
 * HAProxy's `maxconn` for a server or the concurrency of a Cloud Run instance do before the service, and
 * what a pool of database connections, of threads or of worker processes does inside it. A request that
 * waits for a dependency holds its place. (Without any such limit Node would hardly delay the healthy
 * one at this load; the calls to the sick one would pile up instead, as many as arrive in a time limit.)
 */
const places = pLimit(requestsAtOnce);

const manager = new BulkheadManager();
/** The whole protection: one bulkhead for each dependency, in front of every fetch that uses it. */
const dispatcher = guardDispatcher({
  manager,
  defaults: { timeoutSeconds, ...settings.bulkhead },
  origins: Object.fromEntries(names.map((name) => [upstreams[name], { name }])),
});

const styles = {
  bare: (name) => counted(name, { signal: AbortSignal.timeout(timeoutSeconds * 1000) }),
  bulkhead: (name) => counted(name, { dispatcher }),
};

/**
 * Calls to each dependency: under way now, and the most at any instant. Counted here, since the other
 * side learns only some milliseconds later that a call was broken off.
 */
const gauges = Object.fromEntries(names.map((name) => [name, { asked: 0, inFlight: 0, most: 0 }]));

/** One call to a dependency, the same in both runs. */
async function counted(name, options) {
  gauges[name].asked++;
  look(name);
  try {
    return await askDependency(name, upstreams[name], options);
  } finally {
    gauges[name].asked--;
    look(name);
  }
}

/** What is under way: all that is asked for, less what waits in the bulkhead. Changes with a call's start and its end. */
function look(name) {
  const gauge = gauges[name];
  setImmediate(() => {
    const queued = manager.getBulkhead(name)?.getStats().queuedTasks ?? 0;
    gauge.inFlight = gauge.asked - queued;
    gauge.most = Math.max(gauge.most, gauge.inFlight);
  });
}

const call = styles[style];

async function answer(name, response) {
  // The client gave up while the request waited: nobody is there to work for.
  if (!response.closed) await answerWith(response, () => call(name));
}

function report() {
  const stats = Array.from(manager, (bulkhead) => bulkhead.getStats());
  tellParent({
    gauges,
    waiting: stats.reduce((sum, { queuedTasks }) => sum + queuedTasks, places.pendingCount),
    circuit: style === "bare" ? null : circuitOf(settings.sick),
  });
}

/** A bulkhead is made for the first request. */
function circuitOf(name) {
  return manager.getBulkhead(name)?.getStats().circuitStatus ?? "CLOSED";
}

await serve((request, response) => {
  const name = request.url?.slice(1) ?? "";
  if (Object.hasOwn(upstreams, name)) places(() => answer(name, response));
  else response.writeHead(404).end();
});
setInterval(report, 100);
