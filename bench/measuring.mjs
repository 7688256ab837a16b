// How everything here is measured. The machine may be shared, so only ratios within one round mean much.
import { performance } from "node:perf_hooks";

export const now = () => performance.now();

/** The middle, and the spread from the 10th to the 90th percentile. */
export function summary(samples) {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share) => significant(sorted[Math.round(share * (sorted.length - 1))]);
  return { median: at(0.5), low: at(0.1), high: at(0.9) };
}

/** Four digits: there are no more in what is measured here. */
export function significant(number) {
  return Number(number.toPrecision(4));
}

/**
 * Measures every subject once in each round, in an order that moves on by one from round to round, so that
 * whatever the machine does meanwhile hits them alike.
 * @param {Record<string, () => Promise<number>>} subjects
 * @returns {Promise<Record<string, number[]>>} what each of them took, round by round
 */
export async function inRounds(subjects, { rounds, warmUps = 2 }) {
  const names = Object.keys(subjects);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -warmUps; round < rounds; round++) {
    for (const index of names.keys()) {
      const name = names[(index + round + warmUps) % names.length];
      // What the one before left behind is not to be cleared away at the expense of this one.
      globalThis.gc({ type: "minor" });
      const sample = await subjects[name]();
      if (round >= 0) samples[name].push(sample);
    }
  }
  return samples;
}

/** What `name` took of what `base` took, round by round. */
export function ratio(samples, name, base) {
  return summary(samples[name].map((sample, round) => sample / samples[base][round]));
}

/** Nanoseconds for each of `count` calls. */
export async function nanosecondsPerCall(count, run) {
  const start = now();
  await run();
  return ((now() - start) * 1e6) / count;
}

/** Bytes on the heap after everything that nobody needs was collected. */
export function heapInUse() {
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

/** Lets timers, and everything else that is due, have their turn. */
export function turn() {
  return new Promise((resolve) => setImmediate(resolve));
}

export function ignore() {}
