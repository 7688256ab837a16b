import type { CircuitRecord, CircuitStatus } from "../storage/circuit-storage.js";
import { type FleetPermits, permitsTable } from "./permits.js";
import { columnsOf, fitted, localTime, printable, shortened, shortTime, width } from "./text.js";
import { describeSettings, settingsOf, whyOf } from "./why.js";

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

/** Red, yellow and green, like the panel in Grafana. */
const COLORS: { readonly [state in CircuitStatus]: number } = {
  OPEN: 31,
  HALF_OPEN: 33,
  CLOSED: 32,
};

/**
 * The circuits with a line above, and the permits below them.
 * @param rows lines at most; permits may take a third of them. Default: as many as there are
 */
export function statusLines(
  namespace: string,
  records: ReadonlyMap<string, CircuitRecord>,
  permits: readonly FleetPermits[],
  rows = Number.POSITIVE_INFINITY,
): string[] {
  const columns = columnsOf();
  // `hasColors` knows NO_COLOR, FORCE_COLOR and TERM.
  const color = process.stdout.isTTY && process.stdout.hasColors();
  const heading = shortened(summary(namespace, records, readAtOf(records)), columns);
  const room = rows - 2;
  const needed = permits.length === 0 ? 0 : permits.length + 2;
  const kept = Math.min(needed, Math.floor(room / 3));
  const circuits = statusTable(records, { columns, rows: room - kept, color });
  const below = permitsTable(permits, { columns, rows: room - circuits.length - 1 });
  return [heading, "", ...circuits, ...(below.length > 0 ? ["", ...below] : [])];
}

/** By the database's clock, if any circuit was read. */
export function readAtOf(records: ReadonlyMap<string, CircuitRecord>): Date {
  const times = Array.from(records.values(), ({ readAt }) => readAt.getTime());
  return times.length > 0 ? new Date(Math.max(...times)) : new Date();
}

/** The lines of a table that fits the terminal; open circuits come first. */
export function statusTable(
  circuits: ReadonlyMap<string, CircuitRecord>,
  { columns, rows = Number.POSITIVE_INFINITY, color }: TableOptions,
): string[] {
  const urgent = [...circuits].sort(([, a], [, b]) => rank(a) - rank(b));
  const shown = fitting(urgent, rows);
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
    ...lines.flatMap((cells, i) => [
      line(cells, shown[i]?.[1].state),
      ...settingsLines(shown[i]?.[1]).map((text) => shortened(text, columns)),
    ]),
    ...(left > 0 ? [`… and ${left} more`] : []),
  ];
}

/** The circuits that fit below the headings; when some do not, there is a line with their number, too. */
function fitting<T extends readonly [string, CircuitRecord]>(circuits: T[], rows: number): T[] {
  let height = 1;
  let count = 0;
  for (const [, record] of circuits) {
    height += 1 + settingsLines(record).length;
    if (height < rows) count++;
  }
  return height <= rows ? circuits : circuits.slice(0, count);
}

/** Below the circuit: what an operator has set. */
function settingsLines(record: CircuitRecord | undefined): string[] {
  const settings = record && settingsOf(record);
  if (!record || !settings) return [];
  const text = describeSettings(settings, (date) => shortTime(date, record.readAt));
  return [printable(`${GAP}set ${text}`)];
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
function summary(
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
