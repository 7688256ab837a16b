// The clients: an open loop. Requests arrive when they arrive, whether or not earlier ones were answered,
// as they do from independent clients. (A closed loop, in which each client waits for its answer before
// it asks again, would send less the slower the service gets, and so hide what is to be shown.)
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "./random.mjs";

/** @typedef {{ at: number, name: string }} Arrival milliseconds after the start, and what is asked for */
/** @typedef {"succeeded" | "refused" | "failed" | "gaveUp"} Outcome */
/** @typedef {{ name: string, dueAt: number }} Sent a request on its way, and when it should have left */

/**
 * Arrivals at a fixed rate, each independent of the others: a Poisson process.
 * @param {{ seed: number, seconds: number, arrivalsPerSecond: number }} plan
 * @param {string[]} names asked for with equal chances
 * @returns {Arrival[]}
 */
export function makeArrivals({ seed, seconds, arrivalsPerSecond }, names) {
  const random = seededRandom(seed);
  const arrivals = [];
  let at = 0;
  while (true) {
    at += (-Math.log(1 - random()) / arrivalsPerSecond) * 1000;
    if (at >= seconds * 1000) return arrivals;
    arrivals.push({ at, name: names[Math.floor(random() * names.length)] });
  }
}

/**
 * Sends each request at its time. Resolves when the last one is answered or given up.
 * @param {Arrival[]} arrivals
 * @param {{ url: string, patienceMs: number, signal: AbortSignal }} options
 * @param {import("./recording.mjs").Recording} recording
 */
export async function applyLoad(arrivals, { url, patienceMs, signal }, recording) {
  const requests = [];
  for (const { at, name } of arrivals) {
    const request = { name, dueAt: recording.startedAt + at };
    const wait = request.dueAt - performance.now();
    if (wait > 0) await sleep(wait, undefined, { signal });
    recording.sent(request);
    requests.push(
      ask(`${url}/${name}`, patienceMs).then((outcome) => recording.answered(request, outcome)),
    );
  }
  await Promise.all(requests);
}

/**
 * One request.
 * @param {string} url
 * @param {number} patienceMs
 * @returns {Promise<Outcome>} never rejected
 */
export async function ask(url, patienceMs) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(patienceMs) });
    await response.text();
    if (response.ok) return "succeeded";
    return response.status === 503 ? "refused" : "failed";
  } catch (error) {
    return error.name === "TimeoutError" ? "gaveUp" : "failed";
  }
}
