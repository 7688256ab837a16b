import { now } from "../common/clock.js";
import type { CircuitChange, CircuitRecord } from "../storage/circuit-storage.js";
import { clientConfig } from "../storage/postgres/connection.js";
import { Database } from "../storage/postgres/database.js";
import { PostgresStorageError } from "../storage/postgres/errors.js";
import { PostgresStorage } from "../storage/postgres/postgres-storage.js";
import { recordJson, toRecord } from "../storage/postgres/record.js";
import { SCHEMA_OF_TABLE } from "../storage/postgres/statements.js";
import { readEnvironment, readNamespace } from "./arguments.js";
import { describeTarget } from "./target.js";

/** A person waits longer than a call does. */
export const QUERY_LIMIT_MS = 10_000;

const LIST = `SELECT c.resource_key, ${recordJson("c")}
FROM rc_circuit_breakers c WHERE c.namespace = $1::text ORDER BY c.resource_key`;

const NAMESPACES = `SELECT namespace FROM rc_circuit_breakers
WHERE resource_key = coalesce($1::text, resource_key) GROUP BY namespace ORDER BY namespace LIMIT 5`;

/** The circuits that the command line names. */
export interface Circuits {
  readonly namespace: string;
  readonly database: Database;
  readonly storage: PostgresStorage;
}

/** The options of the command line that name them. */
export interface CircuitsOptions {
  readonly dsn?: string | undefined;
  readonly env?: string | undefined;
  readonly namespace?: string | undefined;
}

/** Runs `body`, and closes every connection after it. */
export async function withCircuits<T>(
  options: CircuitsOptions,
  body: (circuits: Circuits) => Promise<T>,
): Promise<T> {
  readEnvironment(options.env);
  const namespace = readNamespace(options.namespace);
  const config = clientConfig(options.dsn, process.env, "--dsn");
  const database = new Database(config, {
    queryTimeoutMs: QUERY_LIMIT_MS,
    connectTimeoutMs: QUERY_LIMIT_MS,
  });
  const storage = new PostgresStorage({
    connectionString: options.dsn,
    namespace,
    // Making tables is for pg-setup: whoever looks at circuits changes nothing by it.
    ensureSchema: false,
    queryTimeoutSeconds: QUERY_LIMIT_MS / 1000,
    connectTimeoutSeconds: QUERY_LIMIT_MS / 1000,
  });
  try {
    return await body({ namespace, database, storage });
  } catch (error) {
    if (!(error instanceof PostgresStorageError)) throw error;
    throw new Error(`${error.message}; ${await describeTarget(config, options.dsn)}`);
  } finally {
    await Promise.all([storage.close(), database.close()]);
  }
}

/** Where the table is: notices of others are none of ours. */
export async function schemaOf({ database }: Circuits): Promise<string | undefined> {
  const [row] = await database.query(`SELECT ${SCHEMA_OF_TABLE}`, [], QUERY_LIMIT_MS);
  return row?.[0] ?? undefined;
}

/** Every circuit of the namespace, by name. */
export async function list({ database, namespace }: Circuits): Promise<Map<string, CircuitRecord>> {
  const rows = await database.query(LIST, [namespace], QUERY_LIMIT_MS);
  return new Map(rows.map(([name, json]) => [name ?? "", toRecord(JSON.parse(json ?? ""))]));
}

/**
 * Makes a change that no clock and no lease is in the way of.
 * @param decide the change of the circuit as it stands, or `undefined` for none
 * @returns the circuit after it, and whether it was changed
 * @throws {Error} when there is no such circuit
 */
export async function changeByHand(
  circuits: Circuits,
  name: string,
  decide: (record: CircuitRecord) => CircuitChange | undefined,
): Promise<{ changed: boolean; record: CircuitRecord }> {
  let record = await circuits.storage.getState(name);
  if (record === null) throw await missing(circuits, name);
  const end = now() + QUERY_LIMIT_MS;
  do {
    const change = decide(record);
    if (change === undefined) return { changed: false, record };
    const result = await circuits.storage.change(name, change);
    if (result.changed) return result;
    // Another was faster. A hand is obeyed: it is asked again, on top of that.
    record = result.record;
  } while (now() < end);
  throw new Error(`others change the circuit "${name}" all the time; try again`);
}

async function missing(circuits: Circuits, name: string): Promise<Error> {
  const places = await namespaces(circuits, name);
  const hint = places.length > 0 ? `it is in: ${places.join(", ")}` : "see bulkman status";
  return new Error(
    `there is no circuit "${name}" in the namespace "${circuits.namespace}"; ${hint}`,
  );
}

/** Where there are circuits at all, or one of that name: the first few namespaces. */
export async function namespaces({ database }: Circuits, name?: string): Promise<string[]> {
  const rows = await database.query(NAMESPACES, [name ?? null], QUERY_LIMIT_MS);
  return rows.map(([namespace]) => `"${namespace}"`);
}
