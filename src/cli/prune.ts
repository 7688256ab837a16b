import { PostgresStorageError } from "../storage/postgres/errors.js";
import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readDuration } from "./arguments.js";
import { ask } from "./ask.js";
import { type Circuits, QUERY_LIMIT_MS, withCircuits } from "./circuits.js";
import { type Command, INTERRUPTED, UsageError } from "./command.js";
import { printable } from "./text.js";

/** An open circuit is never removed: its isolation would end. */
const OLD = `namespace = $1::text AND state = 'CLOSED'
  AND updated_at < now() - make_interval(secs => $2::float8)`;
const FIND = `SELECT resource_key FROM rc_circuit_breakers WHERE ${OLD} ORDER BY resource_key`;
const REMOVE = `WITH removed AS (
  DELETE FROM rc_circuit_breakers WHERE ${OLD} AND resource_key = ANY ($3::text[])
  RETURNING resource_key
) SELECT resource_key FROM removed ORDER BY resource_key`;

export const prune: Command = {
  summary: "remove closed circuits that have not changed for long",
  help: `Usage: bulkman prune --older-than TIME [options]

Shows the closed circuits of a namespace that have not changed for that time,
asks, removes them, and prints their names. A bulkhead that still uses one
creates it again. The user needs DELETE on the table.

Options:
  --older-than TIME a number with s, m, h or d, such as 12h or 30d
  --yes             remove them without asking
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values } = readArguments(args, {
      "older-than": { type: "string" },
      yes: { type: "boolean", default: false },
      ...CIRCUITS_OPTIONS,
    });
    const age = values["older-than"];
    if (age === undefined)
      throw new UsageError("--older-than is missing; such as --older-than 30d");
    const seconds = readDuration("--older-than", age);
    return withCircuits(values, async (circuits) => {
      const names = await find(circuits, seconds);
      const count = `${names.length} ${names.length === 1 ? "circuit" : "circuits"}`;
      const what = printable(`${count} of the namespace "${circuits.namespace}"`);
      if (names.length > 0 && !values.yes) {
        const question = `\nRemove ${what}? [y/N] `;
        const answer = await ask(question, "--yes to remove them", linesOf(names));
        if (answer === undefined) return INTERRUPTED;
        if (!/^y(es)?$/i.test(answer.trim())) {
          process.stderr.write("Nothing was removed.\n");
          return 1;
        }
      }
      const removed = names.length === 0 ? [] : await remove(circuits, seconds, names);
      process.stdout.write(linesOf(removed));
      process.stderr.write(`Removed ${removed.length} of ${what}.\n`);
      return 0;
    });
  },
};

function linesOf(names: readonly string[]): string {
  return names.map((name) => `${printable(name)}\n`).join("");
}

async function find({ database, namespace }: Circuits, seconds: number): Promise<string[]> {
  const rows = await database.query(FIND, [namespace, seconds], QUERY_LIMIT_MS);
  return rows.map(([name]) => name ?? "");
}

/** Only the circuits that were shown, and that are still old: the answer may come hours later. */
async function remove(
  { database, namespace }: Circuits,
  seconds: number,
  names: readonly string[],
): Promise<string[]> {
  try {
    const rows = await database.query(REMOVE, [namespace, seconds, names], QUERY_LIMIT_MS);
    return rows.map(([name]) => name ?? "");
  } catch (error) {
    // The storage's advice names the privileges that a service needs.
    const isForbidden = error instanceof PostgresStorageError && error.code === "42501";
    if (isForbidden) throw new Error("this user needs DELETE on the table rc_circuit_breakers");
    throw error;
  }
}
