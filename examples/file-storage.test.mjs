// node --test file-storage.test.mjs
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Bulkhead } from "bulkman";
import { storageContract } from "bulkman/storage-contract";
import { FileStorage } from "./file-storage.mjs";

const directory = await mkdtemp(join(tmpdir(), "circuits-"));
after(() => rm(directory, { recursive: true }));

const probeLeaseSeconds = 0.5;
const create = () => new FileStorage(directory, { probeLeaseSeconds, pollSeconds: 0.02 });

for (const { name, run } of storageContract({ create, probeLeaseSeconds })) test(name, run);

test("one circuit for two bulkheads", async () => {
  const config = { name: "payments", failureThreshold: 1 };
  const [one, other] = [0, 1].map(() => new Bulkhead(config, { circuitStorage: create() }));
  await one.execute(() => Promise.reject(new Error("down")));
  await other.ready();
  while (other.getState() === "healthy") await new Promise((resolve) => setTimeout(resolve, 10));
  await assert.rejects(
    other.execute(() => "never called"),
    { code: "ERR_BULKHEAD_CIRCUIT_OPEN" },
  );
  await Promise.all([one.shutdown(), other.shutdown()]);
});
