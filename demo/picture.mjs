// How a run looks while it goes on: as a picture of some lines, or in one line.
import { HEALTHY, SICK } from "./plan.mjs";
import { COLUMNS } from "./recording.mjs";

/** @typedef {import("./recording.mjs").Recording} Recording */
/** @typedef {(format: string, text: string) => string} Paint */

const TITLES = { bare: "bare fetch", bulkhead: "fetch through bulkheads" };
const MODES = {
  healthy: { label: "healthy", colour: "green" },
  hangs: { label: "hangs", colour: "red" },
  fails: { label: "500s", colour: "yellow" },
};
const CIRCUITS = {
  CLOSED: { glyph: "─", colour: "green", words: "closed" },
  OPEN: { glyph: "█", colour: "red", words: "OPEN" },
  HALF_OPEN: { glyph: "▒", colour: "yellow", words: "half-open" },
};
const BARS = [..." ▁▂▃▄▅▆▇█"];
const LABEL_WIDTH = 16;

/**
 * All rows share one axis of time and, in both runs, the same scales.
 * @param {Recording} run
 * @param {Paint} paint
 * @returns {string[]} none wider than 80 columns
 */
export function picture(run, paint) {
  const { plan, snapshot } = run;
  const { inFlight, most } = snapshot.gauges[SICK];
  const perColumn = (plan.arrivalsPerSecond / 2) * (plan.seconds / COLUMNS);
  const graph = (label, field, scale, colour, value) =>
    line(label, bars(run, field, scale, colour, paint), value);
  return [
    paint("bold", `${TITLES[run.style].padEnd(LABEL_WIDTH + COLUMNS)}  ${clock(run)}`),
    line(`${SICK} is`, phases(run, paint), MODES[run.phase.mode].label),
    graph("  in flight", "inFlight", plan.requestsAtOnce, "cyan", `${inFlight} (most ${most})`),
    graph("  succeeded", "succeeded", perColumn, "green", run.count(SICK, "succeeded")),
    graph("  refused", "refused", perColumn, "yellow", run.count(SICK, "refused")),
    line("  circuit", circuit(run, paint), circuitWords(snapshot)),
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
    circuitWords(snapshot),
    `${latency.toFixed(0)} ms`,
  );
}

const logRow = (...values) => values.map((value) => String(value).padStart(10)).join("");

const circuitWords = (snapshot) => CIRCUITS[snapshot.circuit]?.words ?? "none";

const clock = (run) => `${run.elapsed.toFixed(1)} of ${run.plan.seconds.toFixed(1)} s`;

function line(label, graph, value) {
  return `${label.padEnd(LABEL_WIDTH)}${graph}  ${value}`;
}

/** One cell for each column that has come, and blanks for the rest. */
function cells(run, cell) {
  const past = run.columns
    .slice(0, run.column + 1)
    .map(cell)
    .join("");
  return past + " ".repeat(COLUMNS - run.column - 1);
}

function bars(run, field, scale, colour, paint) {
  const text = cells(run, (column) => {
    const level = Math.ceil((column[field] / scale) * (BARS.length - 1));
    return BARS[Math.min(level, BARS.length - 1)];
  });
  return paint(colour, text);
}

function circuit(run, paint) {
  return cells(run, ({ circuit: status }) => {
    const known = CIRCUITS[status];
    return known === undefined ? " " : paint(known.colour, known.glyph);
  });
}

/** The plan, as far as it has come. */
function phases(run, paint) {
  const columnAt = (seconds) => Math.round((seconds / run.plan.seconds) * COLUMNS);
  return run.plan.phases
    .map(({ mode, from, to }, index) => {
      const width = columnAt(to) - columnAt(from);
      if (index >= run.phaseBegan.length) return " ".repeat(width);
      const { label, colour } = MODES[mode];
      return paint(colour, `▏${label}`.padEnd(width).slice(0, width));
    })
    .join("");
}
