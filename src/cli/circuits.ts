import { now } from "../common/clock.js";
import type { CircuitChangeResult, CircuitRecord } from "../storage/circuit-storage.js";
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

/** The circuits that the command line selects. */
export interface Circuits {
  readonly namespace: string;
  readonly database: Database;
  readonly storage: PostgresStorage;
}

/** The options of the command line that select them. */
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
    // Only pg-setup creates tables: looking at circuits must not change the schema.
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

/** The schema of the table: notices of other schemas are ignored. */
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
 * Makes a manual change, which needs no clock and no lease.
 * @param attempt asks for the change of the current circuit; returns `undefined` for none
 * @returns the circuit after it, and whether it was changed
 * @throws {Error} when there is no such circuit
 */
export async function changeByHand(
  circuits: Circuits,
  name: string,
  attempt: (record: CircuitRecord) => Promise<CircuitChangeResult> | undefined,
): Promise<CircuitChangeResult> {
  let record = await circuits.storage.getState(name);
  if (record === null) throw await missing(circuits, name);
  const end = now() + QUERY_LIMIT_MS;
  do {
    const attempted = attempt(record);
    if (attempted === undefined) return { changed: false, record };
    const result = await attempted;
    if (result.changed) return result;
    // Another process was faster. A manual change always counts: it is repeated on the new record.
    record = result.record;
  } while (now() < end);
  throw new Error(`the circuit "${name}" kept changing for ${QUERY_LIMIT_MS / 1000} s; try again`);
}

/** The error for a circuit that does not exist; most often its name or its namespace is misspelt. */
export async function missing(circuits: Circuits, name: string): Promise<Error> {
  const places = await namespaces(circuits, name);
  const hint = places.length > 0 ? `it is in: ${places.join(", ")}` : "see bulkman status";
  return new Error(
    `there is no circuit "${name}" in the namespace "${circuits.namespace}"; ${hint}`,
  );
}

/** The first few namespaces that have circuits, or a circuit of that name. */
export async function namespaces({ database }: Circuits, name?: string): Promise<string[]> {
  const rows = await database.query(NAMESPACES, [name ?? null], QUERY_LIMIT_MS);
  return rows.map(([namespace]) => `"${namespace}"`);
}
