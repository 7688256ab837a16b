// What the pictures of all acts are drawn with. None is wider than 80 columns.

/** @typedef {(format: string, text: string) => string} Paint */

/** Into how many steps of time a picture is divided. */
export const COLUMNS = 44;
const LABEL_WIDTH = 16;

/** How an upstream behaves. */
export const MODES = {
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

/** @param {{ elapsed: number, plan: { seconds: number } }} run */
export function heading(title, { elapsed, plan }, paint) {
  const clock = `${elapsed.toFixed(1)} of ${plan.seconds.toFixed(1)} s`;
  return paint("bold", `${title.padEnd(LABEL_WIDTH + COLUMNS)}  ${clock}`);
}

export function line(label, graph, value) {
  return `${label.padEnd(LABEL_WIDTH)}${graph}  ${value}`;
}

/** The same in one line, for a log. */
export const logRow = (...values) => values.map((value) => String(value).padStart(10)).join("");

/** A bar for each column that has come. */
export function bars(columns, field, scale, colour, paint) {
  const text = cells(columns, (column) => {
    const level = Math.ceil((column[field] / scale) * (BARS.length - 1));
    return BARS[Math.min(level, BARS.length - 1)];
  });
  return paint(colour, text);
}

/** The state of a circuit in each column that has come. */
export function circuit(columns, paint) {
  return cells(columns, ({ circuit: status }) => {
    const known = CIRCUITS[status];
    return known === undefined ? " " : paint(known.colour, known.glyph);
  });
}

export const circuitWords = (status) => CIRCUITS[status]?.words ?? "none";

/** A stretch of the upstream's time line. */
export function stretch(mode, width, paint) {
  const { label, colour } = MODES[mode];
  return paint(colour, `▏${label}`.padEnd(width).slice(0, width));
}

/** One cell for each column that has come, and blanks for the rest. */
function cells(columns, cell) {
  return columns.map(cell).join("") + " ".repeat(COLUMNS - columns.length);
}
