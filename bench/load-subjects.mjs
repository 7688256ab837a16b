// What takes the load: each with ten permits, a queue of 100, a limit of half a second, and a circuit that five
// consecutive failures open for five seconds, as far as it has these.
import { Bulkhead } from "bulkman";
import {
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker,
  handleAll,
  TimeoutStrategy,
  timeout,
  wrap,
} from "cockatiel";
import pLimit from "p-limit";
import { OPOSSUM } from "./subjects.mjs";

const { default: CircuitBreaker } = await import(OPOSSUM);

export const PERMITS = 10;
export const LIMIT_MS = 500;
const QUEUE = 100;
const OPEN_MS = 5000;

/** @type {Record<string, () => { call: (fn: () => Promise<void>) => Promise<unknown>, opened: () => number }>} */
export const LOAD_SUBJECTS = {
  bulkman: () => bulkman({}),
  "bulkman, queueTargetSeconds: 0.05": () => bulkman({ queueTargetSeconds: 0.05 }),
  "cockatiel, the time limit inside": () => {
    const { breaker, opened } = cockatielBreaker();
    const policy = wrap(bulkhead(PERMITS, QUEUE), breaker, limit());
    return { call: (fn) => policy.execute(fn), opened };
  },
  "cockatiel, the time limit outside": () => {
    const { breaker, opened } = cockatielBreaker();
    const policy = wrap(limit(), bulkhead(PERMITS, QUEUE), breaker);
    return { call: (fn) => policy.execute(fn), opened };
  },
  "p-limit + opossum, by hand": () => {
    const limited = pLimit(PERMITS);
    const breaker = new CircuitBreaker((fn) => fn(), { timeout: LIMIT_MS, resetTimeout: OPEN_MS });
    let opened = 0;
    breaker.on("open", () => opened++);
    return { call: (fn) => limited(() => breaker.fire(fn)), opened: () => opened };
  },
};

function bulkman(options) {
  const subject = new Bulkhead({
    name: "load",
    maxConcurrentCalls: PERMITS,
    maxQueueSize: QUEUE,
    timeoutSeconds: LIMIT_MS / 1000,
    isolationDuration: OPEN_MS / 1000,
    ...options,
  });
  let opened = 0;
  subject.on("stateChange", ({ to }) => {
    if (to === "OPEN") opened++;
  });
  return { call: (fn) => subject.call(fn), opened: () => opened };
}

function cockatielBreaker() {
  const breaker = circuitBreaker(handleAll, {
    halfOpenAfter: OPEN_MS,
    breaker: new ConsecutiveBreaker(5),
  });
  let opened = 0;
  breaker.onBreak(() => opened++);
  return { breaker, opened: () => opened };
}

function limit() {
  return timeout(LIMIT_MS, TimeoutStrategy.Aggressive);
}
