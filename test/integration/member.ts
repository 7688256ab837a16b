import {
  Bulkhead,
  type BulkheadConfig,
  PostgresStorage,
  type PostgresStorageOptions,
} from "../../src/index.js";

/** One of a fleet: a bulkhead with a storage of its own, and the storage errors that it emitted. */
export async function join(config: BulkheadConfig, options: PostgresStorageOptions) {
  const storage = new PostgresStorage(options);
  const bulkhead = new Bulkhead(
    { failureThreshold: 2, successThreshold: 1, isolationDuration: 60, ...config },
    { circuitStorage: storage },
  );
  const troubles: string[] = [];
  bulkhead.on("storageError", (error) => troubles.push(String(error)));
  await bulkhead.ready();
  return {
    storage,
    bulkhead,
    troubles,
    status: () => bulkhead.getStats().circuitStatus,
    leave: async () => {
      await bulkhead.shutdown();
      await storage.close();
    },
  };
}
