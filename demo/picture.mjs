// How a run looks while it goes on: as a picture of some lines, or in one line.
import {
  bars,
  COLUMNS,
  circuit,
  circuitWords,
  heading,
  line,
  logRow,
  MODES,
  stretch,
} from "./drawing.mjs";
import { HEALTHY, SICK } from "./plan.mjs";

/** @typedef {import("./recording.mjs").Recording} Recording */

const TITLES = { bare: "bare fetch", bulkhead: "fetch through bulkheads" };

/** How often a log gets a line. */
export const logEverySeconds = 1;

/**
 * All rows share one axis of time and, in both runs, the same scales.
 * @param {Recording} run
 * @param {import("./drawing.mjs").Paint} paint
 * @returns {string[]}
 */
export function picture(run, paint) {
  const { plan, snapshot } = run;
  const past = run.columns.slice(0, run.column + 1);
  const { inFlight, most } = snapshot.gauges[SICK];
  const perColumn = (plan.arrivalsPerSecond / 2) * (plan.seconds / COLUMNS);
  const graph = (label, field, scale, colour, value) =>
    line(label, bars(past, field, scale, colour, paint), value);
  return [
    heading(TITLES[run.style], run, paint),
    line(`${SICK} is`, phases(run, paint), MODES[run.phase.mode].label),
    graph("  in flight", "inFlight", plan.requestsAtOnce, "cyan", `${inFlight} (most ${most})`),
    graph("  succeeded", "succeeded", perColumn, "green", run.count(SICK, "succeeded")),
    graph("  refused", "refused", perColumn, "yellow", run.count(SICK, "refused")),
    line("  circuit", circuit(past, paint), circuitWords(snapshot.circuit)),
    graph("waiting", "waiting", plan.requestsAtOnce * 4, "magenta", snapshot.waiting),
    graph(
      `${HEALTHY} latency`,
      "latency",
      plan.clientPatienceSeconds * 1000,
      "blue",
      `${run.latency.toFixed(0)} ms`,
    ),
    "",
  ];
}

/** @param {Recording} run */
export const logHeader = (run) => [
  TITLES[run.style],
  logRow("time", SICK, "in flight", "waiting", "refused", "circuit", HEALTHY),
];

/**
 * The same in one line, for a log.
 * @param {Recording} run
 */
export function logLine(run) {
  const { snapshot, phase, elapsed, latency } = run;
  return logRow(
    `${elapsed.toFixed(1)} s`,
    MODES[phase.mode].label,
    snapshot.gauges[SICK].inFlight,
    snapshot.waiting,
    run.count(SICK, "refused"),
    circuitWords(snapshot.circuit),
    `${latency.toFixed(0)} ms`,
  );
}

/** The plan, as far as it has come. */
function phases(run, paint) {
  const columnAt = (seconds) => Math.round((seconds / run.plan.seconds) * COLUMNS);
  return run.plan.phases
    .map(({ mode, from, to }, index) => {
      const width = columnAt(to) - columnAt(from);
      if (index >= run.phaseBegan.length) return " ".repeat(width);
      return stretch(mode, width, paint);
    })
    .join("");
}
