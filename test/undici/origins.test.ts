import { describe, expect, it, vi } from "vitest";
import { BulkheadManager, InMemoryStorage } from "../../src/index.js";
import { guardDispatcher } from "../../src/undici/index.js";
import { FakeCaller } from "./fake-base.js";
import { fakeGuard, ORIGIN, turn } from "./fakes.js";

const names = (manager: BulkheadManager) => Array.from(manager, ({ name }) => name);

/** A guard whose base answers everything with 200 at once. */
function answeringGuard(options: Parameters<typeof fakeGuard>[1] = {}) {
  const guard = fakeGuard("new", options);
  guard.base.onDispatch = (request) => {
    request.start();
    request.headers(200);
    request.end();
  };
  return guard;
}

describe("the bulkheads of a guard", () => {
  it("are one for each origin, named by it, with the defaults", async () => {
    const guard = answeringGuard({ defaults: { maxConcurrentCalls: 3 } });
    expect(names(guard.manager)).toEqual([]);
    await guard.dispatch("new", { path: "/a" });
    await guard.dispatch("new", { path: "/b" });
    await guard.dispatch("new", { origin: "http://other.example.com:8080" });
    expect(names(guard.manager)).toEqual([ORIGIN, "http://other.example.com:8080"]);
    expect(guard.bulkhead.config.maxConcurrentCalls).toBe(3);
    expect(guard.bulkhead.getStats().totalExecutions).toBe(2);
  });

  it.each<[unknown]>([
    [ORIGIN],
    [`${ORIGIN}/`],
    ["HTTPS://API.example.com:443"],
    [new URL(`${ORIGIN}/path`)],
  ])("are found by the origin %s", async (origin) => {
    const guard = answeringGuard({ origins: { [`${ORIGIN}/`]: { name: "api" } } });
    await guard.dispatch("new", { origin });
    expect(names(guard.manager)).toEqual(["api"]);
  });

  it("of listed origins have their own name and configuration over the defaults", async () => {
    const guard = answeringGuard({
      defaults: { maxConcurrentCalls: 20, timeoutSeconds: 10 },
      origins: { [ORIGIN]: { name: "payments", maxConcurrentCalls: 8 } },
    });
    await guard.dispatch("new");
    const { config } = guard.bulkhead;
    expect(config).toMatchObject({ name: "payments", maxConcurrentCalls: 8, timeoutSeconds: 10 });
  });

  it("use the manager's storage when they are listed, and never otherwise", async () => {
    const circuitStorage = new InMemoryStorage();
    const load = vi.spyOn(circuitStorage, "load");
    const subscribe = vi.spyOn(circuitStorage, "subscribe");
    const manager = new BulkheadManager({ circuitStorage });
    const guard = answeringGuard({ manager, origins: { [ORIGIN]: { name: "payments" } } });
    await guard.dispatch("new", { origin: "https://unlisted.example.com" });
    expect([load.mock.calls, subscribe.mock.calls]).toEqual([[], []]);
    await guard.dispatch("new");
    expect(load.mock.calls.map(([name]) => name)).toContain("payments");
  });

  it("are used when the manager has one of that name already", async () => {
    const manager = new BulkheadManager();
    const mine = await manager.createBulkhead({ name: "payments", maxConcurrentCalls: 2 });
    const guard = answeringGuard({ manager, origins: { [ORIGIN]: { name: "payments" } } });
    await guard.dispatch("new");
    expect(mine.getStats().totalExecutions).toBe(1);
  });

  it("are made anew when they were removed from the manager", async () => {
    const guard = answeringGuard();
    await guard.dispatch("new");
    guard.manager.removeBulkhead(ORIGIN);
    const client = await guard.dispatch("new");
    expect(client.told.at(-1)?.[0]).toBe("end");
    expect(guard.bulkhead.getStats().totalExecutions).toBe(1);
  });

  it("reject requests once the manager is shut down, those of new origins, too", async () => {
    const guard = answeringGuard();
    await guard.dispatch("new");
    await guard.manager.shutdown();
    for (const origin of [ORIGIN, "https://new.example.com"]) {
      const client = await guard.dispatch("old", { origin });
      expect(client.told.at(-1)).toEqual([
        "error",
        expect.objectContaining({ code: "ERR_BULKHEAD_SHUTDOWN" }),
      ]);
    }
    expect(guard.base.requests).toHaveLength(1);
  });
});

