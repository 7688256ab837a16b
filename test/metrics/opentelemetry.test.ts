import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createNoopMeter, metrics } from "@opentelemetry/api";
import { AggregationTemporality, DataPointType, type MetricData } from "@opentelemetry/sdk-metrics";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadManager } from "../../src/index.js";
import { instrumentBulkheads } from "../../src/metrics/opentelemetry.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { turn } from "../helpers/gate.js";
import { expectedOf, inMemory } from "./reporters.js";

/** Every metric as it is exported: kind, unit, attributes beside the bulkhead's name, their values. */
const METRICS = {
  "bulkman.bulkhead.calls": [
    "counter",
    "{call}",
    "bulkman.call.outcome",
    "success failure timeout aborted ignored",
  ],
  "bulkman.bulkhead.rejections": [
    "counter",
    "{call}",
    "bulkman.rejection.reason",
    "full circuit_open timeout aborted isolated shutdown",
  ],
  "bulkman.bulkhead.would_be_rejections": [
    "counter",
    "{call}",
    "bulkman.rejection.reason",
    "full circuit_open timeout aborted isolated shutdown",
  ],
  "bulkman.bulkhead.circuit.transitions": [
    "counter",
    "{transition}",
    "bulkman.circuit.transition.to",
    "closed open half_open",
  ],
  "bulkman.bulkhead.reclaimed_permits": ["counter", "{permit}", "", ""],
  "bulkman.bulkhead.storage.errors": ["counter", "{error}", "", ""],
  "bulkman.bulkhead.health_checks": [
    "counter",
    "{check}",
    "bulkman.health_check.result",
    "passed failed",
  ],
  "bulkman.bulkhead.active_calls": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.waiting_calls": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.abandoned_calls": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.concurrency.limit": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.queue.limit": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.fleet.limit": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.fleet.permits": ["gauge", "{call}", "", ""],
  "bulkman.bulkhead.state": [
    "gauge",
    "{bulkhead}",
    "bulkman.bulkhead.state",
    "healthy degraded isolated failed",
  ],
  "bulkman.bulkhead.circuit.state": [
    "gauge",
    "{circuit}",
    "bulkman.circuit.state",
    "closed open half_open",
  ],
  "bulkman.bulkhead.circuit.opened_timestamp": ["gauge", "s", "", ""],
  "bulkman.bulkhead.retry_after": ["gauge", "s", "", ""],
  "bulkman.bulkhead.execution.duration": [
    "histogram",
    "s",
    "bulkman.call.outcome",
    "success failure",
  ],
  "bulkman.bulkhead.wait.duration": ["histogram", "s", "", ""],
};

function kindOf(metric: MetricData): string {
  if (metric.dataPointType === DataPointType.SUM) return metric.isMonotonic ? "counter" : "sum";
  return metric.dataPointType === DataPointType.HISTOGRAM ? "histogram" : "gauge";
}

afterEach(() => {
  metrics.disable();
  vi.restoreAllMocks();
});

