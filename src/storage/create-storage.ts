import { NAME, readFields } from "../common/validation.js";
import type { CircuitStorage } from "./circuit-storage.js";
import { InMemoryStorage } from "./memory.js";
import { PostgresStorage } from "./postgres/postgres-storage.js";

/** Options of {@link createStorage}. */
export interface CreateStorageOptions {
  /**
   * Circuits of one name in different namespaces are independent. 1 to 255 characters. Default: `RC_NAMESPACE`, or else `"default"`.
   */
  namespace?: string | undefined;
}

/**
 * Creates the storage that the environment selects: Postgres when `RC_DB_DSN` (a URL) or `RC_DB_HOST` is set, else
 * this process's memory. `RC_DB_DSN` wins over `RC_DB_HOST`, `RC_DB_PORT` (5432), `RC_DB_NAME`
 * (resilient_circuit_db), `RC_DB_USER` (postgres) and `RC_DB_PASSWORD`. `RC_DB_SSLMODE` (prefer),
 * `RC_DB_SSLROOTCERT`, `RC_DB_SSLCERT` and `RC_DB_SSLKEY` mean what libpq's `sslmode` and the others do. The
 * variables are those of Python's resilient-circuit.
 *
 * @throws {TypeError | RangeError} for an invalid option or environment variable
 */
export function createStorage(options: CreateStorageOptions = {}): CircuitStorage {
  const { RC_DB_DSN, RC_DB_HOST, RC_NAMESPACE } = process.env;
  const given = readFields<CreateStorageOptions>("options", options, { namespace: NAME });
  const namespace = given.namespace ?? (RC_NAMESPACE || "default");
  return RC_DB_DSN || RC_DB_HOST ? new PostgresStorage({ namespace }) : new InMemoryStorage();
}
