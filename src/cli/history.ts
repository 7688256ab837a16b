import {
  CIRCUITS_HELP,
  CIRCUITS_OPTIONS,
  readArguments,
  readDuration,
  readName,
} from "./arguments.js";
import { type Circuits, withCircuits } from "./circuits.js";
import type { Command } from "./command.js";
import { type Change, readHistory, summaries } from "./history-data.js";
import { duration, localTime, printable, shortTime, width } from "./text.js";
import { describeCause } from "./why.js";

const DEFAULT_SINCE = "1h";

export const history: Command = {
  summary: "show what changed: when, from, to, by whom, why, for how long",
  help: `Usage: bulkman history [NAME] [options]

Shows every change of the state of the circuits of a namespace, or of one
circuit, and below them how often each opened, and for how long it was not
closed. The user needs SELECT on the table bulkman_history.

Options:
  --since TIME      how far back: a number with s, m, h or d, such as 30m, 1h or
                    7d; default: ${DEFAULT_SINCE}
  --json            one JSON document
${CIRCUITS_HELP}`,
  run: async (args) => {
    const options = { since: { type: "string" }, json: { type: "boolean" } } as const;
    const { values, positionals } = readArguments(
      args,
      { ...options, ...CIRCUITS_OPTIONS },
      { allowPositionals: true },
    );
    const name = positionals.length === 0 ? undefined : readName(positionals);
    const seconds = readDuration("--since", values.since ?? DEFAULT_SINCE);
    return withCircuits(values, async (circuits) => {
      const found = await readHistory(circuits, name, seconds);
      const text = values.json
        ? JSON.stringify(documentOf(circuits, found), null, 2)
        : textOf(circuits, found).join("\n");
      process.stdout.write(`${text}\n`);
      return 0;
    });
  },
};

type Found = Awaited<ReturnType<typeof readHistory>>;

/** The JSON for programs: fields are added, and never removed. */
function documentOf({ namespace }: Circuits, found: Found) {
  const { since, readAt, changes } = found;
  return { namespace, since, readAt, changes, circuits: summaries(found) };
}

const HEADINGS = ["WHEN", "NAME", "FROM", "TO", "FOR", "BY", "WHY"];

function textOf({ namespace }: Circuits, found: Found): string[] {
  const { since, readAt, changes } = found;
  const count = changes.length === 1 ? "1 change" : `${changes.length} changes`;
  const heading = `${namespace}: ${count} from ${localTime(since)} to ${localTime(readAt)}`;
  if (changes.length === 0) return [printable(heading)];
  const rows = [HEADINGS, ...changes.map((change) => cellsOf(change, readAt))].map((cells) =>
    cells.map(printable),
  );
  const widths = HEADINGS.map((_, i) => Math.max(...rows.map((cells) => width(cells[i] ?? ""))));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - width(cell)))
      .join("  ")
      .trimEnd();
  const ends = summaries(found).map(({ name, openings, secondsNotClosed }) => {
    const times = openings === 1 ? "once" : `${openings} times`;
    return printable(`${name}: opened ${times}, not closed for ${duration(secondsNotClosed)}`);
  });
  return [printable(heading), "", ...rows.map(line), "", ...ends];
}

function cellsOf(change: Change, readAt: Date): string[] {
  const { at, name, from, to, seconds, isCurrent, by, failureCount } = change;
  const lasted = seconds === null ? "" : `${duration(seconds)}${isCurrent ? " so far" : ""}`;
  const why = to === "OPEN" ? describeCause({ ...change, failureCount }) : "";
  return [shortTime(at, readAt), name, from, to, lasted, by ?? "", why];
}
