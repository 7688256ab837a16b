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
  return { Client, Pool };
}
