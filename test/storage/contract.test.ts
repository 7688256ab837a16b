import { afterAll, beforeAll, describe, it } from "vitest";
import { InMemoryStorage, PostgresStorage } from "../../src/index.js";
import { storageContract } from "../../src/storage/contract.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";

const probeLeaseSeconds = 0.5;

describe("InMemoryStorage", () => {
  // Bulkheads of one process share a storage: closing it forgets the subscribers only.
  let shared = new InMemoryStorage({ probeLeaseSeconds });
  const create = () => shared;
  for (const { name, run } of storageContract({ create, probeLeaseSeconds })) {
    it(name, async () => {
      await run();
      shared = new InMemoryStorage({ probeLeaseSeconds });
    });
  }
});

describe.each([
  { how: "with LISTEN", options: {}, permitNotices: true },
  { how: "with polling", options: { pollSeconds: 0.05 }, permitNotices: false },
])("PostgresStorage $how", ({ options, permitNotices }) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  const create = () =>
    new PostgresStorage({
      connectionString: database.url,
      queryTimeoutSeconds: 10,
      probeLeaseSeconds,
      ...options,
    });
  const given = { create, probeLeaseSeconds, spreadSeconds: 10, permitNotices };
  for (const { name, run } of storageContract(given)) {
    it.concurrent(name, run, 30_000);
  }
});
