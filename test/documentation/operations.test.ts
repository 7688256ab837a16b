import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig } from "../../src/index.js";
import { readPage } from "./examples.js";
import { codeIn, tableBelow } from "./tables.js";

const SIZING = readPage("docs/guide/sizing.md");
const RUNBOOK = readPage("docs/operations/runbook.md");

/** The configuration that the guide ends with, and the load that it is for. */
const SIZED: BulkheadConfig = {
  name: "database",
  maxConcurrentCalls: given("maxConcurrentCalls"),
  maxQueueSize: given("maxQueueSize"),
  timeoutSeconds: given("timeoutSeconds"),
};
const ARRIVALS_PER_SECOND = 50;
const MEAN_SECONDS = 0.06;

const SEED = 1;
let random: () => number;

beforeEach(() => {
  vi.useFakeTimers();
  random = randomFrom(SEED);
});
afterEach(() => {
  vi.useRealTimers();
});

describe(`the sizing of the guide, under a load with the seed ${SEED}`, () => {
  it("has about the average in flight, and queues and rejects almost never", async () => {
    const seen = await load(SIZED, 60, () => atRandom(MEAN_SECONDS));
    expect(seen.inFlight).toBeGreaterThan(2.7);
    expect(seen.inFlight).toBeLessThan(3.3);
    expect(seen.served).toBeGreaterThan(2800);
    expect(seen.waited / seen.served).toBeLessThan(0.01);
    expect(seen.stats).toMatchObject({ failedExecutions: 0, rejectedExecutions: 0 });
  });

  it("holds at most 59 calls, and rejects after about a second, when the database hangs", async () => {
    const seen = await load(SIZED, 10, () => 3600);
    expect(seen.mostHeld).toBeLessThanOrEqual(59);
    expect(seen.openedAfter).toBeGreaterThan(1);
    expect(seen.openedAfter).toBeLessThan(1.2);
    expect(seen.stats.failedExecutions).toBeLessThanOrEqual(9 + 5);
  });

  it("opens the circuit soon when the database is ten times slower", async () => {
    const seen = await load(SIZED, 10, () => MEAN_SECONDS * 10);
    expect(seen.openedAfter).toBeLessThan(2);
  });

  it("serves ten times as much of a slow database with 5 places in the queue as with 50", async () => {
    const limitsOnly = { ...SIZED, circuitBreakerEnabled: false };
    const slow = () => MEAN_SECONDS * 10;
    const long = await load(limitsOnly, 20, slow);
    random = randomFrom(SEED);
    const short = await load({ ...limitsOnly, maxQueueSize: 5 }, 20, slow);
    expect(short.served).toBeGreaterThan(10 * long.served);
    // 15 a second are all that 9 permits can do.
    expect(short.served).toBeGreaterThan(0.85 * 15 * 20);
  });
});

describe("the tables of the runbook", () => {
  const stats = new Bulkhead({ name: "x" }).getStats();
  const firstCells = (table: string) =>
    tableBelow(RUNBOOK, table).flatMap(([cell = ""]) => codeIn(cell));

  it("have every figure of getStats()", () => {
    expect(firstCells("## What each figure says").sort()).toEqual(Object.keys(stats).sort());
  });

  it("have every reason of a rejection", () => {
    const start = RUNBOOK.slice(RUNBOOK.indexOf("| reason | says |"));
    const reasons = tableBelow(`# Reasons\n${start}`, "# Reasons").map(([cell = ""]) =>
      codeIn(cell),
    );
    expect(reasons.flat().sort()).toEqual(Object.keys(stats.rejections).sort());
  });
});

/** What is seen of calls that come at random for some seconds and each take a drawn time. */
async function load(config: BulkheadConfig, seconds: number, drawSeconds: () => number) {
  const bulkhead = new Bulkhead(config);
  const begin = performance.now();
  const seen = { served: 0, waited: 0, openedAfter: Number.NaN };
  bulkhead.on("success", ({ queuedTime }) => {
    seen.served++;
    if (queuedTime > 0) seen.waited++;
  });
  bulkhead.once("stateChange", () => {
    seen.openedAfter = (performance.now() - begin) / 1000;
  });

  const call = () => {
    const ms = drawSeconds() * 1000;
    bulkhead.run(({ signal }) => pause(ms, signal)).catch(() => {});
    setTimeout(call, atRandom(1 / ARRIVALS_PER_SECOND) * 1000);
  };
  call();
  const samples: Array<{ active: number; held: number }> = [];
  setInterval(() => {
    const { activeTasks, queuedTasks, abandonedTasks } = bulkhead.getStats();
    samples.push({ active: activeTasks, held: activeTasks + queuedTasks + abandonedTasks });
  }, 10);
  await vi.advanceTimersByTimeAsync(seconds * 1000);
  vi.clearAllTimers();

  const inFlight = samples.reduce((sum, { active }) => sum + active, 0) / samples.length;
  const mostHeld = Math.max(...samples.map(({ held }) => held));
  return { ...seen, inFlight, mostHeld, stats: bulkhead.getStats() };
}

/** An exponentially distributed number, as the pauses between calls that come at random are. */
function atRandom(mean: number): number {
  return -Math.log(1 - random()) * mean;
}

/** A seeded source of numbers from 0 to 1. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** A number of the guide's last step. */
function given(field: string): number {
  const [, value] = new RegExp(`^ {2}${field}: (\\d+),$`, "m").exec(SIZING) ?? [];
  if (value === undefined) throw new Error(`The guide has no ${field}`);
  return Number(value);
}
