import { fstatSync } from "node:fs";
import type { CircuitRecord } from "../storage/circuit-storage.js";
import { liveVotes } from "../storage/votes.js";
import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readName } from "./arguments.js";
import { type Circuits, list, missing, namespaces, withCircuits } from "./circuits.js";
import { type Command, UsageError } from "./command.js";
import { permitsJson, permitsTable, readPermits } from "./permits.js";
import { Screen } from "./screen.js";
import { statusDetails } from "./status-details.js";
import { statusTable, summary } from "./status-table.js";
import { printable, shortened } from "./text.js";
import { type Records, type Viewer, watch } from "./watch.js";
import { settingsOf } from "./why.js";

const DEFAULT_COLUMNS = 80;

export const status: Command = {
  summary: "show the circuits: states, since when, until when, and why",
  help: `Usage: bulkman status [NAME] [options]

Shows every circuit of a namespace: its state, since when, until when it is open
or probed, why it is open and who opened it, who probes, or which hosts vote to
open it; and what was set.
Below them, who holds how many permits of a fleet's limit. With a NAME, all that
is known of that circuit.

Options:
  --json            one JSON document; with --watch, one line of JSON for each
                    circuit and each change
  --watch           go on showing changes, until Ctrl-C
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(args, OPTIONS, { allowPositionals: true });
    const only = positionals.length === 0 ? undefined : readName(positionals);
    if (values.watch && only !== undefined) {
      throw new UsageError("--watch shows every circuit; leave NAME out");
    }
    return withCircuits(values, async (circuits) => {
      if (values.watch) return watch(circuits, () => viewer(circuits.namespace, values.json));
      const records = only === undefined ? await list(circuits) : await listOne(circuits, only);
      const text = values.json
        ? JSON.stringify(await documentOf(circuits, records, only), null, 2)
        : (await textOf(circuits, records, only)).join("\n");
      process.stdout.write(`${text}\n`);
      return 0;
    });
  },
};

const OPTIONS = {
  json: { type: "boolean", default: false },
  watch: { type: "boolean", default: false },
  ...CIRCUITS_OPTIONS,
} as const;

/** @throws {Error} when there is no circuit of that name */
async function listOne(circuits: Circuits, name: string): Promise<Records> {
  const record = await circuits.storage.getState(name);
  if (record === null) throw await missing(circuits, name);
  return new Map([[name, record]]);
}

/** The JSON for programs: fields are added, and never removed. */
function circuitJson(name: string, record: CircuitRecord) {
  const { state, updatedAt, openUntil, failureCount, openedBy, reason } = record;
  const { probeOwner, probeUntil, probeSuccesses, openings, version } = record;
  const { cause = null, changedBy = null } = record;
  const votes = liveVotes(record);
  const settings = settingsOf(record);
  return {
    ...{
      name,
      state,
      since: updatedAt,
      openUntil,
      failureCount,
      openedBy,
      reason,
      cause,
      changedBy,
    },
    ...{ probeOwner, probeUntil, probeSuccesses, openings, votes, settings, version },
  };
}

async function documentOf(place: Circuits, records: Records, only: string | undefined) {
  const circuits = [...records].map(([name, record]) => circuitJson(name, record));
  // `null`: there is no table of permits, or this user may not read it.
  const permits = (await readPermits(place, only))?.map(permitsJson) ?? null;
  return { namespace: place.namespace, readAt: readAtOf(records), circuits, permits };
}

async function textOf(
  circuits: Circuits,
  records: Records,
  only: string | undefined,
): Promise<string[]> {
  const record = only === undefined ? undefined : records.get(only);
  if (only !== undefined && record !== undefined) {
    const [permits] = (await readPermits(circuits, only)) ?? [];
    return statusDetails(circuits.namespace, only, record, permits);
  }
  const permits = (await readPermits(circuits)) ?? [];
  const below = permits.length > 0 ? ["", ...permitsTable(permits, columnsOf())] : [];
  if (records.size > 0) return [...tableOf(circuits.namespace, records), ...below];
  const others = await namespaces(circuits);
  const hint = others.length > 0 ? `; there are circuits in: ${others.join(", ")}` : "";
  const text = `There is no circuit in the namespace "${circuits.namespace}"${hint}.`;
  return [printable(text), ...below];
}

/** The terminal's width; a pipe or a file has none. */
function columnsOf(): number {
  const { isTTY, columns } = process.stdout;
  return isTTY ? columns || DEFAULT_COLUMNS : Number.POSITIVE_INFINITY;
}

function tableOf(namespace: string, records: Records, rows?: number): string[] {
  const columns = columnsOf();
  // `hasColors` knows NO_COLOR, FORCE_COLOR and TERM.
  const color = process.stdout.isTTY && process.stdout.hasColors();
  const heading = shortened(summary(namespace, records, readAtOf(records)), columns);
  return [heading, "", ...statusTable(records, { columns, rows, color })];
}

/** By the database's clock, if any circuit was read. */
function readAtOf(records: Records): Date {
  const times = Array.from(records.values(), ({ readAt }) => readAt.getTime());
  return times.length > 0 ? new Date(Math.max(...times)) : new Date();
}

function viewer(namespace: string, json: boolean): Viewer {
  // A space before the next line: it is still one document of JSON.
  if (json) return new Lines(" ", (records, changed) => changeLines(namespace, records, changed));
  const isScreen = process.stdout.isTTY && process.env["TERM"] !== "dumb";
  if (!isScreen) return new Lines("\n", (records) => [...tableOf(namespace, records), ""]);
  let latest: Records = new Map();
  let trouble: string | undefined;
  const screen = new Screen((rows) => {
    const heading =
      trouble === undefined ? [] : [shortened(`Trying again: ${trouble}`, columnsOf())];
    return [...heading, ...tableOf(namespace, latest, rows - 2 - heading.length)];
  });
  return {
    show: (records) => {
      latest = records;
      screen.draw();
    },
    trouble: (reason) => {
      trouble = reason === undefined ? undefined : printable(reason.replace(/\s+/g, " "));
      screen.draw();
    },
    close: () => screen.leave(),
  };
}

function changeLines(namespace: string, records: Records, changed: readonly string[]): string[] {
  return changed.map((name) => {
    const record = records.get(name);
    return JSON.stringify(
      record === undefined
        ? { namespace, name, removed: true }
        : { namespace, ...circuitJson(name, record), readAt: record.readAt },
    );
  });
}

/** The pauses before fillers, in milliseconds: the first after each output, then twice as long each time. */
const FIRST_FILLER_MS = 500;
const LAST_FILLER_MS = 60_000;

/**
 * Writes lines, one below the other, for pipes, files and simple terminals. Only a write shows that the reader of a
 * pipe has ended, as after `| head -2`, and there may be nothing to write for hours: otherwise the process would
 * linger. So it writes fillers, which readers ignore.
 */
class Lines implements Viewer {
  readonly #filler: string;
  readonly #linesOf: (records: Records, changed: readonly string[]) => string[];
  #isTrouble = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  /** @param filler text that readers ignore between two lines */
  constructor(filler: string, linesOf: (records: Records, changed: readonly string[]) => string[]) {
    this.#filler = filler;
    this.#linesOf = linesOf;
  }

  show(records: Records, changed: readonly string[]): void {
    const lines = this.#linesOf(records, changed);
    if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
    if (isPiped(process.stdout.fd)) this.#fillAfter(FIRST_FILLER_MS);
  }

  #fillAfter(pauseMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      process.stdout.write(this.#filler);
      this.#fillAfter(Math.min(2 * pauseMs, LAST_FILLER_MS));
    }, pauseMs);
  }

  trouble(reason: string | undefined): void {
    // Once, not for each try.
    if (reason !== undefined && !this.#isTrouble) {
      process.stderr.write(
        `bulkman status: ${printable(reason.replace(/\s+/g, " "))}; trying again\n`,
      );
    }
    this.#isTrouble = reason !== undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

function isPiped(fd: number): boolean {
  const stats = fstatSync(fd);
  return stats.isFIFO() || stats.isSocket();
}
