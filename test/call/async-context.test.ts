import { AsyncLocalStorage } from "node:async_hooks";
import { describe, expect, it } from "vitest";
import { Bulkhead, type BulkheadConfig, InMemoryStorage } from "../../src/index.js";
import { failCalls } from "../helpers/failing.js";
import { gate, started, turn } from "../helpers/gate.js";

const requests = new AsyncLocalStorage<string>();
const CALL_EVENTS = [
  "success",
  "failure",
  "timeout",
  "abandoned",
  "reclaimed",
  "rejected",
] as const;

/** A bulkhead, and for each request what ran in its context. */
function watched(config: Partial<BulkheadConfig> = {}) {
  const seen: string[] = [];
  const note = (what: string) => seen.push(`${requests.getStore() ?? "none"}: ${what}`);
  const bulkhead = new Bulkhead({
    name: "db",
    maxConcurrentCalls: 1,
    failureThreshold: 1000,
    errorFilter: () => {
      note("errorFilter");
      return false;
    },
    ...config,
  });
  for (const event of CALL_EVENTS) bulkhead.on(event, () => note(event));
  return { bulkhead, seen, note };
}

describe("the AsyncLocalStorage context of a call (rule 8)", () => {
  it("is its own when another call frees its permit", async () => {
    const { bulkhead, seen, note } = watched();
    const gates = { a: gate(), b: gate() };
    const call = (request: "a" | "b") =>
      requests.run(request, () =>
        bulkhead.execute(() => {
          note("function");
          return gates[request].promise;
        }),
      );
    const calls = [call("a"), call("b")];
    await started();
    requests.run("c", () => gates.a.open());
    await calls[0];
    requests.run("c", () => gates.b.fail(new Error("down")));
    await calls[1];
    expect(seen).toEqual([
      ...["a: function", "a: success"],
      ...["b: function", "b: errorFilter", "b: failure"],
    ]);
  });

  it("is its own when a timer that another call has set ends it", async () => {
    const { bulkhead, seen, note } = watched({
      maxConcurrentCalls: 2,
      timeoutSeconds: 0.02,
      reclaimAfterSeconds: 0.01,
    });
    const call = (request: string) =>
      requests.run(request, () =>
        bulkhead
          .run(({ signal }) => {
            signal.addEventListener("abort", () => note("abort"));
            return new Promise(() => {});
          })
          .catch(() => note("caller")),
      );
    await Promise.all(["a", "b", "c"].map(call));
    while (bulkhead.getStats().abandonedTasks > 0) await turn();
    const of = (request: string) => seen.filter((line) => line.startsWith(`${request}: `));
    const ran = ["timeout", "failure", "abandoned", "errorFilter", "abort", "caller", "reclaimed"];
    expect(of("a")).toEqual(ran.map((what) => `a: ${what}`));
    expect(of("b")).toEqual(ran.map((what) => `b: ${what}`));
    expect(of("c")).toEqual(["c: timeout", "c: rejected", "c: caller"]);
    expect(of("none")).toEqual([]);
  });

  it("is its own when another request aborts it, or isolates the bulkhead", async () => {
    const { bulkhead, seen } = watched();
    const busy = gate();
    const controllers = { a: new AbortController(), b: new AbortController() };
    const call = (request: "a" | "b" | "c", signal?: AbortSignal) =>
      requests.run(request, () => bulkhead.run(() => busy.promise, { signal }).catch(() => {}));
    const calls = [call("a", controllers.a.signal), call("b", controllers.b.signal), call("c")];
    await started();
    requests.run("d", () => controllers.b.abort());
    requests.run("d", () => controllers.a.abort());
    requests.run("d", () => bulkhead.isolate());
    await Promise.all(calls);
    expect(seen).toEqual(["b: rejected", "a: failure", "a: abandoned", "c: rejected"]);
    busy.open();
  });

  it("is that of opossum's events of the call, too", async () => {
    const { bulkhead, seen, note } = watched();
    for (const event of ["fire", "success", "failure"] as const) {
      bulkhead.breaker?.on(event as "fire", () => note(`opossum's ${event}`));
    }
    const call = (request: string, fn: () => unknown) =>
      requests.run(request, () => bulkhead.execute(fn));
    await Promise.all([
      call("a", async () => 1),
      call("b", () => Promise.reject(new Error("down"))),
    ]);
    expect(seen.filter((line) => line.includes("opossum"))).toEqual([
      ...["a: opossum's fire", "a: opossum's success"],
      ...["b: opossum's fire", "b: opossum's failure"],
    ]);
  });
});

describe("what belongs to no call runs in no request's context", () => {
  it("a change of the circuit, whichever call leads to it", async () => {
    const { bulkhead, seen, note } = watched({ failureThreshold: 1, isolationDuration: 0 });
    bulkhead.on("stateChange", ({ to }) => note(to));
    await requests.run("a", () => failCalls(bulkhead, 1));
    await requests.run("b", () => bulkhead.execute(() => 1));
    expect(seen).toContain("none: OPEN");
    expect(seen).toContain("none: HALF_OPEN");
  });

  it("a health check, and an error of the storage", async () => {
    class Broken extends InMemoryStorage {
      override async load(): Promise<never> {
        note("load");
        throw new Error("down");
      }
    }
    const seen: string[] = [];
    const note = (what: string) => seen.push(`${requests.getStore() ?? "none"}: ${what}`);
    const checked = gate();
    const bulkhead = requests.run(
      "a",
      () =>
        new Bulkhead(
          {
            name: "db",
            healthCheckInterval: 0.01,
            healthCheck: () => {
              note("check");
              checked.open();
            },
          },
          { circuitStorage: new Broken() },
        ),
    );
    bulkhead.on("storageError", () => note("storageError"));
    bulkhead.on("healthCheck", () => note("healthCheck"));
    await requests.run("b", () => bulkhead.execute(() => 1));
    // The timer of a health check keeps no process alive.
    const alive = setInterval(() => {}, 1000);
    await checked.promise;
    clearInterval(alive);
    await turn();
    await bulkhead.shutdown();
    expect(new Set(seen)).toEqual(
      new Set(["none: load", "none: storageError", "none: check", "none: healthCheck"]),
    );
  });
});
