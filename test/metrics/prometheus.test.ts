import { Gauge, Registry, register } from "prom-client";
import { afterEach, describe, expect, it } from "vitest";
import { Bulkhead, BulkheadManager } from "../../src/index.js";
import { collectBulkheads } from "../../src/metrics/prometheus.js";
import { passCalls } from "../helpers/failing.js";
import { busyPage } from "./busy-page.js";
import { readPage } from "./exposition.js";
import { checkMetrics, itWithPromtool } from "./promtool.js";
import { expectedOf, promClient } from "./reporters.js";

/** Every metric on the page: type, labels beside `bulkhead`, their values. */
const METRICS = {
  bulkman_bulkhead_calls_total: ["counter", "outcome", "success failure timeout aborted ignored"],
  bulkman_bulkhead_rejections_total: [
    "counter",
    "reason",
    "full circuit_open timeout aborted isolated shutdown",
  ],
  bulkman_bulkhead_would_be_rejections_total: [
    "counter",
    "reason",
    "full circuit_open timeout aborted isolated shutdown",
  ],
  bulkman_bulkhead_circuit_transitions_total: ["counter", "to", "closed open half_open"],
  bulkman_bulkhead_reclaimed_permits_total: ["counter", "", ""],
  bulkman_bulkhead_storage_errors_total: ["counter", "", ""],
  bulkman_bulkhead_health_checks_total: ["counter", "result", "passed failed"],
  bulkman_bulkhead_active_calls: ["gauge", "", ""],
  bulkman_bulkhead_waiting_calls: ["gauge", "", ""],
  bulkman_bulkhead_abandoned_calls: ["gauge", "", ""],
  bulkman_bulkhead_concurrency_limit: ["gauge", "", ""],
  bulkman_bulkhead_queue_limit: ["gauge", "", ""],
  bulkman_bulkhead_fleet_limit: ["gauge", "", ""],
  bulkman_bulkhead_fleet_permits: ["gauge", "", ""],
  bulkman_bulkhead_state: ["gauge", "state", "healthy degraded isolated failed"],
  bulkman_bulkhead_circuit_state: ["gauge", "state", "closed open half_open"],
  bulkman_bulkhead_circuit_opened_timestamp_seconds: ["gauge", "", ""],
  bulkman_bulkhead_retry_after_seconds: ["gauge", "", ""],
  bulkman_bulkhead_execution_duration_seconds: [
    "histogram",
    "outcome",
    "success failure timeout aborted ignored",
  ],
  bulkman_bulkhead_wait_duration_seconds: ["histogram", "", ""],
};

afterEach(() => {
  register.clear();
});

describe("the page", () => {
  it("has these metrics with help, and no label beside these", async () => {
    const { type, body } = await busyPage();
    expect(type).toBe("text/plain; version=0.0.4; charset=utf-8");
    const { families, samples } = readPage(body);
    const shown = Array.from(families, ([name, family]) => {
      const labels = samples
        .filter(({ family }) => family === name)
        .map(({ labels: { bulkhead: _, le: __, ...rest } }) => rest);
      const values = new Set(labels.flatMap(Object.values));
      const keys = new Set(labels.flatMap(Object.keys));
      return [name, [family.type, [...keys].join(" "), [...values].join(" ")]] as const;
    });
    expect(Object.fromEntries(shown)).toEqual(METRICS);
  });

  itWithPromtool("passes promtool check metrics without a remark", async () => {
    expect(checkMetrics((await busyPage()).body)).toBe("");
  });

  it("carries nothing of what calls were given and threw", async () => {
    expect((await busyPage()).body).not.toMatch(/Mallory|fault|incident|user/);
  });

  it("is true in the OpenMetrics format too", async () => {
    const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
    registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    const undo = collectBulkheads(new Bulkhead({ name: "api" }), { register: registry });
    for (let scrape = 0; scrape < 2; scrape++) {
      const page = await registry.metrics();
      expect(page).toContain("# TYPE bulkman_bulkhead_calls counter");
      expect(page).toContain('bulkman_bulkhead_calls_total{bulkhead="api",outcome="success"} 0');
    }
    undo();
    expect(await registry.metrics()).not.toContain("bulkman");
  });

  it("has all figures of the same moment", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = collectBulkheads(bulkhead);
    const page = register.metrics();
    await passCalls(bulkhead, 3);
    const { samples } = readPage(await page);
    expect(samples.filter(({ value }) => value === 3)).toEqual([]);
    undo();
  });
});

