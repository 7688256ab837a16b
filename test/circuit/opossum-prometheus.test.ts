import Metrics from "opossum-prometheus";
import { expect, it } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";

it("opossum-prometheus works on the breaker unchanged, and its figures are true", async () => {
  const bulkhead = new Bulkhead({ name: "api", failureThreshold: 2 });
  const prometheus = new Metrics({ circuits: [bulkhead.breaker] });
  await passCalls(bulkhead, 3);
  await failCalls(bulkhead, 2);
  await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
    code: "ERR_BULKHEAD_CIRCUIT_OPEN",
  });
  const page = await prometheus.metrics;
  const counted = Object.fromEntries(
    Array.from(page.matchAll(/^circuit\{name="api",event="(\w+)"\} (\d+)/gm), ([, event, n]) => [
      event,
      Number(n),
    ]),
  );
  expect(counted).toEqual({ fire: 6, success: 3, failure: 2, open: 1, reject: 1 });
  expect(page).toMatch(/circuit_perf_count\{name="api",event="success"\} 3/);
  prometheus.clear();
});
