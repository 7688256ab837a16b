import type { Client, Pool } from "pg";

/** The part of pg that is used. */
export interface Driver {
  readonly Client: typeof Client;
  readonly Pool: typeof Pool;
}

/**
 * Loads pg, at a storage's first query: programs without Postgres never load it, and their bundles do not contain
 * it. An application's pool brings its own.
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

/** Whether it is a pool of pg, by its shape: an application can have its own copy of pg. */
export function isPool(value: unknown): value is Pool {
  if (typeof value !== "object" || value === null) return false;
  return (
    typeof Reflect.get(value, "connect") === "function" &&
    typeof Reflect.get(value, "Client") === "function" &&
    typeof Reflect.get(value, "options") === "object"
  );
}
