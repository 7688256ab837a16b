import type { CircuitCause } from "../storage/circuit-storage.js";
import { PostgresStorageError } from "../storage/postgres/errors.js";
import { type Circuits, QUERY_LIMIT_MS } from "./circuits.js";

/** A change of the state of a circuit. */
export interface Change {
  readonly at: Date;
  readonly name: string;
  readonly from: string;
  /** Its new state, or `REMOVED`. */
  readonly to: string;
  readonly by: string | null;
  /** An operator's. */
  readonly reason: string | null;
  readonly cause: CircuitCause | null;
  readonly failureCount: number;
  /** How long the new state lasted, or lasts so far; `null` for a removed circuit. */
  readonly seconds: number | null;
  /** Whether it lasts. */
  readonly isCurrent: boolean;
}

/** Changes within a time, the oldest first. Every time is by the database's clock. */
export interface History {
  readonly since: Date;
  readonly readAt: Date;
  readonly changes: readonly Change[];
}

const CHANGES = `SELECT json_build_object('at', extract(epoch FROM changed_at) * 1000, 'name', resource_key,
  'from', old_state, 'to', new_state, 'by', changed_by, 'reason', reason,
  'rule', opening_rule, 'failure', failure_name, 'code', failure_code, 'failureCount', failure_count,
  'seconds', extract(epoch FROM coalesce(ended_at, now()) - changed_at), 'isCurrent', ended_at IS NULL)
FROM (SELECT *, lead(changed_at) OVER (PARTITION BY resource_key ORDER BY id) AS ended_at FROM bulkman_history
  WHERE namespace = $1::text AND resource_key = coalesce($2::text, resource_key)
    AND changed_at >= now() - make_interval(secs => $3::float8)) h
ORDER BY id`;

const TIMES = `SELECT (extract(epoch FROM now() - make_interval(secs => $1::float8)) * 1000)::text,
  (extract(epoch FROM now()) * 1000)::text`;

/** @throws {Error} when the history is missing, or may not be read */
export async function readHistory(
  { database, namespace }: Circuits,
  name: string | undefined,
  seconds: number,
): Promise<History> {
  try {
    return await database.session(async (query) => {
      const [[since, readAt] = []] = await query(TIMES, [seconds]);
      const rows = await query(CHANGES, [namespace, name ?? null, seconds]);
      return { since: dateOf(since), readAt: dateOf(readAt), changes: rows.map(toChange) };
    }, QUERY_LIMIT_MS);
  } catch (error) {
    throw historyError(error, "SELECT");
  }
}

/** Advice about the table of the history: the storage's is about the table of circuits. */
export function historyError(error: unknown, privileges: string): unknown {
  if (!(error instanceof PostgresStorageError)) return error;
  if (error.code === "42P01") {
    return new Error('there is no table bulkman_history; run "bulkman pg-setup" to create it');
  }
  if (error.code === "42501") {
    return new Error(`this user needs ${privileges} on the table bulkman_history`);
  }
  return error;
}

function dateOf(ms: unknown): Date {
  return new Date(Math.floor(Number(ms)));
}

function toChange([json]: ReadonlyArray<string | null>): Change {
  const { at, rule, failure, code, seconds, ...change } = JSON.parse(json ?? "");
  const isRemoved = change.to === "REMOVED";
  return {
    ...change,
    at: dateOf(at),
    cause: rule === null ? null : { rule, failure, code },
    failureCount: change.failureCount ?? 0,
    seconds: isRemoved ? null : Math.max(0, Number(seconds)),
    isCurrent: change.isCurrent && !isRemoved,
  };
}

/** What became of one circuit within the time. */
export interface Summary {
  readonly name: string;
  /** How often it opened. */
  readonly openings: number;
  /** How long it was open or half-open. */
  readonly secondsNotClosed: number;
}

/** Of each circuit that changed; the one that opened most often first. */
export function summaries({ since, changes }: History): Summary[] {
  const names = new Set(changes.map(({ name }) => name));
  const all = Array.from(names, (name) => {
    const own = changes.filter((change) => change.name === name);
    const first = own[0];
    // It was not closed when the time began.
    const before =
      first === undefined || first.from === "CLOSED"
        ? 0
        : (Number(first.at) - Number(since)) / 1000;
    const later = own.filter(({ to }) => to !== "CLOSED").map(({ seconds }) => seconds ?? 0);
    return {
      name,
      openings: own.filter(({ to }) => to === "OPEN").length,
      secondsNotClosed: later.reduce((sum, seconds) => sum + seconds, before),
    };
  });
  return all.sort((one, other) => other.openings - one.openings);
}
