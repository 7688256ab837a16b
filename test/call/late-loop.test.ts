import { EventEmitter, once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bulkhead, BulkheadTimeoutError } from "../../src/index.js";
import { turn } from "../helpers/gate.js";

/** A dependency in a thread of its own. It answers on request, also while this thread is blocked. */
const DEPENDENCY = `
  const { parentPort, workerData } = require("node:worker_threads");
  const questions = [];
  parentPort.on("message", (id) => {
    questions.push(id);
    Atomics.wait(workerData, 0, 0);
    for (const id of questions.splice(0)) parentPort.postMessage(id);
    Atomics.store(workerData, 1, 1);
  });`;
/** What this thread says: answer. And what the dependency says: it has answered. */
const signals = new Int32Array(new SharedArrayBuffer(8));
let worker: Worker;
const answers = new EventEmitter();
let questions = 0;

beforeAll(async () => {
  worker = new Worker(DEPENDENCY, { eval: true, workerData: signals });
  worker.on("message", (id: number) => answers.emit(String(id), id));
  await once(worker, "online");
});
afterAll(async () => {
  await worker.terminate();
});

function ask(): Promise<unknown> {
  const id = questions++;
  worker.postMessage(id);
  return once(answers, String(id));
}

/** Blocks this thread until the limit of the calls has passed, and until the dependency has answered. */
function block(limitMs: number, answered: boolean): void {
  const until = performance.now() + limitMs + 50;
  if (answered) {
    Atomics.store(signals, 0, 1);
    Atomics.notify(signals, 0);
    while (Atomics.load(signals, 1) === 0);
  }
  while (performance.now() < until);
}

const LIMIT_MS = 100;

it("a health check whose answer arrived while the event loop was blocked passes", async () => {
  signals.fill(0);
  const bulkhead = new Bulkhead({
    name: "api",
    healthCheck: ask,
    healthCheckInterval: 0.01,
    timeoutSeconds: LIMIT_MS / 1000,
  });
  const told = once(bulkhead, "healthCheck");
  const asked = questions;
  while (questions === asked) await turn();
  await turn();
  block(LIMIT_MS, true);
  expect(await told).toEqual([{ healthy: true, error: null }]);
  await bulkhead.shutdown();
});

it("a drain that is over while the event loop is blocked does not cut calls whose answers arrived", async () => {
  signals.fill(0);
  const bulkhead = new Bulkhead({ name: "api" });
  const call = bulkhead.execute(ask);
  const drained = once(bulkhead, "shutdown");
  const down = bulkhead.shutdown({ drainSeconds: LIMIT_MS / 1000 });
  await turn();
  block(LIMIT_MS, true);
  expect((await call).success).toBe(true);
  expect(await drained).toEqual([{ drained: true }]);
  await down;
});

describe("when the event loop was blocked past the time limit of calls", () => {
  const phases: Record<string, (act: () => void) => void> = {
    "in the check phase": setImmediate,
    "in a timer": (act) => setTimeout(act, 1),
    "in the poll phase": (act) => {
      const { port1, port2 } = new MessageChannel();
      port1.on("message", () => {
        port1.close();
        act();
      });
      port2.postMessage(null);
    },
    "in a microtask": (act) => setImmediate(() => queueMicrotask(act)),
  };

  for (const [where, enter] of Object.entries(phases)) {
    it(`answers that have arrived meanwhile are no timeouts, ${where}`, async () => {
      signals.fill(0);
      const bulkhead = new Bulkhead({
        name: "api",
        timeoutSeconds: LIMIT_MS / 1000,
        failureThreshold: 1,
      });
      const call = bulkhead.execute(ask);
      // Its timer is set by now.
      await turn();
      enter(() => block(LIMIT_MS, true));
      const outcome = await call;
      expect(outcome.success).toBe(true);
      expect(bulkhead.getStats()).toMatchObject({ timedOutExecutions: 0, circuitStatus: "CLOSED" });
    });

    it(`calls without an answer time out, ${where}`, async () => {
      const bulkhead = new Bulkhead({
        name: "api",
        timeoutSeconds: LIMIT_MS / 1000,
        maxConcurrentCalls: 1,
      });
      const running = bulkhead.execute(() => new Promise(() => {}));
      const waiting = bulkhead.execute(() => 1);
      await turn();
      enter(() => block(LIMIT_MS, false));
      await expect(running).rejects.toBeInstanceOf(BulkheadTimeoutError);
      await expect(waiting).rejects.toBeInstanceOf(BulkheadTimeoutError);
      expect(bulkhead.getStats()).toMatchObject({
        timedOutExecutions: 1,
        rejections: { timeout: 1 },
      });
    });
  }
});
