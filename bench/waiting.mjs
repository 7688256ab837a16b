// What a waiting call costs: its bytes, and whether its cost depends on how many others wait.
import { performance } from "node:perf_hooks";
import { Bulkhead } from "bulkman";
import { bulkhead } from "cockatiel";
import pLimit from "p-limit";
import { heapInUse, ignore, inRounds, ratio, significant, summary, turn } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const MANY = QUICK ? 5000 : 100_000;
const FEW = 100;
const ROUNDS = QUICK ? 2 : 3;

/** Without one, each `abort()` makes an error with a stack of its own. */
const REASON = new Error("gone");
/** Made, and kept, by the callers: none of these bytes are the library's. */
const SIGNALS = Array.from({ length: MANY }, () => new AbortController().signal);
const never = () => new Promise(ignore);

/** A bulkhead whose only permit is taken, with room for `length` calls in its queue. */
function blocked(length, config = {}) {
  const subject = new Bulkhead({
    name: "bench",
    maxConcurrentCalls: 1,
    maxQueueSize: length,
    ...config,
  });
  subject.run(never, { timeoutSeconds: null });
  return subject;
}

/** Each makes a call that waits for good; the first of all gets the place and keeps it. */
const LINES = {
  "bulkman, with a timeout": () => {
    const subject = blocked(MANY, { timeoutSeconds: 3600 });
    return () => subject.execute(never);
  },
  "bulkman, with a timeout and a signal each": () => {
    const subject = blocked(MANY, { timeoutSeconds: 3600 });
    return (signal) => subject.run(never, { signal });
  },
  "cockatiel's bulkhead": () => {
    const policy = bulkhead(1, MANY);
    return () => policy.execute(never);
  },
  "p-limit": () => {
    const limit = pLimit(1);
    return () => limit(never);
  },
};

/** Bytes on the heap for each waiting call, with the promise that its caller holds. */
function bytesPerCall(makeLine) {
  const promises = new Array(MANY);
  const call = makeLine();
  const before = heapInUse();
  for (let n = 0; n < MANY; n++) promises[n] = call(SIGNALS[n]);
  const bytes = (heapInUse() - before) / promises.length;
  return significant(bytes);
}

/** Nanoseconds that the event loop was busy, for each call: waiting for a timer is not the call's cost. */
async function busyPerCall(run) {
  await turn();
  const start = performance.eventLoopUtilization();
  await run();
  return (performance.eventLoopUtilization(start).active * 1e6) / MANY;
}

/** `MANY` calls in all, of which `length` wait at a time, until their time is over. */
async function timeOut(length) {
  const subject = blocked(length, { timeoutSeconds: 0.001 });
  await turn();
  for (let n = 0; n < MANY; n += length) {
    await Promise.allSettled(Array.from({ length }, () => subject.execute(never)));
  }
}

/** As many calls at a time as in one long queue, but in lines of `length`: what the collector does is the same. */
async function timeOutInLines(length) {
  const subjects = Array.from({ length: MANY / length }, () =>
    blocked(length, { timeoutSeconds: 0.001 }),
  );
  await turn();
  const calls = subjects.flatMap((subject) => Array.from({ length }, () => subject.execute(never)));
  await Promise.allSettled(calls);
}

/** `MANY` calls in all, of which `length` wait at a time, until their callers abort: the last one first. */
async function abort(length) {
  const subject = blocked(length);
  for (let n = 0; n < MANY; n += length) {
    const callers = Array.from({ length }, () => new AbortController());
    const calls = callers.map(({ signal }) => subject.run(never, { signal }));
    for (const caller of callers.reverse()) caller.abort(REASON);
    await Promise.allSettled(calls);
  }
}

/** @param more other subjects to compare the one long queue with */
async function costByLength(run, more = {}) {
  const runs = { few: () => run(FEW), many: () => run(MANY), ...more };
  const subjects = Object.fromEntries(
    Object.entries(runs).map(([name, subject]) => [name, () => busyPerCall(subject)]),
  );
  const samples = await inRounds(subjects, { rounds: ROUNDS, warmUps: 1 });
  return Object.fromEntries([
    ...Object.keys(runs).map((name) => [name, summary(samples[name])]),
    ["ratio", ratio(samples, "many", "few")],
    ...Object.keys(more).map((name) => [`ratioTo ${name}`, ratio(samples, "many", name)]),
  ]);
}

await tell({
  many: MANY,
  few: FEW,
  rounds: ROUNDS,
  bytes: Object.fromEntries(
    Object.entries(LINES).map(([name, make]) => [name, bytesPerCall(make)]),
  ),
  timeout: await costByLength(timeOut, { "many short queues": () => timeOutInLines(FEW) }),
  abort: await costByLength(abort),
});
process.exit(); // hours of deadlines are still to come
