import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  type PermitRequest,
  PostgresStorage,
} from "../../src/index.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

class CountingStorage extends PostgresStorage {
  requests = 0;

  override async lease(requests: readonly PermitRequest[]) {
    this.requests += requests.length;
    return await super.lease(requests);
  }
}

/** A member of the fleet, as a process would be: with connections of its own. */
function join(config: BulkheadConfig) {
  const storage = new CountingStorage({
    connectionString: database.url,
    permitLeaseSeconds: 2,
    permitRenewSeconds: 0.5,
    queryTimeoutSeconds: 10,
  });
  const bulkhead = new Bulkhead(config, { circuitStorage: storage });
  const leave = async () => {
    await bulkhead.shutdown();
    await storage.close();
  };
  return { storage, bulkhead, leave };
}

describe("a limit for the whole fleet, in Postgres", () => {
  it("is never exceeded, and every call is served, also when a member is gone without a word", async () => {
    const config = { name: "partner", maxConcurrentCalls: 20, fleetMaxConcurrentCalls: 6 };
    const fleet = Array.from({ length: 4 }, () => join(config));
    const members = fleet.slice(1);
    let running = 0;
    let most = 0;
    const call = async () => {
      most = Math.max(most, ++running);
      await sleep(5);
      running--;
    };
    const gone = fleet[0];
    // It holds permits when its storage is taken from it: they come back by the end of its lease.
    await gone?.bulkhead.call(call);
    await gone?.storage.close();
    const reached = await eventually(async () => {
      const calls = members.flatMap(({ bulkhead }) =>
        Array.from({ length: 60 }, () => bulkhead.call(call)),
      );
      await Promise.all(calls);
      return most >= 6;
    });
    expect([reached, most]).toEqual([true, 6]);
    await Promise.all(fleet.map(({ leave }) => leave()));
  });

  it("costs no query within a lease", async () => {
    const { storage, bulkhead, leave } = join({ name: "quiet", fleetMaxConcurrentCalls: 4 });
    await bulkhead.call(() => 1);
    const { requests } = storage;
    for (let n = 0; n < 1000; n++) await bulkhead.call(() => n);
    // A renewal may fall into it.
    expect(storage.requests - requests).toBeLessThanOrEqual(1);
    await leave();
  });

  it("follows the limit that an operator sets", async () => {
    const { bulkhead, leave } = join({ name: "set", fleetMaxConcurrentCalls: 4 });
    await bulkhead.call(() => 1);
    expect(bulkhead.getStats().fleet).toMatchObject({ limit: 4, leased: true });
    await database.query(
      "UPDATE bulkman_permits SET permit_limit = 9 WHERE name = 'set' AND owner = ''",
    );
    await eventually(async () => {
      await bulkhead.call(() => 1);
      return bulkhead.getStats().fleet?.limit === 9;
    });
    await leave();
  });
});
