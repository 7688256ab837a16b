// What a call and a rejection cost: nanoseconds, and the ratio to the one that they are compared with.
import { inRounds, nanosecondsPerCall, ratio, summary } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";
import {
  BULKMAN,
  BULKMAN_NO_TIMEOUT,
  BURST,
  BY_HAND,
  CALLS,
  COCKATIEL,
  COCKATIEL_TIMEOUT,
  FULL,
  OPEN,
  PERMITS,
} from "./subjects.mjs";

const COUNT = QUICK ? 2 * BURST : 20 * BURST;
const ROUNDS = QUICK ? 3 : 11;

const SHAPES = {
  oneAfterAnother: async (call) => {
    for (let n = 0; n < COUNT; n++) await call();
  },
  bursts: async (call) => {
    for (let n = 0; n < COUNT; n += BURST) {
      await Promise.all(Array.from({ length: BURST }, () => call()));
    }
  },
};

/** @param bases what everything is compared with: the first one for the table, all for bulkman's row */
async function compare(subjects, shape, bases) {
  const entries = Object.entries(subjects);
  const timed = entries.map(([name, { call }]) => [
    name,
    () => nanosecondsPerCall(COUNT, () => SHAPES[shape](call)),
  ]);
  const samples = await inRounds(Object.fromEntries(timed), { rounds: ROUNDS });
  return {
    shape,
    base: bases[0],
    rows: entries.map(([name, { guarantees }]) => ({
      name,
      guarantees,
      nanoseconds: summary(samples[name]),
      ratio: ratio(samples, name, bases[0]),
    })),
    bulkmanTo: Object.fromEntries(bases.map((base) => [base, ratio(samples, ours(base), base)])),
  };
}

/** Like with like: without a time limit where the other has none. */
function ours(base) {
  return base === COCKATIEL ? BULKMAN_NO_TIMEOUT : BULKMAN;
}

const bases = [BY_HAND, COCKATIEL, COCKATIEL_TIMEOUT];
await tell({
  permits: PERMITS,
  burst: BURST,
  calls: COUNT,
  rounds: ROUNDS,
  oneAfterAnother: await compare(CALLS, "oneAfterAnother", bases),
  bursts: await compare(CALLS, "bursts", bases),
  open: await compare(OPEN, "oneAfterAnother", ["opossum", "cockatiel"]),
  full: await compare(FULL, "oneAfterAnother", ["cockatiel's bulkhead", "opossum's capacity"]),
});
