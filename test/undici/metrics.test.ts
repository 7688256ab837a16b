import { Registry } from "prom-client";
import { expect, it } from "vitest";
import { BulkheadManager } from "../../src/index.js";
import { instrumentBulkheads } from "../../src/metrics/opentelemetry.js";
import { collectBulkheads } from "../../src/metrics/prometheus.js";
import { inMemory } from "../metrics/reporters.js";
import { fakeGuard } from "./fakes.js";

/** Sends a request to each of 30 origins, of which 5 are kept, and one to a listed origin. */
async function visit(manager: BulkheadManager): Promise<void> {
  const guard = fakeGuard("new", {
    manager,
    maxOrigins: 5,
    origins: { "https://listed.example.com": { name: "listed" } },
  });
  guard.base.onDispatch = (request) => {
    request.start();
    request.headers(200);
    request.end();
  };
  await guard.dispatch("new", { origin: "https://listed.example.com" });
  for (let i = 0; i < 30; i++) await guard.dispatch("new", { origin: `https://${i}.example.com` });
}

it("OpenTelemetry, which forgets no name, gets as many of unlisted origins as maxOrigins, and loses no call", async () => {
  const manager = new BulkheadManager();
  const { meterProvider, collect } = inMemory();
  instrumentBulkheads(manager, { meterProvider });
  await visit(manager);
  const metrics = await collect();
  const calls = metrics.find(({ descriptor }) => descriptor.name === "bulkman.bulkhead.calls");
  const names = new Set<unknown>();
  let sum = 0;
  for (const { attributes, value } of calls?.dataPoints ?? []) {
    names.add(attributes["bulkman.bulkhead.name"]);
    sum += value as number;
  }
  expect([...names].sort()).toEqual([
    ...[0, 1, 2, 3].map((i) => `https://${i}.example.com`),
    "listed",
    "other",
  ]);
  expect(sum).toBe(31);
});

it("Prometheus has the origins that are kept, by their names", async () => {
  const manager = new BulkheadManager();
  const register = new Registry();
  collectBulkheads(manager, { register });
  await visit(manager);
  const names = new Set((await register.metrics()).match(/bulkhead="[^"]*"/g));
  expect(names).toEqual(
    new Set(
      ["listed", ...[25, 26, 27, 28, 29].map((i) => `https://${i}.example.com`)].map(
        (name) => `bulkhead="${name}"`,
      ),
    ),
  );
});
