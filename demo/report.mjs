import { HEALTHY, SICK } from "./plan.mjs";
import { duration, makeTable } from "./table.mjs";

/** @typedef {import("./recording.mjs").Recording} Recording */

const { row, rule } = makeTable([50, 12, 14]);

/**
 * The table at the end: what was measured, bare against bulkhead.
 * @param {Recording} bare
 * @param {Recording} guarded
 * @returns {string[]}
 */
export function compare(bare, guarded) {
  const { bulkhead } = guarded.plan;
  return [
    row("Measured in these two runs", "bare", "bulkhead"),
    rule,
    ...ROWS.map(([title, measure]) =>
      measure === undefined ? title : row(`  ${title}`, measure(bare), measure(guarded)),
    ),
    rule,
    `Each bulkhead: ${bulkhead.maxConcurrentCalls} calls at once, ${bulkhead.maxQueueSize} in line; ${bulkhead.failureThreshold} consecutive failures open the`,
    `circuit for ${bulkhead.isolationDuration} s. While it is open nothing is sent, so a recovery is noticed`,
    "when it next probes.",
  ];
}

/** @type {[title: string, measure?: (run: Recording) => string | number][]} */
const ROWS = [
  [`${SICK}, which fell ill`],
  ["most calls in flight to it", (run) => run.snapshot.gauges[SICK].most],
  ["calls sent to it while it was ill", (run) => run.received.hangs + run.received.fails],
  ["requests: succeeded", (run) => run.count(SICK, "succeeded")],
  ["requests: errors", (run) => run.count(SICK, "failed", "gaveUp")],
  ["requests: refused at once", (run) => run.count(SICK, "refused")],
  ["p50 until an answer, while it was ill", (run) => duration(latencyWhileIll(run))],
  ["from its recovery to the first success", (run) => duration(recovery(run).first)],
  ["from its recovery to nothing but success", (run) => duration(recovery(run).steady)],
  [`${HEALTHY}, which was well all the time`],
  ["requests: p50", (run) => duration(percentile(latencies(run.answersOf(HEALTHY)), 50))],
  ["requests: p99", (run) => duration(percentile(latencies(run.answersOf(HEALTHY)), 99))],
  ["requests: errors", (run) => run.count(HEALTHY, "failed", "gaveUp")],
  ["requests: refused at once", (run) => run.count(HEALTHY, "refused")],
];

const latencies = (answers) => answers.map(({ latency }) => latency);

/** The value that so many percent of the values do not exceed (nearest rank). */
function percentile(values, percent) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil((percent / 100) * sorted.length) - 1];
}

function latencyWhileIll(run) {
  const [, illAt, , wellAt] = run.phaseBegan;
  const answers = run.answersOf(SICK).filter(({ dueAt }) => dueAt >= illAt && dueAt < wellAt);
  return percentile(latencies(answers), 50);
}

/**
 * Milliseconds from the upstream's recovery to the first success, and to the first of the successes
 * that nothing else interrupts any more; `undefined` when there was none.
 */
function recovery(run) {
  const wellAt = run.phaseBegan.at(-1);
  const after = run.answersOf(SICK).filter(({ endedAt }) => endedAt >= wellAt);
  const lastBad = after.findLastIndex(({ outcome }) => outcome !== "succeeded");
  const first = after.find(({ outcome }) => outcome === "succeeded");
  const steady = after[lastBad + 1];
  return { first: first && first.endedAt - wellAt, steady: steady && steady.endedAt - wellAt };
}
