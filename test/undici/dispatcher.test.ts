import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, expectTypeOf, it, onTestFinished } from "vitest";
import { BulkheadManager } from "../../src/index.js";
import { globalDispatcher } from "../../src/undici/global-dispatcher.js";
import { guardDispatcher } from "../../src/undici/index.js";
import { type Dispatcher, UNDICIS } from "./clients.js";
import { FakeBase, FakeCaller } from "./fake-base.js";
import { fakeGuard, ledger, ORIGIN, turn } from "./fakes.js";
import { serve } from "./server.js";

const KEYS = [Symbol.for("undici.globalDispatcher.1"), Symbol.for("undici.globalDispatcher.2")];

/** Restores the global dispatchers when the test is over. */
function keepGlobals(): void {
  void globalDispatcher();
  const kept = KEYS.map((key) => Reflect.get(globalThis, key) as unknown);
  onTestFinished(() => {
    for (const [i, key] of KEYS.entries()) {
      if (kept[i] !== undefined) Reflect.set(globalThis, key, kept[i]);
    }
  });
}

describe("without a dispatcher", () => {
  it("a guard is over the one that fetch of Node.js uses, as it was when the guard was made", async () => {
    keepGlobals();
    const { url } = await serve((_request, response) => response.end("hello"));
    const manager = new BulkheadManager();
    const dispatcher = guardDispatcher({ manager });
    for (const key of KEYS) {
      if (Reflect.get(globalThis, key) !== undefined) Reflect.set(globalThis, key, dispatcher);
    }
    expect(await (await fetch(url)).text()).toBe("hello");
    const bulkhead = manager.getBulkhead(url);
    expect(bulkhead && ledger(bulkhead)).toEqual({ total: 1, successful: 1 });
    expect(() => guardDispatcher()).toThrow("must not be a guard itself");
  });

  it("a guard has an error that says so where there is no global one", () => {
    keepGlobals();
    for (const key of KEYS) Reflect.set(globalThis, key, undefined);
    expect(() => guardDispatcher()).toThrow("dispatcher must be given, such as an Agent of undici");
  });

  it("a guard is what fetch takes, in types too", () => {
    expectTypeOf(guardDispatcher()).toExtend<NonNullable<RequestInit["dispatcher"]>>();
  });
});

describe.each(UNDICIS)("setGlobalDispatcher of %s", (name, undici) => {
  it("guards every request and fetch of it", async () => {
    keepGlobals();
    const { url } = await serve((_request, response) => response.end("hello"));
    const manager = new BulkheadManager();
    const base = new undici.Agent();
    undici.setGlobalDispatcher(guardDispatcher({ manager, dispatcher: base }));
    const send = undici.fetch as unknown as typeof fetch;
    expect(await (await send(url)).text()).toBe("hello");
    const request = undici.request as unknown as (url: string) => Promise<{ body: Response }>;
    expect(await (await request(url)).body.text()).toBe("hello");
    const bulkhead = manager.getBulkhead(url);
    expect([name, bulkhead && ledger(bulkhead)]).toEqual([name, { total: 2, successful: 2 }]);
    await base.close();
  });
});

