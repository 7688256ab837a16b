import { cp, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { gate, started } from "../helpers/gate.js";

// opossum may handle its own promises as it likes: the figures of a bulkhead's breaker are the bulkhead's.
// Each edit below is one that a user of opossum would not notice.

const EDITS: { readonly [name: string]: (code: string) => string } = {
  "as published": (code) => code,
  "handling success and failure in one then()": (code) =>
    code.replace(/\}\)\s*\.catch\(error => \{/, "}, error => {"),
  "wrapping the action in an async function": (code) =>
    code.replace(
      "const result = this.action.apply(context, args);\n          const promise",
      "const result = (async () => this.action.apply(context, args))();\n          const promise",
    ),
};

const { resolve } = createRequire(import.meta.url);
let directory: string;

beforeAll(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), "bulkman-opossum-")));
});
afterAll(() => rm(directory, { recursive: true }));
beforeEach(() => {
  vi.resetModules();
  vi.useFakeTimers();
});
afterEach(() => {
  vi.doUnmock("opossum");
  vi.useRealTimers();
});

/** A copy of opossum with one edit; resolves to its main file. */
async function edited(packageName: string, edit: string): Promise<string> {
  const copy = join(directory, `${packageName} ${edit}`);
  await cp(dirname(resolve(`${packageName}/package.json`)), copy, { recursive: true });
  const file = join(copy, "lib/circuit.js");
  const code = await readFile(file, "utf8");
  const changed = EDITS[edit]?.(code) ?? code;
  expect(changed === code).toBe(edit === "as published");
  await writeFile(file, changed);
  return join(copy, "index.js");
}

const EVENTS = [
  "fire",
  "success",
  "failure",
  "timeout",
  "reject",
  "open",
  "halfOpen",
  "close",
  "semaphoreLocked",
  "healthCheckFailed",
];

/** Traffic with every outcome, and what opossum's users see of it. */
async function figures() {
  const { Bulkhead } = await import("../../src/index.js");
  let isWell = true;
  const bulkhead = new Bulkhead({
    name: "api",
    maxConcurrentCalls: 1,
    maxQueueSize: 0,
    timeoutSeconds: 1,
    reclaimAfterSeconds: 0,
    failureThreshold: 3,
    successThreshold: 1,
    isolationDuration: 2,
    healthCheckInterval: 60,
    healthCheck: () => isWell,
  });
  const { breaker } = bulkhead;
  if (breaker === undefined) throw new Error("no breaker");
  const events: string[] = [];
  for (const event of EVENTS) breaker.on(event as "fire", () => events.push(event));
  const attempt = (fn: () => unknown) => bulkhead.execute(fn).catch(() => {});

  await attempt(() => 1);
  await attempt(async () => 2);
  const busy = gate();
  const running = attempt(() => busy.promise);
  await started();
  await attempt(() => "no place left");
  busy.open();
  await running;
  await attempt(() => Promise.reject(new Error("down")));
  await attempt(() => {
    throw new Error("down");
  });
  const hanging = attempt(() => new Promise(() => {}));
  await vi.advanceTimersByTimeAsync(1000);
  await hanging;
  const whileOpen = [breaker.opened, breaker.closed, breaker.halfOpen, breaker.stats.failures];
  await attempt(() => "too early");
  await vi.advanceTimersByTimeAsync(2000);
  await attempt(async () => "probe");
  const { stats } = breaker;
  isWell = false;
  await vi.advanceTimersByTimeAsync(57_000);
  await bulkhead.shutdown();
  return { events, whileOpen, stats, state: breaker.toJSON().state, names: breaker.eventNames() };
}

describe.each(["opossum", "opossum-10"])("%s", (packageName) => {
  it.each(Object.keys(EDITS))("reports every call as it ended, %s", async (edit) => {
    const file = await edited(packageName, edit);
    vi.doMock("opossum", () => ({ default: createRequire(import.meta.url)(file) }));

    const seen = await figures();

    expect(seen.events).toEqual([
      ...["fire", "success", "fire", "success"],
      ...["fire", "fire", "semaphoreLocked", "success"],
      ...["fire", "failure", "fire", "failure"],
      ...["fire", "timeout", "failure", "open"],
      ...["fire", "reject", "halfOpen", "fire", "success", "close"],
      ...["healthCheckFailed", "open"],
    ]);
    expect(seen.whileOpen).toEqual([true, false, false, 3]);
    expect(seen.stats).toMatchObject({
      fires: 9,
      successes: 4,
      failures: 3,
      timeouts: 1,
      rejects: 1,
      semaphoreRejections: 1,
    });
    expect(seen.state).toMatchObject({ name: "api", open: true, shutdown: true });
    expect(seen.names).toEqual(expect.arrayContaining(EVENTS));
  });
});
