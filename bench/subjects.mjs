// What is compared. Each subject makes one call of the same function; `guarantees` says what else it does
// for its time. bottleneck is not here: it starts every job by a timer, so a call takes over a millisecond.
import { Sema } from "async-sema";
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
import PQueue from "p-queue";
import { ignore } from "./measuring.mjs";

export const PERMITS = 10;
export const BURST = 1000;
export const PEERS = ["opossum", "p-limit", "cockatiel", "p-queue", "async-sema"];

/** The newest opossum that runs on this Node.js: 10 does not on 20. */
export const OPOSSUM = Number.parseInt(process.versions.node, 10) >= 22 ? "opossum-10" : "opossum";
const { default: CircuitBreaker } = await import(OPOSSUM);

/** The one that all others are compared with. */
export const BY_HAND = "p-limit + opossum + timeout, by hand";
export const BULKMAN = "bulkman";
export const BULKMAN_NO_TIMEOUT = "bulkman, no timeout";
export const COCKATIEL = "cockatiel, no timeout";
export const COCKATIEL_TIMEOUT = "cockatiel + timeout";

const work = async () => 1;
const never = () => new Promise(ignore);

/** No statistics of latencies, and no snapshots of them. */
const LEAN = { timeout: false, rollingPercentilesEnabled: false, enableSnapshots: false };
const CIRCUIT = { halfOpenAfter: 3_600_000, breaker: new ConsecutiveBreaker(5) };

/** @type {Record<string, { guarantees: string, call: () => unknown }>} */
export const CALLS = {
  [BULKMAN]: {
    guarantees:
      "permits held until the work ends, bounded queue, circuit, timeout of wait and run, statistics, result",
    call: executed({ timeoutSeconds: 1 }),
  },
  [BULKMAN_NO_TIMEOUT]: {
    guarantees: "the same without the timeout",
    call: executed({}),
  },
  [BY_HAND]: {
    guarantees: "permits free at the timeout, unbounded queue, circuit, timeout of the run",
    call: byHand({ timeout: 1000 }),
  },
  "p-limit + opossum, no timeout": {
    guarantees: "permits, unbounded queue, circuit",
    call: byHand({}),
  },
  [COCKATIEL_TIMEOUT]: {
    guarantees: "permits free at the timeout, bounded queue, circuit, timeout of the run",
    call: cockatiel(timeout(1000, TimeoutStrategy.Aggressive)),
  },
  [COCKATIEL]: {
    guarantees: "permits, bounded queue, circuit",
    call: cockatiel(),
  },
  "opossum, lean options": { guarantees: "circuit", call: fired(LEAN) },
  "opossum, default options": {
    guarantees: "circuit, timeout, percentiles of latencies",
    call: fired({}),
  },
  "p-limit": { guarantees: "permits, unbounded queue", call: limited() },
  "p-queue": { guarantees: "permits, unbounded queue with priorities", call: queued() },
  "async-sema": { guarantees: "permits, unbounded queue", call: acquired() },
  "bare call": { guarantees: "nothing", call: work },
  "setTimeout + clearTimeout": {
    guarantees: "nothing: what a timer costs",
    call: () => clearTimeout(setTimeout(ignore, 1000)),
  },
  "new Error": { guarantees: "nothing: what an error costs", call: () => new Error("full") },
  "new Error, no stack": {
    guarantees: "nothing: what an error costs that has no stack frames",
    call: stackless(),
  },
};

export const OPEN = {
  opossum: { guarantees: "an open circuit rejects", call: refusedByOpossum() },
  cockatiel: { guarantees: "an open circuit rejects", call: await refusedByCockatiel() },
  bulkman: { guarantees: "an open circuit rejects, counts and says when to retry", call: opened() },
};

export const FULL = {
  "opossum's capacity": { guarantees: "one place, no queue", call: overOpossum() },
  "cockatiel's bulkhead": { guarantees: "one place, no queue", call: overCockatiel() },
  bulkman: { guarantees: "one place, no queue, behind a circuit", call: over() },
};

function executed(config) {
  const subject = new Bulkhead({
    name: "bench",
    maxConcurrentCalls: PERMITS,
    maxQueueSize: BURST,
    ...config,
  });
  return () => subject.execute(work);
}

function byHand(options) {
  const limit = pLimit(PERMITS);
  const breaker = new CircuitBreaker(work, { ...LEAN, ...options });
  return () => limit(() => breaker.fire());
}

function cockatiel(...inner) {
  const policy = wrap(bulkhead(PERMITS, BURST), circuitBreaker(handleAll, CIRCUIT), ...inner);
  return () => policy.execute(work);
}

function fired(options) {
  const breaker = new CircuitBreaker(work, options);
  return () => breaker.fire();
}

function limited() {
  const limit = pLimit(PERMITS);
  return () => limit(work);
}

function queued() {
  const queue = new PQueue({ concurrency: PERMITS });
  return () => queue.add(work);
}

function acquired() {
  const sema = new Sema(PERMITS, { capacity: BURST });
  return async () => {
    await sema.acquire();
    try {
      return await work();
    } finally {
      sema.release();
    }
  };
}

function stackless() {
  return () => {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    const error = new Error("full");
    Error.stackTraceLimit = stackTraceLimit;
    return error;
  };
}

function refusedByOpossum() {
  const breaker = new CircuitBreaker(work, { ...LEAN, resetTimeout: 3_600_000 });
  breaker.open();
  return () => breaker.fire().catch(ignore);
}

async function refusedByCockatiel() {
  const policy = circuitBreaker(handleAll, { ...CIRCUIT, breaker: new ConsecutiveBreaker(1) });
  await policy.execute(() => Promise.reject(new Error("down"))).catch(ignore);
  return () => policy.execute(work).catch(ignore);
}

function opened() {
  const subject = new Bulkhead({ name: "open", isolationDuration: 3600, timeoutSeconds: 1 });
  subject.breaker.open();
  return () => subject.execute(work).catch(ignore);
}

function overOpossum() {
  // It would open at the first percentage of "failures": to be full is one.
  const options = { ...LEAN, capacity: 1, volumeThreshold: Number.MAX_SAFE_INTEGER };
  const breaker = new CircuitBreaker((action) => action(), options);
  breaker.fire(never).catch(ignore);
  return () => breaker.fire(work).catch(ignore);
}

function overCockatiel() {
  const policy = bulkhead(1, 0);
  policy.execute(never).catch(ignore);
  return () => policy.execute(work).catch(ignore);
}

function over() {
  const subject = new Bulkhead({ name: "full", maxConcurrentCalls: 1, maxQueueSize: 0 });
  subject.execute(never).catch(ignore);
  return () => subject.execute(work).catch(ignore);
}
