// How long the event loop is held up while many waiting calls time out together.
//
// `monitorEventLoopDelay` has a timer of its own and records how late it is, once a millisecond while the
// loop is free, and once in all while it is held up: the one long delay drowns among the short ones when
// the measuring goes on for longer than that. So it begins when the calls are due and ends when the last
// caller has been told. It does not see what happens between two of its timers, nor that other timers
// wait for their turn within one; the longest turn, from one `setImmediate` to the next, shows that too.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Bulkhead } from "bulkman";
import { ignore, now, significant, summary, turn } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const COUNT = QUICK ? 5000 : 100_000;
const ROUNDS = QUICK ? 2 : 3;
const SECONDS = QUICK ? 0.1 : 1;

function block(until) {
  while (now() < until);
}

/** @param together whether all are due at one instant, or one after another as they came */
async function timeOut(together) {
  const subject = new Bulkhead({
    name: "bench",
    maxConcurrentCalls: 1,
    maxQueueSize: COUNT,
    timeoutSeconds: SECONDS,
  });
  subject.run(() => new Promise(ignore), { timeoutSeconds: null });
  const start = now();
  let told = 0;
  const tellOne = () => told++;
  for (let n = 0; n < COUNT; n++) subject.execute(ignore).catch(tellOne);
  const end = now();
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  const due = together ? end + SECONDS * 1000 : start + SECONDS * 1000;
  // Once its timer has fired, it measures.
  await new Promise((resolve) => setTimeout(resolve, 10));
  if (together) block(due);
  else await new Promise((resolve) => setTimeout(resolve, due - now() - 2));
  delays.reset();
  let longest = 0;
  for (let from = now(); told < COUNT; ) {
    await turn();
    const to = now();
    longest = Math.max(longest, to - from);
    from = to;
  }
  await new Promise((resolve) => setTimeout(resolve, 3));
  delays.disable();
  return { p99: delays.percentile(99) / 1e6, longest };
}

async function rounds(together) {
  const results = [];
  for (let round = -1; round < ROUNDS; round++) {
    globalThis.gc();
    const result = await timeOut(together);
    if (round >= 0) results.push(result);
  }
  return {
    p99: summary(results.map(({ p99 }) => significant(p99))),
    longest: summary(results.map(({ longest }) => significant(longest))),
  };
}

await tell({
  count: COUNT,
  rounds: ROUNDS,
  timeoutSeconds: SECONDS,
  dueAtOnce: await rounds(true),
  dueAsTheyCame: await rounds(false),
});
