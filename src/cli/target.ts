import type { ConnectionConfig } from "../storage/postgres/connection.js";
import { readConnectionUrl } from "../storage/postgres/connection-url.js";
import { loadDriver } from "../storage/postgres/driver.js";

type Part = "host" | "port" | "database" | "user";

/** The variables of each part of an address: resilient-circuit's and libpq's. */
const VARIABLES: { readonly [part in Part]: readonly [own: string, libpqs: string] } = {
  host: ["RC_DB_HOST", "PGHOST"],
  port: ["RC_DB_PORT", "PGPORT"],
  database: ["RC_DB_NAME", "PGDATABASE"],
  user: ["RC_DB_USER", "PGUSER"],
};
const PARTS = Object.keys(VARIABLES) as Part[];

/**
 * Where a command connects to, and the source of each part, such as
 * `host "db" (RC_DB_HOST), port 5432 (default), database "app" (--dsn), user "app" (PGUSER)`. Never the password.
 */
export async function describeTarget(
  config: ConnectionConfig,
  dsn: string | undefined,
): Promise<string> {
  const { Client } = await loadDriver();
  const client = new Client(config);
  return PARTS.map((part) => {
    const value = part === "port" ? client.port : `"${client[part] ?? ""}"`;
    return `${part} ${value} (${originOf(part, dsn)})`;
  }).join(", ");
}

function originOf(part: Part, dsn: string | undefined): string {
  const { RC_DB_DSN, RC_DB_HOST } = process.env;
  const [own, libpqs] = VARIABLES[part];
  const otherwise = process.env[libpqs] ? libpqs : "default";
  if (dsn !== undefined) return readConnectionUrl(dsn)[part] ? "--dsn" : otherwise;
  if (RC_DB_DSN) return readConnectionUrl(RC_DB_DSN)[part] ? "RC_DB_DSN" : otherwise;
  if (RC_DB_HOST) return process.env[own] ? own : "default";
  return otherwise;
}
