// What a bulkhead costs that nobody calls.
import { Bulkhead } from "bulkman";
import { heapInUse, now, significant, summary } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const COUNT = QUICK ? 1000 : 10_000;
const ROUNDS = QUICK ? 2 : 5;
const TIMERS = ["setTimeout", "setInterval", "setImmediate"];

/** How many timers of any kind are set while `run` runs, whether or not they hold the process. */
function timersSetBy(run) {
  const originals = TIMERS.map((name) => globalThis[name]);
  let set = 0;
  for (const [index, name] of TIMERS.entries()) {
    globalThis[name] = (...args) => {
      set++;
      return originals[index](...args);
    };
  }
  run();
  for (const [index, name] of TIMERS.entries()) globalThis[name] = originals[index];
  return set;
}

function make() {
  return Array.from({ length: COUNT }, (_, n) => new Bulkhead({ name: `idle ${n}` }));
}

function microsecondsEach() {
  globalThis.gc(); // those of the last time are not this one's cost
  const start = now();
  make();
  return ((now() - start) * 1000) / COUNT;
}

function kibibytesEach() {
  const before = heapInUse();
  const kept = make();
  return significant((heapInUse() - before) / kept.length / 1024);
}

microsecondsEach(); // compiles
await tell({
  count: COUNT,
  rounds: ROUNDS,
  microseconds: summary(Array.from({ length: ROUNDS }, microsecondsEach)),
  kibibytes: kibibytesEach(),
  timers: timersSetBy(make),
});
