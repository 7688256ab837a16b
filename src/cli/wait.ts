import type { CircuitRecord, CircuitStatus } from "../storage/circuit-storage.js";
import {
  CIRCUITS_HELP,
  CIRCUITS_OPTIONS,
  readArguments,
  readDuration,
  readName,
} from "./arguments.js";
import { type Circuits, list, missing, withCircuits } from "./circuits.js";
import { type Command, UsageError } from "./command.js";
import { printable } from "./text.js";
import { type Records, type Viewer, watch } from "./watch.js";

const DEFAULT_TIMEOUT = "5m";
/** The exit status when the time is up. */
const TIMED_OUT = 3;

export const wait: Command = {
  summary: "wait until a circuit is closed, or open, in a script",
  help: `Usage: bulkman wait NAME --closed|--open [options]

Ends as soon as the circuit NAME has that state, also when it has it already.
The exit status is 0 then, and ${TIMED_OUT} when the time was up before. The user needs
SELECT on the table; where the connection cannot LISTEN, it reads every second.

Options:
  --closed          wait until calls go through, in every process
  --open            wait until calls are rejected, in every process
  --timeout TIME    how long at most: a number with s, m, h or d, such as 30s;
                    default: ${DEFAULT_TIMEOUT}
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(
      args,
      {
        closed: { type: "boolean", default: false },
        open: { type: "boolean", default: false },
        timeout: { type: "string" },
        ...CIRCUITS_OPTIONS,
      },
      { allowPositionals: true },
    );
    const name = readName(positionals);
    if (values.closed === values.open) {
      throw new UsageError("one of --closed and --open is needed");
    }
    const timeout = values.timeout ?? DEFAULT_TIMEOUT;
    const timeoutMs = readDuration("--timeout", timeout) * 1000;
    const state = values.closed ? "CLOSED" : "OPEN";
    return withCircuits(values, (circuits) => waitFor(circuits, name, state, timeoutMs, timeout));
  },
};

async function waitFor(
  circuits: Circuits,
  name: string,
  state: CircuitStatus,
  timeoutMs: number,
  timeout: string,
): Promise<number> {
  const first = (await list(circuits)).get(name);
  if (first === undefined) throw await missing(circuits, name);
  const waiting = new Waiting(name, state, first);
  const timer = setTimeout(() => waiting.timeOut(timeout), Math.min(timeoutMs, LONGEST_TIMER_MS));
  try {
    return await watch(circuits, () => waiting, { pollMs: POLL_MS, ended: waiting.ended });
  } finally {
    clearTimeout(timer);
  }
}

/** Node fires a longer timer at once. It is 24 days: longer than any connection to a terminal lasts. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const POLL_MS = 1000;

class Waiting implements Viewer {
  readonly #name: string;
  readonly #state: CircuitStatus;
  #record: CircuitRecord;
  #isTrouble = false;
  #end: (status: number) => void = () => {};
  #fail: (error: Error) => void = () => {};
  /** Resolves to the exit status; rejects when the circuit was removed. */
  readonly ended = new Promise<number>((resolve, reject) => {
    this.#end = resolve;
    this.#fail = reject;
  });

  constructor(name: string, state: CircuitStatus, record: CircuitRecord) {
    this.#name = name;
    this.#state = state;
    this.#record = record;
  }

  show(records: Records): void {
    const record = records.get(this.#name);
    if (record === undefined) {
      this.#fail(new Error(`the circuit "${this.#name}" was removed`));
      return;
    }
    this.#record = record;
    if (record.state === this.#state) this.#end(0);
  }

  trouble(reason: string | undefined): void {
    // Once, not for each try.
    if (reason !== undefined && !this.#isTrouble) {
      process.stderr.write(
        `bulkman wait: ${printable(reason.replace(/\s+/g, " "))}; trying again\n`,
      );
    }
    this.#isTrouble = reason !== undefined;
  }

  timeOut(timeout: string): void {
    process.stderr.write(
      `bulkman wait: ${printable(this.#name)} is still ${this.#record.state} after ${timeout}\n`,
    );
    this.#end(TIMED_OUT);
  }

  close(): void {
    if (this.#record.state !== this.#state) return;
    process.stdout.write(`${printable(this.#name)} is ${this.#state}.\n`);
  }
}
