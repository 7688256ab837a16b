import type { ParseArgsConfig } from "node:util";
import { NAME } from "../common/validation.js";
import { ask } from "./ask.js";
import { type Circuits, list, missing } from "./circuits.js";
import { INTERRUPTED, UsageError } from "./command.js";
import { printable } from "./text.js";

/** The options of the commands that change circuits. */
export const SELECTION_OPTIONS = {
  all: { type: "boolean", default: false },
  yes: { type: "boolean", default: false },
} as const satisfies ParseArgsConfig["options"];

export const SELECTION_HELP = `  --all             every circuit of the namespace, instead of a NAME
  --yes             change several circuits without asking
`;

/** The circuits that the command line names. */
export interface Selection {
  /** `undefined`: all of the namespace. */
  readonly names: readonly string[] | undefined;
  readonly yes: boolean;
}

/**
 * @param options.all `undefined` when the command has no such option
 * @throws {UsageError} for no NAME, for both, and for an invalid NAME
 */
export function readSelection(
  positionals: readonly string[],
  { all, yes }: { readonly all?: boolean; readonly yes: boolean },
): Selection {
  if (all) {
    if (positionals.length > 0) throw new UsageError("--all and a NAME exclude each other");
    return { names: undefined, yes };
  }
  if (positionals.length === 0) {
    const what = all === undefined ? "the name of a bulkhead" : "the name of a circuit, or --all";
    throw new UsageError(`NAME is missing: ${what}`);
  }
  for (const name of positionals) {
    if (!NAME.inRange(name)) throw new UsageError(`NAME must be ${NAME.description}`);
    // It may contain a password, and errors show names.
    if (/^postgres(ql)?:\/\//.test(name)) {
      throw new UsageError("a connection string is no NAME; give it as --dsn");
    }
  }
  return { names: [...new Set(positionals)], yes };
}

/**
 * Changes the selected circuits one after the other, and prints a line for each. Asks first when these are several.
 * @param question such as `Release`
 * @param known reads the names that exist; default: those of the circuits
 * @returns the exit status
 * @throws {Error} when one of them does not exist, before any is changed; and at the first that cannot be changed
 */
export async function changeEach(
  circuits: Circuits,
  { names, yes }: Selection,
  question: string,
  change: (name: string) => Promise<string>,
  known: (circuits: Circuits) => Promise<Names> = list,
): Promise<number> {
  const selected = await existing(circuits, names, known);
  if ((names === undefined || selected.length > 1) && !yes) {
    const what = selected.length === 1 ? "1 circuit" : `${selected.length} circuits`;
    const place = printable(`${what} of the namespace "${circuits.namespace}"`);
    const about = `${selected.map((name) => `${printable(name)}\n`).join("")}\n`;
    const text = `${printable(question)} ${place}? [y/N] `;
    const answer = await ask(text, "--yes to change them", about);
    if (answer === undefined) return INTERRUPTED;
    if (!/^y(es)?$/i.test(answer.trim())) {
      process.stderr.write("Nothing was changed.\n");
      return 1;
    }
  }
  for (const [i, name] of selected.entries()) {
    try {
      process.stdout.write(`${printable(await change(name))}\n`);
    } catch (error) {
      if (selected.length === 1 || !(error instanceof Error)) throw error;
      throw new Error(`${error.message}; ${i} of ${selected.length} circuits were changed`);
    }
  }
  return 0;
}

type Names = ReadonlyMap<string, unknown> | ReadonlySet<string>;

async function existing(
  circuits: Circuits,
  names: readonly string[] | undefined,
  known: (circuits: Circuits) => Promise<Names>,
): Promise<readonly string[]> {
  // The change of a single circuit finds out by itself.
  if (names?.length === 1) return names;
  const all = await known(circuits);
  if (names === undefined && all.size === 0) {
    throw new Error(`there is no circuit in the namespace "${circuits.namespace}"`);
  }
  for (const name of names ?? []) if (!all.has(name)) throw await missing(circuits, name);
  return names ?? [...all.keys()];
}
