// The service: an HTTP server that answers each request with one call to a dependency, either bare or
// through that dependency's bulkhead. Nothing else differs between the two.
import { Bulkhead } from "bulkman";
import pLimit from "p-limit";
import { serve, settings, tellParent } from "./child.mjs";
import { answerWith, askDependency, askThrough } from "./http.mjs";

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

/**
 * Calls to each dependency: under way now, and the most at any instant. Counted here, since the other
 * side learns only some milliseconds later that a call was broken off.
 */
const gauges = Object.fromEntries(names.map((name) => [name, { inFlight: 0, most: 0 }]));

/** One call to a dependency, the same in both runs. */
async function ask(name, signal) {
  const gauge = gauges[name];
  gauge.inFlight++;
  gauge.most = Math.max(gauge.most, gauge.inFlight);
  try {
    return await askDependency(name, upstreams[name], signal);
  } finally {
    gauge.inFlight--;
  }
}

const bulkheads = Object.fromEntries(
  names.map((name) => [name, new Bulkhead({ name, timeoutSeconds, ...settings.bulkhead })]),
);

const styles = {
  bare: (name) => ask(name, AbortSignal.timeout(timeoutSeconds * 1000)),
  bulkhead: (name) => askThrough(bulkheads[name], ({ signal }) => ask(name, signal)),
};
const call = styles[style];

async function answer(name, response) {
  // The client gave up while the request waited: nobody is there to work for.
  if (!response.closed) await answerWith(response, () => call(name));
}

function report() {
  const stats = Object.values(bulkheads).map((bulkhead) => bulkhead.getStats());
  tellParent({
    gauges,
    waiting: stats.reduce((sum, { queuedTasks }) => sum + queuedTasks, places.pendingCount),
    circuit: style === "bare" ? null : bulkheads[settings.sick].getStats().circuitStatus,
  });
}

await serve((request, response) => {
  const name = request.url?.slice(1) ?? "";
  if (Object.hasOwn(upstreams, name)) places(() => answer(name, response));
  else response.writeHead(404).end();
});
setInterval(report, 100);
