// Overload, bursts, a slow and a stalled dependency, in simulated time: a fake clock makes the figures the same on
// every machine. One dependency serves whatever it is asked; ten permits bound how much that is.
import { createRequire } from "node:module";

const { install } = createRequire(import.meta.url)("@sinonjs/fake-timers");
// Before the subjects are loaded: none of them may keep a real timer.
const clock = install({ now: 0 });
const { QUICK, tell } = await import("./part.mjs");
const { LOAD_SUBJECTS, LIMIT_MS, PERMITS } = await import("./load-subjects.mjs");

const CALL_MS = 50;
const CAPACITY = (PERMITS * 1000) / CALL_MS;
/** Calls a second at `second`, and what a call takes that starts at it, without its random part. */
const SCENARIOS = [
  {
    name: "1.2 times the capacity",
    rate: () => 1.2 * CAPACITY,
  },
  {
    name: "twice the capacity",
    rate: () => 2 * CAPACITY,
  },
  {
    name: "bursts: 3 times the capacity in one second of five, a half in the others",
    rate: (second) => (second % 5 < 1 ? 3 : 0.5) * CAPACITY,
  },
  {
    name: "0.8 times the capacity; calls take four times as long for 10 s",
    rate: () => 0.8 * CAPACITY,
    slowness: (second) => (second >= 5 && second < 15 ? 4 : 1),
  },
  {
    name: "0.8 times the capacity; nothing is answered for 10 s",
    rate: () => 0.8 * CAPACITY,
    stall: { from: 5, to: 15 },
  },
];
const SECONDS = QUICK ? 2 : 30;
const STEP_MS = 5;

/** Numbers from 0 to 1 that are the same in each run: a linear congruential generator, as in Numerical Recipes. */
function randomNumbers() {
  let state = 7;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** When the calls of a scenario come, and how long each takes: the same for every subject. */
function arrivals({ rate }) {
  const random = randomNumbers();
  const calls = [];
  for (let at = 0; at < SECONDS * 1000; ) {
    at += (-Math.log(1 - random()) * 1000) / rate(at / 1000);
    calls.push({ at, ms: CALL_MS * (0.5 + random()) });
  }
  return calls;
}

/** How long a call takes that starts at `ms`. */
function durationOf(call, ms, { slowness = () => 1, stall }) {
  const isStalled = stall !== undefined && ms >= stall.from * 1000 && ms < stall.to * 1000;
  return call.ms * slowness(ms / 1000) + (isStalled ? stall.to * 1000 - ms : 0);
}

/** How many can be served in time, if each takes the mean: each starts as soon as it can, unless it would be late. */
function servable(calls, scenario) {
  const freeAt = Array.from({ length: PERMITS }, () => 0);
  let served = 0;
  for (const call of calls) {
    const permit = freeAt.indexOf(Math.min(...freeAt));
    const start = Math.max(call.at, freeAt[permit]);
    const end = start + durationOf({ ms: CALL_MS }, start, scenario);
    if (end - call.at > LIMIT_MS) continue;
    freeAt[permit] = end;
    served++;
  }
  return served;
}

async function take(create, scenario, calls) {
  const begin = clock.now;
  const now = () => clock.now - begin;
  const latencies = [];
  let running = 0;
  let mostAtOnce = 0;
  let inVain = 0;
  const { call, opened } = create();
  const send = async (each) => {
    let isAnswered = false;
    let isStarted = false;
    const work = async () => {
      isStarted = true;
      running++;
      mostAtOnce = Math.max(mostAtOnce, running);
      await new Promise((resolve) => setTimeout(resolve, durationOf(each, now(), scenario)));
      running--;
      if (isAnswered) inVain++;
    };
    try {
      await call(work);
      const latency = now() - each.at;
      if (latency <= LIMIT_MS + STEP_MS) latencies.push(latency);
      else inVain++;
    } catch {
      isAnswered = isStarted;
    }
  };
  let next = 0;
  for (let ms = 0; ms < (SECONDS + 20) * 1000; ms += STEP_MS) {
    while (next < calls.length && calls[next].at <= now()) void send(calls[next++]);
    await clock.tickAsync(STEP_MS);
  }
  latencies.sort((a, b) => a - b);
  const quantile = (share) =>
    Math.round(latencies[Math.floor((latencies.length - 1) * share)] ?? 0);
  return {
    served: latencies.length,
    p50: quantile(0.5),
    p99: quantile(0.99),
    opened: opened(),
    inVain,
    mostAtOnce,
  };
}

const results = [];
for (const scenario of SCENARIOS) {
  const calls = arrivals(scenario);
  const subjects = [];
  for (const [name, create] of Object.entries(LOAD_SUBJECTS)) {
    subjects.push({ name, ...(await take(create, scenario, calls)) });
  }
  results.push({
    name: scenario.name,
    calls: calls.length,
    servable: servable(calls, scenario),
    subjects,
  });
}
clock.uninstall();
await tell({
  seconds: SECONDS,
  permits: PERMITS,
  limitMs: LIMIT_MS,
  callMs: CALL_MS,
  scenarios: results,
});