describe("instrumentBulkheads", () => {
  it("has these metrics, with units and a description, and no attribute beside these", async () => {
    const reporter = inMemory();
    const bulkhead = new Bulkhead({ name: "api" });
    reporter.add(bulkhead);
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 1);
    const exported = await reporter.collect();
    const shown = exported.map((metric) => {
      const points = metric.dataPoints.map(({ attributes }) => attributes);
      const others = points.map(({ "bulkman.bulkhead.name": _, ...rest }) => rest);
      const keys = new Set(others.flatMap(Object.keys));
      const values = others.flatMap(Object.values);
      const { name, unit } = metric.descriptor;
      return [name, [kindOf(metric), unit, [...keys].join(" "), values.join(" ")]] as const;
    });
    expect(Object.fromEntries(shown)).toEqual(METRICS);
    expect(exported.every(({ descriptor }) => /^[A-Z0-9].+\.$/.test(descriptor.description))).toBe(
      true,
    );
    await reporter.stop();
  });

  it("measures in seconds, with bounds for seconds", async () => {
    const reporter = inMemory();
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const told: Array<[ran: number, waited: number]> = [];
    bulkhead.on("success", ({ executionTime, queuedTime }) =>
      told.push([executionTime, queuedTime]),
    );
    reporter.add(bulkhead);
    await Promise.all([passCalls(bulkhead, 1), passCalls(bulkhead, 1)]);
    for (const [metric, index] of [
      ["bulkman.bulkhead.execution.duration", 0],
      ["bulkman.bulkhead.wait.duration", 1],
    ] as const) {
      const data = (await reporter.collect()).find(({ descriptor }) => descriptor.name === metric);
      if (data?.dataPointType !== DataPointType.HISTOGRAM) throw new Error("no histogram");
      const [point] = data.dataPoints;
      expect(point?.value.count).toBe(2);
      expect(point?.value.sum).toBeCloseTo(
        told.reduce((sum, times) => sum + times[index], 0),
        9,
      );
      expect(point?.value.buckets.boundaries).toEqual([
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
      ]);
    }
    await reporter.stop();
  });

  it("observes gauges of a removed bulkhead once more, as 0, and then never", async () => {
    const reporter = inMemory(AggregationTemporality.DELTA);
    const manager = new BulkheadManager();
    const db = await manager.createBulkhead({ name: "db" });
    const api = await manager.createBulkhead({ name: "api" });
    reporter.add(manager);
    await passCalls(api, 3);
    expect(await reporter.read()).toMatchObject({ "concurrency.limit{api}": 10 });
    await passCalls(api, 3);
    manager.removeBulkhead("api");
    const ofApi = async () =>
      Object.entries(await reporter.read()).filter(([key]) => key.includes("{api"));
    const last = Object.fromEntries(await ofApi());
    expect(last).toMatchObject({ "calls{api,success}": 3, "concurrency.limit{api}": 0 });
    expect(last).toMatchObject({ "state{api,failed}": 0, "circuit.state{api,closed}": 0 });
    expect(await ofApi()).toEqual([]);
    await passCalls(db, 1);
    expect(await reporter.read()).toMatchObject({ "calls{db,success}": 1, "queue.limit{db}": 100 });
    await reporter.stop();
  });

  it("calls no listener any more once all is undone and observed", async () => {
    const reporter = inMemory(AggregationTemporality.DELTA);
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = reporter.add(bulkhead);
    const getStats = vi.spyOn(bulkhead, "getStats");
    await reporter.read();
    expect(getStats).toHaveBeenCalledTimes(1);
    undo();
    await reporter.read();
    expect(await reporter.read()).toEqual({});
    expect(getStats).toHaveBeenCalledTimes(1);

    reporter.add(bulkhead);
    expect(await reporter.read()).toMatchObject({ "concurrency.limit{api}": 10 });
    await reporter.stop();
  });

  it("stays in use when it is undone and used again between two collections", async () => {
    const reporter = inMemory();
    const bulkhead = new Bulkhead({ name: "api" });
    reporter.add(bulkhead)();
    const reading = reporter.read();
    reporter.add(bulkhead);
    await reading;
    await passCalls(bulkhead, 1);
    expect(await reporter.read()).toEqual(expectedOf(bulkhead.getStats()));
    await reporter.stop();
  });

  it("goes on with a counter where it was, also for a bulkhead that is made anew", async () => {
    const reporter = inMemory();
    const manager = new BulkheadManager();
    reporter.add(manager);
    await passCalls(await manager.createBulkhead({ name: "api" }), 3);
    manager.removeBulkhead("api");
    await passCalls(await manager.createBulkhead({ name: "api" }), 2);
    expect(await reporter.read()).toMatchObject({
      "calls{api,success}": 5,
      "execution.duration{api,success}": 5,
    });
    await reporter.stop();
  });

  it("reports to the global meter provider unless it is given one", async () => {
    const reporter = inMemory();
    metrics.setGlobalMeterProvider(reporter.meterProvider);
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = [instrumentBulkheads(bulkhead), instrumentBulkheads(bulkhead, {})];
    await passCalls(bulkhead, 1);
    expect(await reporter.read()).toEqual(expectedOf(bulkhead.getStats()));
    for (const end of undo) end();
    await reporter.stop();
  });

  it("reports to each of several providers, and leaves the others when one is undone", async () => {
    const [one, other] = [inMemory(), inMemory()];
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = one.add(bulkhead);
    other.add(bulkhead);
    await passCalls(bulkhead, 1);
    undo();
    await passCalls(bulkhead, 1);
    expect(await one.read()).toMatchObject({ "calls{api,success}": 1 });
    expect(await other.read()).toEqual(expectedOf(bulkhead.getStats()));
    await one.stop();
    await other.stop();
  });

  it("keeps nothing of bulkheads that have come and gone, whether or not metrics are collected", async () => {
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const meterProvider = { getMeter: () => createNoopMeter() };
    const manager = new BulkheadManager();
    instrumentBulkheads(manager, { meterProvider });
    const useNames = async (names: number) => {
      for (let n = 0; n < names; n++) {
        await manager.createBulkhead({ name: `https://${n}.example.com` });
        manager.removeBulkhead(`https://${n}.example.com`);
      }
      await turn();
      collect();
      return process.memoryUsage().heapUsed;
    };
    await useNames(500);
    const before = await useNames(500);
    const after = await useNames(5000);
    // Those that are kept take about 14 MB.
    expect((after - before) / 2 ** 20).toBeLessThan(3);
  });

  it("observes no gauge of a name that has come and gone between two collections", async () => {
    const reporter = inMemory();
    const manager = new BulkheadManager();
    reporter.add(manager);
    await manager.createBulkhead({ name: "api" });
    await reporter.read();
    for (let n = 0; n < 10; n++) {
      await manager.createBulkhead({ name: `short ${n}` });
      manager.removeBulkhead(`short ${n}`);
    }
    const gauges = Object.keys(await reporter.read()).filter((key) => key.startsWith("state{"));
    expect(new Set(gauges.map((key) => key.slice(6, 9)))).toEqual(new Set(["api"]));
    await reporter.stop();
  });

  it("does nothing without an SDK", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = instrumentBulkheads(bulkhead);
    await passCalls(bulkhead, 1);
    undo();
    expect(bulkhead.eventNames()).toEqual([]);
  });

  it("throws for invalid options", () => {
    const bulkhead = new Bulkhead({ name: "api" });
    for (const options of [null, { meterProvider: {} }, { meter: 1 }]) {
      expect(() => instrumentBulkheads(bulkhead, options as never)).toThrow(TypeError);
    }
    expect(bulkhead.eventNames()).toEqual([]);
  });
});
