import type { CircuitRecord, CircuitStatus } from "../storage/circuit-storage.js";
import { fitted, localTime, printable, shortTime, width } from "./text.js";

export interface TableOptions {
  readonly columns: number;
  /** Lines at most. Default: as many as there are circuits. */
  readonly rows?: number | undefined;
  readonly color: boolean;
}

const HEADINGS = ["NAME", "STATE", "SINCE", "UNTIL", "WHY, OR WHO PROBES"] as const;
type Cells = [name: string, state: string, since: string, until: string, why: string];

const GAP = "  ";
const STATE_WIDTH = "HALF_OPEN".length;
const LEAST_NAME_WIDTH = 12;
const NO_PROBER = "next call probes";

/** Red, yellow and green, like the panel in Grafana. */
const COLORS: { readonly [state in CircuitStatus]: number } = {
  OPEN: 31,
  HALF_OPEN: 33,
  CLOSED: 32,
};

/** The lines of a table that fits the terminal; open circuits come first. */
export function statusTable(
  circuits: ReadonlyMap<string, CircuitRecord>,
  { columns, rows = Number.POSITIVE_INFINITY, color }: TableOptions,
): string[] {
  const urgent = [...circuits].sort(([, a], [, b]) => rank(a) - rank(b));
  // One line for the headings, and one for the number of omitted circuits.
  const shown = urgent.length + 1 > rows ? urgent.slice(0, Math.max(0, rows - 2)) : urgent;
  const lines = shown.map(([name, record]) => cellsOf(name, record));
  const widths = widthsOf(lines, columns);
  const line = (cells: readonly string[], state?: CircuitStatus) => {
    const texts = cells.map((cell, i) => fitted(cell, widths[i] ?? 0));
    if (color && state !== undefined) texts[1] = `\u001b[${COLORS[state]}m${texts[1]}\u001b[39m`;
    return texts.join(GAP).trimEnd();
  };
  const left = urgent.length - shown.length;
  return [
    line(HEADINGS),
    ...lines.map((cells, i) => line(cells, shown[i]?.[1].state)),
    ...(left > 0 ? [`… and ${left} more`] : []),
  ];
}

function rank({ state }: CircuitRecord): number {
  return ["OPEN", "HALF_OPEN", "CLOSED"].indexOf(state);
}

function cellsOf(name: string, record: CircuitRecord): Cells {
  const { state, readAt, updatedAt, openUntil, probeUntil } = record;
  const end = openUntil ?? probeUntil;
  const until = end === null ? "" : shortTime(end, readAt);
  return [printable(name), state, shortTime(updatedAt, readAt), until, printable(whyOf(record))];
}

function whyOf(record: CircuitRecord): string {
  const { state, failureCount, openUntil, reason, readAt } = record;
  if (state === "CLOSED") return "";
  if (state === "HALF_OPEN") {
    const { probeOwner, probeUntil, probeSuccesses } = record;
    const succeeded = probeSuccesses > 0 ? `${probeSuccesses} succeeded; ` : "";
    return succeeded + (isOver(probeUntil, readAt) ? NO_PROBER : (probeOwner ?? NO_PROBER));
  }
  if (isOver(openUntil, readAt)) return `over; ${NO_PROBER}`;
  if (reason !== null) return reason;
  // By a health check, or by another program.
  if (failureCount === 0) return "";
  return failureCount === 1 ? "1 failure" : `${failureCount} failures`;
}

function isOver(end: Date | null, readAt: Date): boolean {
  return end === null || end <= readAt;
}

/** The names and the last column share the width that the others leave. */
function widthsOf(lines: readonly Cells[], columns: number): number[] {
  const widest = (i: number) => Math.max(...[HEADINGS, ...lines].map((row) => width(row[i] ?? "")));
  const [since, until, why] = [widest(2), widest(3), widest(4)];
  const room = columns - STATE_WIDTH - since - until - 4 * GAP.length;
  const most = Math.max(LEAST_NAME_WIDTH, Math.floor(room / 2), room - why);
  const name = Math.min(widest(0), most);
  return [name, STATE_WIDTH, since, until, Math.max(1, Math.min(why, room - name))];
}

/** One line above the table. */
export function summary(
  namespace: string,
  circuits: ReadonlyMap<string, CircuitRecord>,
  readAt: Date,
): string {
  const count = (state: CircuitStatus) =>
    [...circuits.values()].filter((record) => record.state === state).length;
  const parts = [
    `${circuits.size} ${circuits.size === 1 ? "circuit" : "circuits"}`,
    `${count("OPEN")} open`,
    `${count("HALF_OPEN")} half-open`,
  ];
  return `${printable(namespace)}: ${parts.join(", ")} at ${localTime(readAt)}`;
}
