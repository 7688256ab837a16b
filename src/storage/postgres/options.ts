import type { Pool } from "pg";
import { BOOLEAN, NAME, orNull, POSITIVE_SECONDS, readFields } from "../../common/validation.js";
import { clientConfig, kindOf } from "./connection.js";
import { isNative } from "./driver.js";

/**
 * Options of a {@link PostgresStorage}. Without `pool` and `connectionString` the environment says how to connect:
 * `RC_DB_DSN`, else `RC_DB_HOST` and the others (see {@link createStorage}), else `PGHOST` and the others.
 */
export interface PostgresStorageOptions {
  /**
   * A pool of the application's. It is used for queries, and never closed. The one connection that
   * listens is made from its options, and does not count in it.
   */
  pool?: Pool | undefined;
  /** A connection URL such as `postgres://user@host:5432/database`. */
  connectionString?: string | undefined;
  /** Circuits of one name in different namespaces have nothing to do with each other. 1 to 255 characters. @default "default" */
  namespace?: string | undefined;
  /** Create or migrate the table when that is needed. `false`: `bulkman pg-setup` has done it. @default true */
  ensureSchema?: boolean | undefined;
  /** Seconds that a query may take, with the wait for a connection. > 0. @default 1 */
  queryTimeoutSeconds?: number | undefined;
  /**
   * Seconds that a connection may take to be made. > 0. It may be longer than a query may take: the query
   * that asked for it fails in time, and a later one finds it made. For the storage's own connections; a
   * `pool` has its own limit.
   * @default 5
   */
  connectTimeoutSeconds?: number | undefined;
  /** Seconds that one process may probe a half-open circuit before another takes over. > 0. @default 30 */
  probeLeaseSeconds?: number | undefined;
  /**
   * Seconds between two reads of the circuits, for a pooler that cannot `LISTEN`. > 0, or `null` for
   * `LISTEN`.
   * @default null
   */
  pollSeconds?: number | null | undefined;
  /**
   * Seconds between two signs of life: each asks the listening connection whether it is there, and reads
   * the circuits in use again by one query, so that no change stays unnoticed for longer. > 0, or `null` for
   * none, as for a database that sleeps while nothing asks it. Without effect beside `pollSeconds`.
   * @default 30
   */
  heartbeatSeconds?: number | null | undefined;
}

const anything = { description: "", hasType: () => true, inRange: () => true };
const RULES = {
  // Checked apart: a message that shows what was given would show a password.
  pool: anything,
  connectionString: anything,
  namespace: NAME,
  ensureSchema: BOOLEAN,
  queryTimeoutSeconds: POSITIVE_SECONDS,
  connectTimeoutSeconds: POSITIVE_SECONDS,
  probeLeaseSeconds: POSITIVE_SECONDS,
  pollSeconds: orNull(POSITIVE_SECONDS),
  heartbeatSeconds: orNull(POSITIVE_SECONDS),
};

/**
 * Checks the options and fills in the defaults.
 * @throws {TypeError | RangeError} for a wrong value or an unknown field; never shows a secret
 */
export function readPostgresOptions(given: PostgresStorageOptions) {
  if (typeof given !== "object" || given === null) {
    throw new TypeError(`options must be an object; got ${kindOf(given)}`);
  }
  const options = readFields<PostgresStorageOptions>("options", given, RULES);
  const { pool, connectionString } = options;
  if (pool !== undefined && !isPool(pool)) {
    throw new TypeError(`pool must be a Pool of pg; got ${kindOf(pool)}`);
  }
  if (pool !== undefined && makesNativeClients(pool)) {
    throw new TypeError(
      "pool must be a Pool of pg's JavaScript client; got one of pg.native, whose connections cannot be listened on",
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
    pollSeconds: options.pollSeconds ?? null,
    heartbeatSeconds: options.heartbeatSeconds === undefined ? 30 : options.heartbeatSeconds,
  };
}

/** By its shape: an application can have a pg of its own. */
function isPool(value: unknown): value is Pool {
  if (typeof value !== "object" || value === null) return false;
  return (
    typeof Reflect.get(value, "connect") === "function" &&
    typeof Reflect.get(value, "Client") === "function" &&
    typeof Reflect.get(value, "options") === "object"
  );
}

/** Only a client shows of which kind it is; it is not connected. */
function makesNativeClients(pool: Pool): boolean {
  const { Client: PoolsClient } = pool as unknown as { Client: new (options: object) => object };
  try {
    return isNative(new PoolsClient(pool.options));
  } catch {
    // Its connections fail in the same way, and tell why.
    return false;
  }
}
