import { fstatSync } from "node:fs";
import type { FleetPermits } from "./permits.js";
import { Screen } from "./screen.js";
import { changeLines } from "./status-json.js";
import { statusLines } from "./status-table.js";
import { columnsOf, printable, shortened } from "./text.js";
import type { Records, Viewer } from "./watch.js";

/** Shows what `--watch` reads: on a screen, or line by line. */
export function viewer(namespace: string, json: boolean): Viewer {
  // A space before the next line: it is still one document of JSON.
  if (json) return new Lines(" ", (records, changed) => changeLines(namespace, records, changed));
  const isScreen = process.stdout.isTTY && process.env["TERM"] !== "dumb";
  if (!isScreen) {
    return new Lines("\n", (records, _changed, permits) => [
      ...statusLines(namespace, records, permits),
      "",
    ]);
  }
  let permits: readonly FleetPermits[] = [];
  let latest: Records | undefined;
  let trouble: string | undefined;
  const screen = new Screen((rows) => {
    const heading =
      trouble === undefined ? [] : [shortened(`Trying again: ${trouble}`, columnsOf())];
    return [
      ...heading,
      ...statusLines(namespace, latest ?? new Map(), permits, rows - heading.length),
    ];
  });
  return {
    show: (records) => {
      latest = records;
      screen.draw();
    },
    showPermits: (read) => {
      const isNew = JSON.stringify(read) !== JSON.stringify(permits);
      permits = read;
      if (isNew && latest !== undefined) screen.draw();
    },
    trouble: (reason) => {
      trouble = reason === undefined ? undefined : printable(reason.replace(/\s+/g, " "));
      screen.draw();
    },
    close: () => screen.leave(),
  };
}

type LinesOf = (
  records: Records,
  changed: readonly string[],
  permits: readonly FleetPermits[],
) => string[];

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
  readonly #linesOf: LinesOf;
  #permits: readonly FleetPermits[] = [];
  #isTrouble = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  /** @param filler text that readers ignore between two lines */
  constructor(filler: string, linesOf: LinesOf) {
    this.#filler = filler;
    this.#linesOf = linesOf;
  }

  show(records: Records, changed: readonly string[]): void {
    const lines = this.#linesOf(records, changed, this.#permits);
    if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
    if (isPiped(process.stdout.fd)) this.#fillAfter(FIRST_FILLER_MS);
  }

  /** With the next lines: a fleet under load would write table after table. */
  showPermits(permits: readonly FleetPermits[]): void {
    this.#permits = permits;
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
