import { PostgresStorageError } from "../storage/postgres/errors.js";
import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readDuration } from "./arguments.js";
import { ask } from "./ask.js";
import { type Circuits, QUERY_LIMIT_MS, withCircuits } from "./circuits.js";
import { type Command, INTERRUPTED, UsageError } from "./command.js";
import { historyError } from "./history-data.js";
import { isUnreadable } from "./permits.js";
import { printable } from "./text.js";

/** A circuit that is open, or has settings in force, is never removed: these would end. */
const OLD = `namespace = $1::text AND state = 'CLOSED'
  AND (settings IS NULL OR (settings->>'until')::timestamptz < now())
  AND updated_at < now() - make_interval(secs => $2::float8)`;
const FIND = `SELECT resource_key FROM rc_circuit_breakers WHERE ${OLD} ORDER BY resource_key`;
const REMOVE = `WITH removed AS (
  DELETE FROM rc_circuit_breakers WHERE ${OLD} AND resource_key = ANY ($3::text[])
  RETURNING resource_key
) SELECT resource_key FROM removed ORDER BY resource_key`;

/**
 * Locks the row of each name first, in the order of their names, as processes do. A day, because the leases of owners
 * that could not ask may count for longer than they last.
 */
const REMOVE_PERMITS = `WITH unused AS MATERIALIZED (
  SELECT name FROM bulkman_permits p
  WHERE namespace = $1::text AND owner = ''
    AND asked_at < now() - greatest(make_interval(secs => $2::float8), interval '1 day')
    AND NOT EXISTS (SELECT FROM bulkman_permits s
      WHERE s.namespace = p.namespace AND s.name = p.name AND s.owner <> '' AND s.asked_at + s.lease > now())
  ORDER BY name COLLATE "C" FOR UPDATE
)
DELETE FROM bulkman_permits p USING unused
WHERE p.namespace = $1::text AND p.name = unused.name AND (p.owner <> '' OR p.permit_limit IS NULL)`;

const FIND_HISTORY = `SELECT count(*)::text FROM bulkman_history
WHERE namespace = $1::text AND changed_at < now() - make_interval(secs => $2::float8)`;
const REMOVE_HISTORY = `WITH removed AS (
  DELETE FROM bulkman_history
  WHERE namespace = $1::text AND changed_at < now() - make_interval(secs => $2::float8) RETURNING 1
) SELECT count(*)::text FROM removed`;

export const prune: Command = {
  summary: "remove old circuits that are closed, and old history",
  help: `Usage: bulkman prune --older-than TIME [--history TIME] [options]
       bulkman prune --history TIME [options]

Shows the closed circuits of a namespace that have not changed for that time,
asks, removes them, and prints their names. A bulkhead that still uses one
creates it again; one with settings in force stays. Rows of permits that no
process has used for that time go, too. With --history it removes changes from
the history that are older than that. The user needs DELETE on the table.

Options:
  --older-than TIME a number with s, m, h or d, such as 12h or 30d
  --history TIME    the same, for the history
  --yes             remove them without asking
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values } = readArguments(args, {
      "older-than": { type: "string" },
      history: { type: "string" },
      yes: { type: "boolean", default: false },
      ...CIRCUITS_OPTIONS,
    });
    const { "older-than": age, history, yes } = values;
    if (age === undefined && history === undefined) {
      throw new UsageError("--older-than is missing, or --history; such as --older-than 30d");
    }
    const seconds = age === undefined ? undefined : readDuration("--older-than", age);
    const kept = history === undefined ? undefined : readDuration("--history", history);
    return withCircuits(values, async (circuits) => {
      const names = seconds === undefined ? undefined : await find(circuits, seconds);
      const changes =
        kept === undefined ? undefined : await inHistory(circuits, FIND_HISTORY, kept);
      const place = printable(`of the namespace "${circuits.namespace}"`);
      const found = [
        ...(names === undefined ? [] : [counted(names.length, "circuit")]),
        ...(changes === undefined ? [] : [`${counted(changes, "change")} in the history`]),
      ].join(" and ");
      if (((names?.length ?? 0) > 0 || (changes ?? 0) > 0) && !yes) {
        const question = `${names?.length ? "\n" : ""}Remove ${found} ${place}? [y/N] `;
        const answer = await ask(question, "--yes to remove them", linesOf(names ?? []));
        if (answer === undefined) return INTERRUPTED;
        if (!/^y(es)?$/i.test(answer.trim())) {
          process.stderr.write("Nothing was removed.\n");
          return 1;
        }
      }
      if (names !== undefined && seconds !== undefined) {
        const removed = names.length === 0 ? [] : await remove(circuits, seconds, names);
        process.stdout.write(linesOf(removed));
        const all = counted(names.length, "circuit");
        process.stderr.write(`Removed ${removed.length} of ${all} ${place}.\n`);
        await removePermits(circuits, seconds);
      }
      if (kept !== undefined) {
        const removed = changes === 0 ? 0 : await inHistory(circuits, REMOVE_HISTORY, kept);
        process.stderr.write(`Removed ${counted(removed, "change")} in the history ${place}.\n`);
      }
      return 0;
    });
  },
};

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** Runs a statement that counts changes older than that. */
async function inHistory(
  { database, namespace }: Circuits,
  statement: string,
  seconds: number,
): Promise<number> {
  try {
    const [row] = await database.query(statement, [namespace, seconds], QUERY_LIMIT_MS);
    return Number(row?.[0]);
  } catch (error) {
    throw historyError(error, "SELECT and DELETE");
  }
}

/** Nothing depends on them: they take only space. So it does not matter when this user may not remove them. */
async function removePermits({ database, namespace }: Circuits, seconds: number): Promise<void> {
  try {
    await database.query(REMOVE_PERMITS, [namespace, seconds], QUERY_LIMIT_MS);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
}

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
