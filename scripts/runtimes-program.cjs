// What scripts/try-runtimes.mjs runs on each runtime. Prints a JSON object: each feature, and "passes" or an error.
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { AsyncLocalStorage } = require("node:async_hooks");
const { tracingChannel } = require("node:diagnostics_channel");
const { setTimeout: sleep } = require("node:timers/promises");

/** @param {typeof import("../src/index.js")} bulkman the ES module or the CommonJS build */
module.exports = async function tryFeatures(bulkman) {
  const { Bulkhead, BulkheadManager, InMemoryStorage, PostgresStorage, withBulkhead } = bulkman;
  const { BulkheadError, BulkheadTimeoutError } = bulkman;
  const down = () => Promise.reject(new Error("down"));

  const features = {
    async calls() {
      const bulkhead = new Bulkhead({ name: "calls" });
      assert.equal(await bulkhead.call((a, b) => a + b, 2, 3), 5);
      await assert.rejects(bulkhead.call(down), { message: "down" });
      assert.equal((await bulkhead.execute(down)).success, false);
      assert.equal(bulkhead.getStats().totalExecutions, 3);
    },
    async limits() {
      const bulkhead = new Bulkhead({ name: "limits", maxConcurrentCalls: 2, maxQueueSize: 3 });
      let running = 0;
      let most = 0;
      const work = async () => {
        most = Math.max(most, ++running);
        await sleep(5);
        running--;
      };
      const outcomes = await Promise.allSettled([1, 2, 3, 4, 5, 6].map(() => bulkhead.call(work)));
      assert.equal(most, 2);
      assert.equal(outcomes[5].reason.code, "ERR_BULKHEAD_FULL");
      assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 5);
    },
    async timeout() {
      const bulkhead = new Bulkhead({ name: "timeout", timeoutSeconds: 0.02 });
      let isAborted = false;
      const call = bulkhead.run(async ({ signal }) => {
        await sleep(60_000, "", { signal }).finally(() => {
          isAborted = signal.aborted;
        });
      });
      await assert.rejects(call, (error) => error instanceof BulkheadTimeoutError);
      await sleep(5);
      assert.equal(isAborted, true);
      assert.equal(bulkhead.getStats().abandonedTasks, 0);
    },
    async abort() {
      const bulkhead = new Bulkhead({ name: "abort", maxConcurrentCalls: 1 });
      const client = new AbortController();
      const { signal } = client;
      const task = (context) => sleep(60_000, "", { signal: context.signal });
      const calls = [bulkhead.run(task, { signal }), bulkhead.run(task, { signal })];
      await sleep(1);
      client.abort(new Error("gone"));
      for (const call of calls) await assert.rejects(call, { message: "gone" });
    },
    async circuit() {
      const config = { name: "circuit", failureThreshold: 2, isolationDuration: 0.02 };
      const bulkhead = new Bulkhead({ ...config, successThreshold: 1 });
      for (let i = 0; i < 2; i++) await assert.rejects(bulkhead.call(down));
      await assert.rejects(
        bulkhead.call(() => "never called"),
        { code: "ERR_BULKHEAD_CIRCUIT_OPEN" },
      );
      assert.equal(bulkhead.getState(), "isolated");
      await sleep(30);
      assert.equal(await bulkhead.call(() => "probe"), "probe");
      assert.equal(bulkhead.getState(), "healthy");
      assert.equal(bulkhead.breaker?.stats.failures, 2);
    },
    async sharedCircuit() {
      const circuitStorage = new InMemoryStorage();
      const config = { name: "shared", failureThreshold: 1 };
      const [one, other] = [1, 2].map(() => new Bulkhead(config, { circuitStorage }));
      await Promise.all([one.ready(), other.ready()]);
      await assert.rejects(one.call(down));
      await sleep(1);
      assert.equal(other.getState(), "isolated");
    },
    async circuitInPostgres() {
      const open = () => new PostgresStorage({ connectionString: process.env.DATABASE_URL });
      const storages = [open(), open()];
      const config = { name: `shared ${crypto.randomUUID()}`, failureThreshold: 1 };
      const [one, other] = storages.map(
        (circuitStorage) => new Bulkhead(config, { circuitStorage }),
      );
      await Promise.all([one.ready(), other.ready()]);
      await assert.rejects(one.call(down));
      const deadline = Date.now() + 10_000;
      while (other.getState() !== "isolated" && Date.now() < deadline) await sleep(1);
      assert.equal(other.getState(), "isolated");
      await Promise.all([one.shutdown(), other.shutdown()]);
      await Promise.all(storages.map((storage) => storage.close()));
    },
    async withBulkhead() {
      const bulkhead = new Bulkhead({ name: "wrapped" });
      const object = {
        value: 7,
        get: withBulkhead(bulkhead)(async function () {
          return this.value;
        }),
      };
      assert.equal(await object.get(), 7);
      await assert.rejects(
        withBulkhead(bulkhead)(down)(),
        (error) => error instanceof BulkheadError && error.cause?.message === "down",
      );
      await assert.rejects(withBulkhead(bulkhead, { errors: "original" })(down)(), {
        message: "down",
      });
    },
    async manager() {
      const manager = new BulkheadManager();
      await manager.createBulkhead({ name: "managed" });
      assert.equal((await manager.executeInBulkhead("managed", () => 1)).result, 1);
      await manager.shutdown({ drainSeconds: 1 });
      assert.deepEqual(manager.getHealthStatus(), { managed: false });
    },
    async asyncLocalStorage() {
      const bulkhead = new Bulkhead({ name: "context", maxConcurrentCalls: 1 });
      const storage = new AsyncLocalStorage();
      const call = (id) =>
        storage.run(id, () =>
          bulkhead.call(async () => {
            await sleep(1);
            return storage.getStore();
          }),
        );
      assert.deepEqual(await Promise.all([call(1), call(2), call(3)]), [1, 2, 3]);
    },
    async tracing() {
      const names = [];
      const listener = ({ bulkheadName }) => names.push(bulkheadName);
      const { start } = tracingChannel("bulkman:call");
      start.subscribe(listener);
      await new Bulkhead({ name: "traced" }).call(() => 1);
      start.unsubscribe(listener);
      assert.deepEqual(names, ["traced"]);
    },
    async healthCheck() {
      const healthCheck = async () => false;
      const bulkhead = new Bulkhead({ name: "health", healthCheck, healthCheckInterval: 0.005 });
      const deadline = Date.now() + 10_000;
      while (bulkhead.getState() !== "isolated" && Date.now() < deadline) await sleep(1);
      assert.equal(bulkhead.getState(), "isolated");
      await bulkhead.shutdown();
    },
  };

  const seen = {};
  for (const [name, feature] of Object.entries(features)) {
    seen[name] = await feature().then(
      () => "passes",
      (error) => String(error),
    );
  }
  console.log(JSON.stringify(seen));
};
