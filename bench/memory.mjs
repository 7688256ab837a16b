// The heap over time, at full speed: `memory.mjs bulkman`, `memory.mjs opossum`.
import { Bulkhead } from "bulkman";
import CircuitBreaker from "opossum";
import { heapInUse, now, turn } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const SAMPLES = QUICK ? 5 : 60;
const EVERY_MS = QUICK ? 100 : 1000;

const work = async () => 1;

const SUBJECTS = {
  bulkman: () => {
    const subject = new Bulkhead({ name: "bench", timeoutSeconds: 10 });
    return () => subject.execute(work);
  },
  /** With its default options: a timeout of ten seconds too, and percentiles over the last ten. */
  opossum: () => {
    const breaker = new CircuitBreaker(work);
    return () => breaker.fire();
  },
};

const [name] = process.argv.slice(2);
const call = SUBJECTS[name]();
const mebibytes = [];
let calls = 0;
const start = now();
for (let sample = 1; sample <= SAMPLES; sample++) {
  while (now() - start < sample * EVERY_MS) {
    for (let n = 0; n < 1000; n++) await call();
    calls += 1000;
    await turn(); // opossum turns its window by a timer
  }
  mebibytes.push(Number((heapInUse() / 2 ** 20).toFixed(2)));
}
await tell({ secondsPerSample: EVERY_MS / 1000, calls, mebibytes });
