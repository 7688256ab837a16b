import {
  type CircuitCause,
  type CircuitRecord,
  type CircuitSettings,
  type CircuitVote,
  isCircuitStatus,
} from "../circuit-storage.js";

/**
 * SQL for a row as JSON, with its times in milliseconds of the epoch: independent of the session's
 * `DateStyle` and of the type parsers that an application has given to pg.
 *
 * @param row name of the row in the statement
 * @param indent of the lines after the first, for people who read the statement
 */
export function recordJson(row: string, indent = 2): string {
  const ms = (column: string) => `extract(epoch FROM ${column}) * 1000`;
  return [
    `json_build_object('state', ${row}.state, 'failureCount', ${row}.failure_count,`,
    `'openUntil', ${ms(`${row}.open_until`)},`,
    // A notice holds 8000 bytes, and every role that may write the table can store longer texts.
    `'openedBy', left(${row}.opened_by, 255), 'reason', left(${row}.reason, 255),`,
    `'cause', CASE WHEN ${row}.opening_rule IS NOT NULL THEN json_build_object(`,
    `'rule', left(${row}.opening_rule, 255), 'failure', left(${row}.failure_name, 255),`,
    `'code', left(${row}.failure_code, 255)) END, 'changedBy', left(${row}.changed_by, 255),`,
    `'probeOwner', left(${row}.probe_owner, 255), 'probeUntil', ${ms(`${row}.probe_until`)},`,
    `'probeSuccesses', ${row}.probe_successes, 'openings', ${row}.openings,`,
    `'votes', ${row}.votes, 'settings', ${row}.settings,`,
    `'version', ${row}.version, 'updatedAt', ${ms(`${row}.updated_at`)},`,
    `'readAt', ${ms("clock_timestamp()")})`,
  ].join(`\n${" ".repeat(indent)}`);
}

/**
 * Parses the JSON of {@link recordJson}.
 * @throws {TypeError} when it is malformed
 */
export function toRecord(json: unknown): CircuitRecord {
  if (typeof json !== "object" || json === null) throw malformed(json);
  const row: { readonly [field: string]: unknown } = { ...json };
  const { state, version, failureCount } = row;
  const readAt = toDate(row["readAt"], Math.floor);
  if (!isCircuitStatus(state) || !Number.isSafeInteger(version) || readAt === null)
    throw malformed(json);
  return {
    state,
    failureCount: Number(failureCount),
    // Rounded up: otherwise an isolation would end here before it ends in the database.
    openUntil: toDate(row["openUntil"], Math.ceil),
    openedBy: toText(row["openedBy"]),
    reason: toText(row["reason"]),
    cause: toCause(row["cause"]),
    changedBy: toText(row["changedBy"]),
    probeOwner: toText(row["probeOwner"]),
    probeUntil: toDate(row["probeUntil"], Math.ceil),
    probeSuccesses: Number(row["probeSuccesses"]),
    openings: Number(row["openings"] ?? 0),
    votes: toVotes(row["votes"]),
    settings: toSettings(row["settings"]),
    version: Number(version),
    updatedAt: toDate(row["updatedAt"], Math.floor) ?? readAt,
    readAt,
  };
}

/**
 * The trigger rejects malformed settings. Where it was bypassed, the circuit goes on without them: they must not keep
 * a process from following it.
 */
function toSettings(json: unknown): CircuitSettings | null {
  if (!isObject(json) || !isObject(json["values"])) return null;
  const { values, until, reason, by } = json;
  const end = new Date(typeof until === "string" ? until : Number.NaN);
  return {
    values,
    until: Number.isNaN(end.getTime()) ? null : end,
    reason: toText(reason),
    by: toText(by),
  };
}

/** By owner. Every role that may write the table can write anything into the column: what is malformed is no vote. */
function toVotes(json: unknown): CircuitVote[] {
  if (!isObject(json)) return [];
  return Object.entries(json).flatMap(([owner, vote]) => {
    const { host, until, openSeconds, openings, quorum } = isObject(vote) ? vote : {};
    const end = typeof until === "number" ? toDate(until, Math.ceil) : null;
    if (typeof host !== "string" || end === null) return [];
    return [
      {
        ...{ host, owner, until: end, openSeconds: Number(openSeconds) || 0 },
        ...{ openings: Number(openings) || 0, quorum: Number(quorum) || 0 },
      },
    ];
  });
}

function toCause(json: unknown): CircuitCause | null {
  const { rule, failure, code } = isObject(json) ? json : {};
  if (typeof rule !== "string") return null;
  return { rule, failure: toText(failure), code: toText(code) };
}

function toText(json: unknown): string | null {
  return typeof json === "string" ? json : null;
}

function isObject(json: unknown): json is Readonly<Record<string, unknown>> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

const LAST_DATE_MS = 8.64e15;

/** `infinity`, which an operator may write, becomes the last moment that a `Date` can hold. */
function toDate(ms: unknown, round: (ms: number) => number): Date | null {
  if (ms === null || ms === undefined) return null;
  const date = new Date(Math.max(-LAST_DATE_MS, Math.min(LAST_DATE_MS, round(Number(ms)))));
  return Number.isNaN(date.getTime()) ? null : date;
}

function malformed(json: unknown): TypeError {
  const text = JSON.stringify(json) ?? String(json);
  return new TypeError(`The database returned a malformed circuit: ${text.slice(0, 200)}`);
}
