// What a protected call costs, against the peers and against wiring p-limit and opossum by hand.
// Interleaved rounds, medians and spread: on a shared machine only ratios within one run mean anything.
import { performance } from "node:perf_hooks";
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
import CircuitBreaker from "opossum";
import pLimit from "p-limit";
import PQueue from "p-queue";

const PERMITS = 10;
const CALLS = 20_000;
const BURST = 1_000;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 9);

const work = async () => 1;
const LEAN = { timeout: false, rollingPercentilesEnabled: false, enableSnapshots: false };

/** Each subject is a function that makes one call. `guarantees` says what the row pays for. */
const subjects = {
  "bare call": { guarantees: "none", call: work },
  "p-limit": { guarantees: "permits, line", call: limited(pLimit(PERMITS)) },
  "p-queue": {
    guarantees: "permits, line",
    call: (
      (queue) => () =>
        queue.add(work)
    )(new PQueue({ concurrency: PERMITS })),
  },
  "opossum, lean": { guarantees: "circuit", call: fired(new CircuitBreaker(work, LEAN)) },
  "p-limit + opossum + timeout": {
    guarantees: "permits, line, circuit, timeout",
    call: byHand(),
  },
  "cockatiel, no timeout": {
    guarantees: "permits, bounded line, circuit",
    call: cockatiel([]),
  },
  "cockatiel + timeout": {
    guarantees: "permits, bounded line, circuit, timeout",
    call: cockatiel([timeout(1000, TimeoutStrategy.Aggressive)]),
  },
  bulkman: {
    guarantees: "permits held to the end, bounded line, circuit, timeout, ledger, result",
    call: executed({ name: "bench", timeoutSeconds: 1 }),
  },
  "bulkman, no timeout": {
    guarantees: "the same without timeout",
    call: executed({ name: "bench" }),
  },
};

function limited(limit) {
  return () => limit(work);
}

function fired(breaker) {
  return () => breaker.fire();
}

function byHand() {
  const limit = pLimit(PERMITS);
  const breaker = new CircuitBreaker(work, { ...LEAN, timeout: 1000 });
  return () => limit(() => breaker.fire());
}

function cockatiel(policies) {
  const policy = wrap(
    bulkhead(PERMITS, BURST),
    circuitBreaker(handleAll, { halfOpenAfter: 30_000, breaker: new ConsecutiveBreaker(5) }),
    ...policies,
  );
  return () => policy.execute(work);
}

function executed(config) {
  const subject = new Bulkhead({ maxConcurrentCalls: PERMITS, maxQueueSize: BURST, ...config });
  return () => subject.execute(work);
}

const shapes = {
  "one after another": async (call) => {
    for (let n = 0; n < CALLS; n++) await call();
  },
  [`bursts of ${BURST}`]: async (call) => {
    for (let n = 0; n < CALLS; n += BURST) {
      await Promise.all(Array.from({ length: BURST }, () => call()));
    }
  },
};

const refusals = {
  opossum: opened(new CircuitBreaker(work, LEAN)),
  cockatiel: isolated(),
  bulkman: refusing(),
};

function opened(breaker) {
  breaker.open();
  return () => breaker.fire().catch(ignore);
}

function isolated() {
  const policy = circuitBreaker(handleAll, {
    halfOpenAfter: 3_600_000,
    breaker: new ConsecutiveBreaker(5),
  });
  policy.isolate();
  return () => policy.execute(work).catch(ignore);
}

function refusing() {
  const subject = new Bulkhead({ name: "refusing", isolationDuration: 3600 });
  subject.breaker.open();
  return () => subject.execute(work).catch(ignore);
}

function ignore() {}

async function measure(run, call) {
  const start = performance.now();
  await run(call);
  return ((performance.now() - start) * 1e6) / CALLS;
}

/** Nanoseconds per call of every subject: all of them in each round, so that drift hits them alike. */
async function compare(run, calls) {
  const times = Object.fromEntries(Object.keys(calls).map((name) => [name, []]));
  for (let round = -2; round < ROUNDS; round++) {
    for (const [name, call] of Object.entries(calls)) {
      const time = await measure(run, call);
      if (round >= 0) times[name].push(time);
    }
  }
  return Object.fromEntries(
    Object.entries(times).map(([name, samples]) => {
      const sorted = samples.toSorted((a, b) => a - b);
      const median = sorted[sorted.length >> 1];
      return [name, { median, min: sorted[0], max: sorted.at(-1) }];
    }),
  );
}

function table(title, results, base) {
  console.log(`\n${title}: ns per call, median of ${ROUNDS} rounds (least to most)`);
  const reference = results[base].median;
  for (const [name, { median, min, max }] of Object.entries(results)) {
    const spread = `(${min.toFixed(0)} to ${max.toFixed(0)})`;
    const ratio = (median / reference).toFixed(2);
    console.log(
      `  ${name.padEnd(28)} ${median.toFixed(0).padStart(7)} ${spread.padEnd(20)} ${ratio.padStart(6)} of ${base}`,
    );
  }
}

function idleBulkheads(count) {
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const start = performance.now();
  const kept = Array.from({ length: count }, (_, n) => new Bulkhead({ name: `idle ${n}` }));
  const micros = ((performance.now() - start) * 1000) / count;
  globalThis.gc?.();
  const kib = (process.memoryUsage().heapUsed - before) / kept.length / 1024;
  const size = globalThis.gc ? `${kib.toFixed(1)} KiB each` : "their size needs --expose-gc";
  console.log(`\n${kept.length} idle bulkheads: ${micros.toFixed(1)} µs to make one, ${size}`);
}

console.log(`Node ${process.version} on ${process.platform} ${process.arch}; ${PERMITS} permits`);
for (const [name, { guarantees }] of Object.entries(subjects)) {
  console.log(`  ${name.padEnd(28)} ${guarantees}`);
}
const calls = Object.fromEntries(Object.entries(subjects).map(([name, { call }]) => [name, call]));
for (const [shape, run] of Object.entries(shapes)) {
  table(shape, await compare(run, calls), "p-limit + opossum + timeout");
}
table(
  "a refusal by an open circuit",
  await compare(shapes["one after another"], refusals),
  "opossum",
);
idleBulkheads(10_000);
