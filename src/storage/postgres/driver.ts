import type { Client, Pool } from "pg";

/** What is used of pg. */
export interface Driver {
  readonly Client: typeof Client;
  readonly Pool: typeof Pool;
}

/**
 * Loads pg, when something is asked of a database for the first time: programs without Postgres never load
 * it, and bundles of them do not contain it. An application's pool brings its own.
 */
export async function loadDriver(): Promise<Driver> {
  const { Client, Pool } = await import("pg");
  if (isNative(new Client())) {
    throw new Error("NODE_PG_FORCE_NATIVE is set; a PostgresStorage needs pg's JavaScript client");
  }
  return { Client, Pool };
}

/** Whether a client is one of `pg.native`, which gives no access to its connection. */
export function isNative(client: object): boolean {
  return "native" in client;
}

/** By its shape: an application can have a pg of its own. */
export function isPool(value: unknown): value is Pool {
  if (typeof value !== "object" || value === null) return false;
  return (
    typeof Reflect.get(value, "connect") === "function" &&
    typeof Reflect.get(value, "Client") === "function" &&
    typeof Reflect.get(value, "options") === "object"
  );
}