describe("collectBulkheads", () => {
  it("takes prom-client's global registry unless it is given one", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = collectBulkheads(bulkhead);
    await passCalls(bulkhead, 1);
    expect(await register.metrics()).toContain(
      'bulkman_bulkhead_calls_total{bulkhead="api",outcome="success"} 1',
    );
    undo();
    expect(await register.metrics()).toBe("\n");
  });

  it("drops all series of a removed bulkhead, also when it is removed while an event of a call is emitted", async () => {
    const reporter = await promClient();
    const manager = new BulkheadManager();
    const api = await manager.createBulkhead({ name: "api" });
    api.on("success", () => manager.removeBulkhead("api"));
    reporter.add(manager);
    await passCalls(api, 1);
    expect(readPage((await reporter.scrape()).body).samples).toEqual([]);
    await reporter.stop();
  });

  it("keeps its counters when the registry is reset, and treats a cleared one as new", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = collectBulkheads(bulkhead);
    await passCalls(bulkhead, 2);
    register.resetMetrics();
    const success = 'bulkman_bulkhead_calls_total{bulkhead="api",outcome="success"}';
    expect(await register.metrics()).toContain(`${success} 2`);
    register.clear();
    expect(await register.metrics()).toBe("\n");
    const undoAgain = collectBulkheads(bulkhead);
    undo();
    await passCalls(bulkhead, 1);
    expect(await register.metrics()).toContain(`${success} 3`);
    undoAgain();
    expect(bulkhead.eventNames()).toEqual([]);
  });

  it("takes bounds of the histograms, the same for all of a registry", async () => {
    const registry = new Registry();
    const buckets = [1, 60];
    const bulkhead = new Bulkhead({ name: "api" });
    collectBulkheads(bulkhead, { register: registry, buckets });
    buckets.push(3600);
    const { samples } = readPage(await registry.metrics());
    const bounds = samples.flatMap(({ name, labels }) =>
      name === "bulkman_bulkhead_wait_duration_seconds_bucket" ? [labels["le"]] : [],
    );
    expect(bounds).toEqual(["1", "60", "+Inf"]);
    const other = new Bulkhead({ name: "other" });
    collectBulkheads(other, { register: registry, buckets: [1, 60] });
    collectBulkheads(other, { register: registry });
    expect(() => collectBulkheads(other, { register: registry, buckets })).toThrow(
      new RangeError("buckets must be those that the registry has, [ 1, 60 ]; got [ 1, 60, 3600 ]"),
    );
  });

  it("leaves a registry alone that has a metric of such a name", async () => {
    const registry = new Registry();
    const name = "bulkman_bulkhead_state";
    new Gauge({ name, help: "Somebody else's.", registers: [registry] }).set(7);
    const bulkhead = new Bulkhead({ name: "api" });
    expect(() => collectBulkheads(bulkhead, { register: registry })).toThrow(
      `The metric "${name}" already exists in the registry`,
    );
    expect(bulkhead.eventNames()).toEqual([]);
    expect(await registry.metrics()).toBe(
      `# HELP ${name} Somebody else's.\n# TYPE ${name} gauge\n${name} 7\n`,
    );
  });

  it("shows a bulkhead in each of several registries", async () => {
    const [one, other] = [await promClient(), await promClient()];
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = one.add(bulkhead);
    other.add(bulkhead);
    undo();
    await passCalls(bulkhead, 1);
    expect(await one.read()).toEqual({});
    expect(await other.read()).toEqual(expectedOf(bulkhead.getStats()));
    await one.stop();
    await other.stop();
  });

  it("throws for invalid options, and registers nothing then", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    for (const options of [null, { register: {} }, { registry: register }, { buckets: ["1"] }]) {
      expect(() => collectBulkheads(bulkhead, options as never)).toThrow(TypeError);
    }
    for (const buckets of [[], [0, 1], [2, 1], [1, 1], [Number.NaN], [Number.POSITIVE_INFINITY]]) {
      expect(() => collectBulkheads(bulkhead, { buckets })).toThrow(RangeError);
    }
    expect(() => collectBulkheads({} as never)).toThrow(TypeError);
    expect(await register.metrics()).toBe("\n");
    expect(bulkhead.eventNames()).toEqual([]);
  });
});
