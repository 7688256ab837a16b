import { hostname } from "node:os";
import type { Pool } from "pg";
import { kindOf } from "../../common/describe.js";
import { BOOLEAN, NAME, orNull, POSITIVE_SECONDS, readFields } from "../../common/validation.js";
import { readPermitTimes } from "../permit-times.js";
import { type ConnectionConfig, clientConfig } from "./connection.js";
import { isNative, isPool } from "./driver.js";

/**
 * Options of a {@link PostgresStorage}. Without `pool` and `connectionString` the environment decides how to connect:
 * `RC_DB_DSN`, else `RC_DB_HOST` and the others (see {@link createStorage}), else `PGHOST` and the others.
 */
export interface PostgresStorageOptions {
  /**
   * An application's pool, used for queries and never closed. The one connection that listens is made from its
   * options, and does not count in it.
   */
  pool?: Pool | undefined;
  /** A connection URL such as `postgres://user@host:5432/database`. */
  connectionString?: string | undefined;
  /** Circuits of one name in different namespaces are independent. 1 to 255 characters. @default "default" */
  namespace?: string | undefined;
  /** Create or migrate the table when needed. `false`: `bulkman pg-setup` has done it. @default true */
  ensureSchema?: boolean | undefined;
  /** Seconds that a query may take, with the wait for a connection. > 0. @default 1 */
  queryTimeoutSeconds?: number | undefined;
  /**
   * Seconds that connecting may take. > 0. It may be longer than `queryTimeoutSeconds`: the query that needed
   * the connection fails in time, and a later one finds it established. For the storage's own connections; a `pool` has
   * its own limit.
   * @default 5
   */
  connectTimeoutSeconds?: number | undefined;
  /** Seconds that one process may probe a half-open circuit before another takes over. > 0. @default 30 */
  probeLeaseSeconds?: number | undefined;
  /**
   * The name of this process's host, for `openQuorum`, which counts hosts, and for operators. 1 to 255 characters. To be
   * set where containers on several machines have the same host name.
   * @default os.hostname()
   */
  host?: string | undefined;
  /**
   * Seconds between two reads of the circuits, for a pooler that cannot `LISTEN`. > 0, or `null` for
   * `LISTEN`.
   * @default null
   */
  pollSeconds?: number | null | undefined;
  /**
   * Seconds between two heartbeats: each queries the listening connection, and reads the circuits in use again by
   * one query, so that no change stays unnoticed for longer. > 0, or `null` for none, for a database that is
   * suspended while it has no queries. Ignored when `pollSeconds` is set.
   * @default 30
   */
  heartbeatSeconds?: number | null | undefined;
  /** Seconds that a bulkhead may start calls under a lease of the fleet's permits. > 0. @default 15 */
  permitLeaseSeconds?: number | undefined;
  /** Seconds between two requests for permits, less than `permitLeaseSeconds`. > 0. @default 5 */
  permitRenewSeconds?: number | undefined;
}

/** Validated {@link PostgresStorageOptions} with every default filled in. */
export interface ResolvedPostgresOptions {
  /** An application's pool, or how to connect with a pool of the storage's own. */
  readonly source: Pool | ConnectionConfig;
  readonly namespace: string;
  readonly ensureSchema: boolean;
  readonly queryTimeoutSeconds: number;
  readonly connectTimeoutSeconds: number;
  readonly probeLeaseSeconds: number;
  readonly host: string;
  readonly pollSeconds: number | null;
  readonly heartbeatSeconds: number | null;
  readonly permitLeaseSeconds: number;
  readonly permitRenewSeconds: number;
}

const anything = { description: "", hasType: () => true, inRange: () => true };
const RULES = {
  // Validated separately: a message with the given value would show a password.
  pool: anything,
  connectionString: anything,
  namespace: NAME,
  ensureSchema: BOOLEAN,
  queryTimeoutSeconds: POSITIVE_SECONDS,
  connectTimeoutSeconds: POSITIVE_SECONDS,
  probeLeaseSeconds: POSITIVE_SECONDS,
  host: NAME,
  pollSeconds: orNull(POSITIVE_SECONDS),
  heartbeatSeconds: orNull(POSITIVE_SECONDS),
  permitLeaseSeconds: POSITIVE_SECONDS,
  permitRenewSeconds: POSITIVE_SECONDS,
};

/**
 * Validates the options and fills in the defaults.
 * @throws {TypeError | RangeError} for an invalid value or an unknown field; the message never contains a secret
 */
export function readPostgresOptions(given: PostgresStorageOptions): ResolvedPostgresOptions {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new TypeError(`options must be an object; got ${kindOf(given)}`);
  }
  const options = readFields<PostgresStorageOptions>("options", given, RULES);
  const { pool, connectionString } = options;
  if (pool !== undefined && !isPool(pool)) {
    throw new TypeError(`pool must be a Pool of pg; got ${kindOf(pool)}`);
  }
  if (pool !== undefined && makesNativeClients(pool)) {
    throw new TypeError(
      "pool must be a Pool of pg's JavaScript client; got one of pg.native, whose connections cannot LISTEN",
    );
  }
  if (pool !== undefined && connectionString !== undefined) {
    throw new TypeError("pool and connectionString exclude each other; got both");
  }
  return {
    source: pool ?? clientConfig(connectionString),
    namespace: options.namespace ?? "default",
    ensureSchema: options.ensureSchema ?? true,
    queryTimeoutSeconds: options.queryTimeoutSeconds ?? 1,
    connectTimeoutSeconds: options.connectTimeoutSeconds ?? 5,
    probeLeaseSeconds: options.probeLeaseSeconds ?? 30,
    host: options.host ?? hostname(),
    pollSeconds: options.pollSeconds ?? null,
    heartbeatSeconds: options.heartbeatSeconds === undefined ? 30 : options.heartbeatSeconds,
    ...readPermitTimes(options),
  };
}

/** Creates a client, unconnected: only a client shows of which kind it is. */
function makesNativeClients(pool: Pool): boolean {
  const { Client: PoolsClient } = pool as unknown as { Client: new (options: object) => object };
  try {
    return isNative(new PoolsClient(pool.options));
  } catch {
    // Its queries will fail with the same error.
    return false;
  }
}