describe("close() and destroy()", () => {
  const send = (dispatcher: FakeBase) => {
    const caller = new FakeCaller("new");
    dispatcher.dispatch({ origin: ORIGIN, path: "/", method: "GET" }, caller.handler);
    return caller;
  };

  /** A guard with a manager of its own, over a base that must stay open. */
  function ownGuard() {
    const base = Object.assign(new FakeBase("new"), {
      closed: 0,
      close() {
        base.closed++;
      },
      destroy() {
        base.closed++;
      },
    });
    const dispatcher = guardDispatcher({ dispatcher: base, defaults: { maxConcurrentCalls: 1 } });
    return { base, dispatcher: dispatcher as unknown as FakeBase & Dispatcher };
  }

  it("close waits for what runs and waits, and then rejects", async () => {
    const { base, dispatcher } = ownGuard();
    const [running, waiting] = [send(dispatcher), send(dispatcher)];
    await turn();
    let isClosed = false;
    const closed = dispatcher.close().then(() => {
      isClosed = true;
    });
    await turn();
    const refused = send(dispatcher);
    await turn();
    expect(refused.told.at(-1)).toEqual([
      "error",
      expect.objectContaining({ code: "ERR_BULKHEAD_SHUTDOWN" }),
    ]);
    for (const i of [0, 1]) {
      expect(isClosed).toBe(false);
      base.at(i).start();
      base.at(i).headers(200);
      base.at(i).end();
      await turn();
    }
    await closed;
    expect([running, waiting].map(({ told }) => told.at(-1)?.[0])).toEqual(["end", "end"]);
    expect(base.closed).toBe(0);
  });

  it("destroy aborts what runs and waits", async () => {
    const { base, dispatcher } = ownGuard();
    const callers = [send(dispatcher), send(dispatcher)];
    await turn();
    base.at(0).start();
    await dispatcher.destroy();
    await turn();
    for (const { told } of callers) {
      expect(told.at(-1)).toEqual([
        "error",
        expect.objectContaining({ code: "ERR_BULKHEAD_SHUTDOWN" }),
      ]);
    }
    expect(base.at(0).abortedWith).toHaveLength(1);
    expect(base.closed).toBe(0);
  });

  it("call back, as those of undici do", async () => {
    const { dispatcher } = ownGuard();
    const withCallback = dispatcher as unknown as {
      close(callback: (error: unknown) => void): void;
      destroy(error: Error | null, callback: (error: unknown) => void): void;
    };
    expect(await new Promise((done) => withCallback.close(done))).toBe(null);
    expect(await new Promise((done) => withCallback.destroy(null, done))).toBe(null);
  });

  it("leave a manager that was given, and its bulkheads, in use", async () => {
    const guard = fakeGuard("new");
    const dispatcher = guard.dispatcher as unknown as Dispatcher;
    await dispatcher.close();
    await dispatcher.destroy();
    const client = await guard.dispatch("new");
    guard.base.at(0).start();
    guard.base.at(0).headers(200);
    guard.base.at(0).end();
    expect(client.told.at(-1)?.[0]).toBe("end");
  });
});

it("has everything else that its base has", () => {
  const base = Object.assign(new FakeBase("new"), { isMockActive: true, stats: { a: 1 } });
  const dispatcher = guardDispatcher({ dispatcher: base });
  expect(dispatcher).toMatchObject({ isMockActive: true, stats: { a: 1 }, form: "new" });
  expect(dispatcher).toBeInstanceOf(FakeBase);
});

it("leaves it to the base to refuse a request or a handler of no form", () => {
  const seen: unknown[][] = [];
  const dispatcher = guardDispatcher({
    dispatcher: {
      dispatch(...given: unknown[]) {
        seen.push(given);
        return false;
      },
    },
  });
  const handler = {};
  const caller = new FakeCaller("old").handler;
  expect(dispatcher.dispatch({} as never, handler as never)).toBe(false);
  dispatcher.dispatch(undefined as never, caller as never);
  dispatcher.dispatch({} as never, null as never);
  expect(seen).toEqual([
    [{}, handler],
    [undefined, caller],
    [{}, null],
  ]);
});

it("owns no timer while nothing is under way", async () => {
  const { url } = await serve((_request, response) => response.end("hello"));
  const dispatcher = guardDispatcher({ defaults: { timeoutSeconds: 100 } });
  await (await fetch(url, { dispatcher })).text();
  await sleep(5);
  const timers = process.getActiveResourcesInfo().filter((type) => type === "Timeout");
  await (await fetch(url, { dispatcher })).text();
  await sleep(5);
  const later = process.getActiveResourcesInfo().filter((type) => type === "Timeout");
  expect(later.length).toBeLessThanOrEqual(timers.length);
});
