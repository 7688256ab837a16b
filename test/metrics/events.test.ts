import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { gate, started } from "../helpers/gate.js";
import { UnreliableStorage } from "../helpers/unreliable-storage.js";
import { expectedOf, type Figures, REPORTERS, type Reporter } from "./reporters.js";

describe.each(REPORTERS)("metrics of events by $name", ({ start }) => {
  let reporter: Reporter;
  beforeEach(async () => {
    reporter = await start();
  });
  afterEach(async () => {
    vi.useRealTimers();
    await reporter.stop();
  });

  /** The figures of a metric, by its label. */
  async function read(metric: string): Promise<Figures> {
    const figures = Object.entries(await reporter.read());
    return Object.fromEntries(
      figures.flatMap(([key, value]) => {
        const [, name, label = ""] = /^([\w.]+)\{api,?(.*)\}$/.exec(key) ?? [];
        return name === metric ? [[label, value]] : [];
      }),
    );
  }

  it("count each change of the circuit by the state that it changed to", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 2, successThreshold: 1 });
    reporter.add(bulkhead);
    await failCalls(bulkhead, 2);
    expect(await read("circuit.transitions")).toEqual({ open: 1, half_open: 0, closed: 0 });
    vi.advanceTimersByTime(30_000);
    await failCalls(bulkhead, 1);
    vi.advanceTimersByTime(30_000);
    await passCalls(bulkhead, 1);
    bulkhead.resetStats();
    expect(await read("circuit.transitions")).toEqual({ open: 2, half_open: 2, closed: 1 });
  });

  it("begin with the openings and the would-be rejections that were counted before", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1, enforce: false });
    await failCalls(bulkhead, 1);
    await passCalls(bulkhead, 2);
    const undo = [reporter.add(bulkhead), reporter.add(bulkhead)];
    expect(await reporter.read()).toMatchObject({
      "circuit.transitions{api,open}": 1,
      "would_be_rejections{api,circuit_open}": 2,
      "rejections{api,circuit_open}": 0,
    });
    for (const end of undo) end();
    reporter.add(bulkhead);
    await passCalls(bulkhead, 1);
    expect(await reporter.read()).toMatchObject({
      "circuit.transitions{api,open}": 1,
      "would_be_rejections{api,circuit_open}": 3,
    });
  });

  it("count a call that would have been rejected, and that runs, by its reason and its outcome", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      maxQueueSize: 0,
      timeoutSeconds: 0.001,
      enforce: false,
    });
    reporter.add(bulkhead);
    const busy = gate();
    const timedOut = once(bulkhead, "rejected");
    const late = bulkhead.call(() => busy.promise);
    await timedOut;
    await passCalls(bulkhead, 1);
    bulkhead.isolate();
    await passCalls(bulkhead, 1);
    busy.open();
    await late;
    expect(await read("would_be_rejections")).toEqual({
      ...{ full: 1, timeout: 1, isolated: 1 },
      ...{ circuit_open: 0, aborted: 0, shutdown: 0 },
    });
    expect(await read("calls")).toMatchObject({ success: 3 });
    expect(await reporter.read()).toEqual(expectedOf(bulkhead.getStats()));
  });

  it("count a permit as reclaimed when its function never settled, and not when it did", async () => {
    const bulkhead = new Bulkhead({ name: "api", reclaimAfterSeconds: 0 });
    const patient = new Bulkhead({ name: "api", reclaimAfterSeconds: null });
    reporter.add(bulkhead);
    reporter.add(patient);
    const busy = gate();
    for (const each of [bulkhead, patient]) {
      await each.run(() => busy.promise, { timeoutSeconds: 0.001 }).catch(() => {});
    }
    busy.open();
    await started();
    expect(await read("reclaimed_permits")).toEqual({ "": 1 });
    expect(await read("abandoned_calls")).toEqual({ "": 0 });
  });

  it("count how many times the storage began to fail", async () => {
    const circuitStorage = new UnreliableStorage();
    circuitStorage.mood = "down";
    const bulkhead = new Bulkhead({ name: "api" }, { circuitStorage });
    reporter.add(bulkhead);
    await bulkhead.ready();
    expect(await read("storage.errors")).toEqual({ "": 1 });
    circuitStorage.mood = "well";
    await bulkhead.shutdown();
    expect(await read("storage.errors")).toEqual({ "": 1 });
  });

  it("count health checks by their result", async () => {
    const results = [true, false, true];
    const bulkhead = new Bulkhead({
      name: "api",
      healthCheck: () => results.shift() ?? new Promise(() => {}),
      healthCheckInterval: 0.001,
    });
    reporter.add(bulkhead);
    while (results.length > 0) await once(bulkhead, "healthCheck");
    await bulkhead.shutdown();
    expect(await read("health_checks")).toEqual({ passed: 2, failed: 1 });
  });

  it("show when the circuit opened last and how long it stays open, of several the later and the longer", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"], now: 1_700_000_000_250 });
    const config = { name: "api", failureThreshold: 1, successThreshold: 1 };
    const long = new Bulkhead({ ...config, isolationDuration: 600 });
    const short = new Bulkhead({ ...config, isolationDuration: 120 });
    reporter.add(long);
    reporter.add(short);
    expect(await read("circuit.opened_timestamp")).toEqual({ "": 0 });
    expect(await read("retry_after")).toEqual({ "": 0 });
    await failCalls(long, 1);
    vi.advanceTimersByTime(60_000);
    await failCalls(short, 1);
    expect(await read("circuit.opened_timestamp")).toEqual({ "": 1_700_000_060.25 });
    expect(await read("retry_after")).toEqual({ "": 9 });
    long.breaker?.close();
    expect(await read("retry_after")).toEqual({ "": 2 });
    short.breaker?.close();
    expect(await read("circuit.opened_timestamp")).toEqual({ "": 1_700_000_060.25 });
    expect(await read("retry_after")).toEqual({ "": 0 });
  });
});
