import { EMPTY_POOL, type PermitPool, type PermitRequest } from "../../src/index.js";
import type { TestDatabase } from "./database.js";

/** A request of 15 seconds for at most 10 permits, which is renewed every 5 seconds. */
export function permitRequest(
  owner: string,
  want: number,
  changes: Partial<PermitRequest> = {},
): PermitRequest {
  return {
    name: "api",
    owner,
    sequence: nextSequence++,
    limit: 10,
    keep: 0,
    want,
    leaseSeconds: 15,
    renewSeconds: 5,
    ...changes,
  };
}
let nextSequence = 1;

interface PermitRow {
  readonly name: string;
  readonly owner: string;
  readonly sequence: string;
  readonly permit_limit: string | null;
  readonly permits: string;
  readonly wants: string;
  readonly turn: string;
  readonly asked_ms: number | null;
  readonly lease_ms: number | null;
  readonly learns_ms: number | null;
  readonly noticed_ms: number | null;
}

/** The pools of these names, as `applyLease` takes them. */
export async function readPools(
  database: TestDatabase,
  names: readonly string[],
): Promise<Map<string, PermitPool>> {
  const ms = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`;
  const rows = await database.query<PermitRow>(
    `SELECT *, ${ms("asked_at")} AS asked_ms, ${ms("lease")} AS lease_ms, ${ms("learns_since")} AS learns_ms,
      ${ms("noticed_at")} AS noticed_ms
    FROM bulkman_permits WHERE namespace = 'default' AND name = ANY ($1) ORDER BY owner COLLATE "C"`,
    [names],
  );
  return new Map(names.map((name) => [name, toPool(rows.filter((row) => row.name === name))]));
}

function toPool([pool, ...shares]: readonly PermitRow[]): PermitPool {
  if (pool === undefined) return EMPTY_POOL;
  return {
    limitSet: pool.permit_limit === null ? null : Number(pool.permit_limit),
    askedAt: pool.asked_ms ?? 0,
    learnsSince: pool.learns_ms ?? 0,
    learnsMs: pool.learns_ms === null ? 0 : (pool.lease_ms ?? 0),
    noticedAt: pool.noticed_ms ?? 0,
    nextTurn: Number(pool.turn),
    shares: shares.map((share) => ({
      owner: share.owner,
      sequence: Number(share.sequence),
      limit: Number(share.permit_limit),
      permits: Number(share.permits),
      wants: Number(share.wants),
      turn: Number(share.turn),
      askedAt: share.asked_ms ?? 0,
      leaseMs: share.lease_ms ?? 0,
    })),
  };
}
