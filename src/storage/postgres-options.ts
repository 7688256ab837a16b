import type { ClientConfig, Pool } from "pg";
import { BOOLEAN, NAME, orNull, POSITIVE_SECONDS, readFields } from "../config.js";
import { readConnectionUrl } from "./connection-url.js";
import { redact } from "./postgres-errors.js";

/** Options of a {@link PostgresStorage}. Without `pool` and `connectionString`, the environment tells. */
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

const anything = { words: "", hasType: () => true, inRange: () => true };
const RULES = {
  // Checked apart: a message that shows what was given would show a password.
  pool: anything,
  connectionString: anything,
  namespace: NAME,
  ensureSchema: BOOLEAN,
  queryTimeoutSeconds: POSITIVE_SECONDS,
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
  if (pool !== undefined && connectionString !== undefined) {
    throw new TypeError("pool and connectionString exclude each other; got both");
  }
  return {
    source: pool ?? clientConfig(connectionString),
    namespace: options.namespace ?? "default",
    ensureSchema: options.ensureSchema ?? true,
    queryTimeoutSeconds: options.queryTimeoutSeconds ?? 1,
    probeLeaseSeconds: options.probeLeaseSeconds ?? 30,
    pollSeconds: options.pollSeconds ?? null,
    heartbeatSeconds: options.heartbeatSeconds === undefined ? 30 : options.heartbeatSeconds,
  };
}

/**
 * How to connect: by the connection string, else by `RC_DB_*`, else by pg's own `PG*`.
 * @throws {TypeError} when the connection string cannot be read, or has a password that is not encoded
 * @throws {RangeError} for a wrong `RC_DB_PORT`
 */
export function clientConfig(
  connectionString: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ClientConfig {
  const common = { keepAlive: true, fallback_application_name: "bulkman" };
  if (connectionString === undefined) return { ...fromEnvironment(env), ...common };
  // Anything else, such as "host=… password=…", pg takes for a database's name, and shows it in errors.
  if (typeof connectionString !== "string" || !CONNECTION_URL.test(connectionString)) {
    throw new TypeError(
      'connectionString must be a URL such as "postgres://user@host:5432/database"; got ' +
        (typeof connectionString === "string" ? "another string" : kindOf(connectionString)),
    );
  }
  if (isAmbiguous(connectionString)) {
    throw new TypeError(
      'connectionString can be read in two ways: percent-encode user and password, "/" as %2F, "?" as %3F, "#" as %23 and "@" as %40',
    );
  }
  try {
    readConnectionUrl(connectionString);
  } catch (error) {
    const reason = redact(error instanceof Error ? error.message : "", [connectionString]);
    throw new TypeError(`connectionString cannot be read: ${reason}`);
  }
  return { connectionString, ...common };
}

/** A host's URL, or the path of a Unix socket. */
const CONNECTION_URL = /^((postgres|postgresql|socket):\/\/|\/)/i;
const PARTS =
  /^\w+:\/\/(?<authority>[^/?#]*)(?<path>[^?#]*)(\?(?<query>[^#]*))?(#(?<fragment>.*))?$/s;

/**
 * Whether a password may have ended the authority too early: at a "/", "?" or "#" that is not encoded. The
 * rest of it, up to its "@", would be taken for a database's name, and shown in messages. Without an
 * authority there is no password; a parameter of the query may have an "@" in its value.
 */
function isAmbiguous(url: string): boolean {
  const { authority, path, query = "", fragment = "" } = PARTS.exec(url)?.groups ?? {};
  if (authority && path?.includes("@")) return true;
  const isBroken = (parameter: string) => parameter.includes("@") && !/^\w+=/.test(parameter);
  return fragment.includes("@") || query.split("&").some(isBroken);
}

function fromEnvironment(env: NodeJS.ProcessEnv): ClientConfig {
  const { RC_DB_HOST, RC_DB_PORT, RC_DB_NAME, RC_DB_USER, RC_DB_PASSWORD } = env;
  const names = RC_DB_HOST
    ? { RC_DB_HOST, RC_DB_NAME, RC_DB_USER }
    : { PGHOST: env["PGHOST"], PGDATABASE: env["PGDATABASE"], PGUSER: env["PGUSER"] };
  for (const [variable, name] of Object.entries(names)) {
    // It may hold a password, and names are shown.
    if (name?.includes("://")) throw new TypeError(`${variable} must be a name, not a URL`);
  }
  if (!RC_DB_HOST) return {};
  const port = Number(RC_DB_PORT || 5432);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new RangeError(`RC_DB_PORT must be an integer from 1 to 65535; got "${RC_DB_PORT}"`);
  }
  return {
    host: RC_DB_HOST,
    port,
    database: RC_DB_NAME || "resilient_circuit_db",
    user: RC_DB_USER || "postgres",
    ...(RC_DB_PASSWORD ? { password: RC_DB_PASSWORD } : {}),
  };
}

/** What must not be seen in a message. */
export function secretsOf(config: ClientConfig): string[] {
  const { connectionString, password = process.env["PGPASSWORD"] } = config;
  const secrets = new Set<string>();
  if (connectionString !== undefined) {
    secrets.add(connectionString);
    const inside = passwordIn(connectionString);
    if (inside !== undefined) secrets.add(inside).add(encodeURIComponent(inside));
  }
  if (typeof password === "string") secrets.add(password);
  secrets.delete("");
  return [...secrets];
}

function passwordIn(connectionString: string): string | undefined {
  try {
    return readConnectionUrl(connectionString).password;
  } catch {
    // An application's pool may have one that cannot be read. It connects nowhere.
    return undefined;
  }
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

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