describe("key", () => {
  it("is asked with origin, path and method, and names the bulkhead", async () => {
    const key = vi.fn(({ method }: { method: string }) => (method === "GET" ? "reads" : "writes"));
    const guard = answeringGuard({ key, origins: { writes: { maxConcurrentCalls: 1 } } });
    await guard.dispatch("new", { path: "/a?b=c" });
    await guard.dispatch("new", { method: "POST", origin: new URL(ORIGIN) });
    expect(key.mock.calls.map(([request]) => request)).toEqual([
      { origin: ORIGIN, path: "/a?b=c", method: "GET" },
      { origin: ORIGIN, path: "/", method: "POST" },
    ]);
    expect(names(guard.manager)).toEqual(["reads", "writes"]);
    expect(guard.manager.getBulkhead("writes")?.config.maxConcurrentCalls).toBe(1);
  });

  it.each(["old", "new"] as const)(
    "that returns null leaves a %s request unguarded",
    async (form) => {
      const guard = answeringGuard({ key: () => null });
      const client = await guard.dispatch(form);
      expect(client.told.map(([word]) => word)).toEqual(["start", "headers", "end"]);
      expect(names(guard.manager)).toEqual([]);
    },
  );

  it.each<[string, () => never]>([
    [
      "throws",
      () => {
        throw new Error("no key");
      },
    ],
    ["returns undefined", () => undefined as never],
    ["returns a number", () => 1 as never],
    ["returns a promise", () => Promise.resolve("a") as never],
    ["returns an empty string", () => "" as never],
    ["returns a string that is too long", () => "a".repeat(256) as never],
  ])("that %s is the error of the request, without a permit", async (_name, key) => {
    const guard = answeringGuard({ key });
    for (const form of ["old", "new"] as const) {
      const client = await guard.dispatch(form);
      expect(client.told).toEqual([["error", expect.any(Error)]]);
    }
    expect(names(guard.manager)).toEqual([]);
    expect(guard.base.requests).toHaveLength(0);
  });
});

it.each([undefined, "", "nonsense", "data:,", 1, null])(
  "a request with the origin %j has an error that says so",
  async (origin) => {
    const guard = answeringGuard();
    const client = await guard.dispatch("new", { origin });
    expect(client.told).toEqual([
      ["error", expect.objectContaining({ message: expect.stringContaining("origin") })],
    ]);
  },
);

describe("maxOrigins", () => {
  const at = (i: number) => `https://origin-${i}.example.com`;

  it("removes the origins that have been idle for the longest time", async () => {
    const guard = answeringGuard({ maxOrigins: 3 });
    for (const i of [1, 2, 3, 1, 4, 5]) await guard.dispatch("new", { origin: at(i) });
    expect(names(guard.manager).sort()).toEqual([at(1), at(4), at(5)]);
  });

  it("removes no origin at which something runs or waits, and makes one more", async () => {
    const guard = fakeGuard("new", { maxOrigins: 2, defaults: { maxConcurrentCalls: 1 } });
    for (const i of [1, 2, 3]) await guard.dispatch("new", { origin: at(i) });
    expect(names(guard.manager)).toEqual([at(1), at(2), at(3)]);
    for (const request of guard.base.requests) {
      request.start();
      request.headers(200);
      request.end();
    }
    await guard.dispatch("new", { origin: at(4) });
    expect(names(guard.manager)).toHaveLength(2);
  });

  it("removes no origin that is used beside the guard", async () => {
    const guard = answeringGuard({ maxOrigins: 1 });
    await guard.dispatch("new", { origin: at(1) });
    using permit = await guard.bulkhead.acquire();
    await guard.dispatch("new", { origin: at(2) });
    expect(names(guard.manager)).toEqual([at(1), at(2)]);
    permit.succeed();
  });

  it("removes no origin whose circuit is open, or that is isolated", async () => {
    const guard = answeringGuard({ maxOrigins: 2, defaults: { failureThreshold: 1 } });
    guard.base.onDispatch = (request) => {
      request.start();
      request.headers(request.options["path"] === "/bad" ? 500 : 200);
      request.end();
    };
    await guard.dispatch("new", { origin: at(1), path: "/bad" });
    await guard.dispatch("new", { origin: at(2) });
    guard.manager.getBulkhead(at(2))?.isolate();
    for (const i of [3, 4, 5]) await guard.dispatch("new", { origin: at(i) });
    expect(names(guard.manager)).toEqual([at(1), at(2), at(5)]);
  });

  it("does not count the listed origins, and never removes them", async () => {
    const guard = answeringGuard({ maxOrigins: 1, origins: { [at(1)]: {}, [at(2)]: {} } });
    for (const i of [1, 2, 3, 4]) await guard.dispatch("new", { origin: at(i) });
    expect(names(guard.manager)).toEqual([at(1), at(2), at(4)]);
  });

  it("keeps ten thousand origins within its bound", async () => {
    const guard = answeringGuard({ maxOrigins: 100 });
    let most = 0;
    for (let i = 0; i < 10_000; i++) {
      const caller = new FakeCaller("old");
      guard.dispatcher.dispatch({ origin: at(i), path: "/" } as never, caller.handler as never);
      if (i % 50 === 0) await turn();
      guard.base.requests.length = 0;
      most = Math.max(most, guard.manager.size);
    }
    await turn();
    await guard.dispatch("new", { origin: ORIGIN });
    expect(guard.manager.size).toBeLessThanOrEqual(100);
    // Those that were dispatched in one turn were busy in it.
    expect(most).toBeLessThanOrEqual(151);
  });
});

it("a request of a guard around the same bulkhead is refused: it would wait for its own permit", async () => {
  const manager = new BulkheadManager();
  const inner = fakeGuard("new", { manager });
  const outer = guardDispatcher({
    manager,
    dispatcher: {
      dispatch: (options: never, handler: never) => inner.dispatcher.dispatch(options, handler),
    },
  });
  const client = new FakeCaller("new");
  outer.dispatch({ origin: ORIGIN, path: "/" } as never, client.handler as never);
  await turn();
  expect(client.told).toEqual([
    ["start"],
    ["error", expect.objectContaining({ message: expect.stringContaining("guarded twice") })],
  ]);
});
