import { PostgresStorageError } from "../storage/postgres/errors.js";
import { type Circuits, QUERY_LIMIT_MS } from "./circuits.js";
import { fitted, localTime, printable, shortened, width } from "./text.js";

/** A bulkhead that holds or wants permits of the fleet's limit. */
interface PermitHolder {
  /** Host and process. */
  readonly owner: string;
  readonly permits: number;
  readonly wants: number;
  /** Its place in the order of turns. */
  readonly turn: number;
  /** When its lease ends. */
  readonly until: Date;
}

/** The permits of one name. */
export interface FleetPermits {
  readonly name: string;
  /** The limit now; `null` when nothing is set, and no bulkhead holds or wants permits. */
  readonly limit: number | null;
  /** What an operator has set. */
  readonly limitSet: number | null;
  readonly held: number;
  /** The ones that hold most come first. */
  readonly holders: readonly PermitHolder[];
}

/** While the database learns, leases that are over count, too. */
const PERMITS = `SELECT json_build_object('name', p.name, 'owner', p.owner, 'permits', p.permits, 'wants', p.wants,
  'limit', p.permit_limit, 'turn', p.turn, 'until', extract(epoch FROM p.asked_at + p.lease) * 1000)
FROM bulkman_permits p JOIN bulkman_permits l ON l.namespace = p.namespace AND l.name = p.name AND l.owner = ''
WHERE p.namespace = $1::text AND p.name = coalesce($2::text, p.name) AND (p.owner = ''
  OR p.asked_at + p.lease > clock_timestamp() OR l.learns_since + l.lease > clock_timestamp())
ORDER BY p.name, p.owner <> '', p.permits DESC, p.owner`;

/** The permits of the namespace, or of one name. `undefined`: there is no table of them, or this user may not read it. */
export async function readPermits(
  { database, namespace }: Circuits,
  name?: string,
): Promise<FleetPermits[] | undefined> {
  try {
    const rows = await database.query(PERMITS, [namespace, name ?? null], QUERY_LIMIT_MS);
    const pools: PermitRow[][] = [];
    for (const [json] of rows) {
      const row: PermitRow = JSON.parse(json ?? "");
      if (row.owner === "") pools.push([row]);
      else pools.at(-1)?.push(row);
    }
    return pools.map(toFleetPermits).filter(({ limit }) => limit !== null);
  } catch (error) {
    if (isUnreadable(error)) return undefined;
    throw error;
  }
}

/** Whether the table of permits is missing, or closed to this user. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof PostgresStorageError && /^(42P01|42501)$/.test(error.code ?? "");
}

interface PermitRow {
  readonly name: string;
  readonly owner: string;
  readonly permits: number;
  readonly wants: number;
  readonly limit: number | null;
  readonly turn: number;
  readonly until: number;
}

/** @param rows the first is the pool's */
function toFleetPermits([pool, ...rows]: readonly PermitRow[]): FleetPermits {
  const limitSet = pool?.limit ?? null;
  const limits = rows.flatMap(({ limit }) => limit ?? []);
  return {
    name: pool?.name ?? "",
    limit: limitSet ?? (limits.length > 0 ? Math.min(...limits) : null),
    limitSet,
    held: rows.reduce((sum, { permits }) => sum + permits, 0),
    holders: rows.map(({ owner, permits, wants, turn, until }) => ({
      // Without the UUID that makes it unique.
      owner: owner.replace(/ [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, ""),
      ...{ permits, wants, turn, until: new Date(until) },
    })),
  };
}

/** The JSON for programs: fields are added, and never removed. */
export function permitsJson({ name, limit, limitSet, held, holders }: FleetPermits) {
  const owners = holders.map(({ turn: _, ...holder }) => holder);
  return { name, limit, limitSet, held, owners };
}

/** How many are held, such as `18 of 20`. */
export function heldOf({ held, limit, limitSet }: FleetPermits): string {
  return `${held} of ${limit}${limitSet === null ? "" : ", which an operator has set"}`;
}

/** One line for each bulkhead. */
export function holderLines({ holders }: FleetPermits): string[] {
  return holders.map(
    ({ owner, permits, wants, until }) =>
      `${owner} holds ${permits}, wants ${wants}, until ${localTime(until)}`,
  );
}

/**
 * The lines of a table of all names; none without a name.
 * @param options.rows lines at most. Default: as many as there are names
 */
export function permitsTable(
  all: readonly FleetPermits[],
  {
    columns,
    rows = Number.POSITIVE_INFINITY,
  }: { readonly columns: number; readonly rows?: number | undefined },
): string[] {
  if (all.length === 0 || rows < 2) return [];
  const shown = all.length < rows ? all : all.slice(0, rows - 2);
  const cells = [
    ["PERMITS OF", "HELD", "LIMIT", "BY"],
    ...shown.map(({ name, held, limit, limitSet, holders }) => [
      printable(name),
      `${held}`,
      limitSet === null ? `${limit}` : `${limit}, set`,
      printable(holders.map(({ owner, permits }) => `${owner}: ${permits}`).join(", ")),
    ]),
  ];
  const widths = [0, 1, 2].map((i) => Math.max(...cells.map((row) => width(row[i] ?? ""))));
  const left = all.length - shown.length;
  return [
    ...cells.map((row) =>
      shortened(
        row.map((cell, i) => fitted(cell, widths[i] ?? width(cell))).join("  "),
        columns,
      ).trimEnd(),
    ),
    ...(left > 0 ? [`… and ${left} more`] : []),
  ];
}
