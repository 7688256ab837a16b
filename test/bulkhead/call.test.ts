import { describe, expect, expectTypeOf, it, onTestFinished, vi } from "vitest";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  BulkheadError,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadShutdownError,
  BulkheadTimeoutError,
} from "../../src/index.js";
import { gate } from "../helpers/gate.js";

const SMALL = { name: "api", maxConcurrentCalls: 1, maxQueueSize: 0 };

/** What a promise rejects with. */
const thrownBy = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.unreachable("it resolved"),
    (error: unknown) => error,
  );

describe("call", () => {
  it.each([
    ["a value", () => 7],
    ["a promise", async () => 7],
    ["a thenable", () => ({ then: (resolve: (value: number) => void) => resolve(7) })],
  ])("resolves with the value of a function that returns %s", async (_, fn: () => unknown) => {
    expect(await new Bulkhead(SMALL).call(fn)).toBe(7);
  });

  it("gives the function its arguments", async () => {
    const add = (a: number, b: number) => a + b;
    expect(await new Bulkhead(SMALL).call(add, 3, 4)).toBe(7);
  });

  it.each([
    ["an error", Object.assign(new Error("duplicate key"), { code: "23505" })],
    ["a string", "down"],
    ["undefined", undefined],
    ["a BulkheadError", new BulkheadError("of the function", { bulkheadName: "other" })],
  ])("rejects with the very value when the function throws %s", async (_, thrown) => {
    const bulkhead = new Bulkhead(SMALL);
    const sync = () => {
      throw thrown;
    };
    expect(await thrownBy(bulkhead.call(sync))).toBe(thrown);
    expect(await thrownBy(bulkhead.call(async () => sync()))).toBe(thrown);
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 2, activeTasks: 0 });
  });

  it("rejects with a BulkheadError when the bulkhead rejects or cuts the call", async () => {
    const bulkhead = new Bulkhead({ ...SMALL, timeoutSeconds: 0.01, reclaimAfterSeconds: null });
    const work = gate();
    const cut = bulkhead.call(() => work.promise);
    expect(await thrownBy(bulkhead.call(() => 1))).toBeInstanceOf(BulkheadFullError);
    expect(await thrownBy(cut)).toBeInstanceOf(BulkheadTimeoutError);
    bulkhead.isolate();
    expect(await thrownBy(bulkhead.call(() => 1))).toBeInstanceOf(BulkheadIsolationError);
    bulkhead.release();
    bulkhead.breaker?.open();
    expect(await thrownBy(bulkhead.call(() => 1))).toBeInstanceOf(BulkheadCircuitOpenError);
    work.open();
    await bulkhead.shutdown();
    expect(await thrownBy(bulkhead.call(() => 1))).toBeInstanceOf(BulkheadShutdownError);
  });

  it("rejects with a TypeError when it is not given a function", async () => {
    const call: (fn: unknown) => Promise<unknown> = new Bulkhead(SMALL).call;
    const error = await thrownBy(call.call(new Bulkhead(SMALL), 7));
    expect(error).toEqual(new TypeError("fn must be a function; got 7"));
  });

  it("counts like execute, opens the circuit like it, and emits the same events", async () => {
    const figures = async (form: "call" | "execute") => {
      const bulkhead = new Bulkhead({ ...SMALL, failureThreshold: 2 });
      const events: unknown[] = [];
      bulkhead.on("success", () => events.push("success"));
      bulkhead.on("failure", ({ error }) => events.push(String(error)));
      bulkhead.on("rejected", ({ reason }) => events.push(reason));
      bulkhead.on("stateChange", ({ to }) => events.push(to));
      const fail = () => Promise.reject(new Error("down"));
      const send = (fn: () => unknown): Promise<unknown> =>
        form === "call" ? bulkhead.call(fn) : bulkhead.execute(fn);
      for (const fn of [() => 1, fail, fail, () => 1]) await send(fn).catch(() => {});
      const { retryAfterSeconds, ...stats } = bulkhead.getStats();
      expect(retryAfterSeconds).toBeGreaterThan(0);
      return { stats, opossum: bulkhead.breaker?.stats, events };
    };
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const byCall = await figures("call");
    expect(byCall).toEqual(await figures("execute"));
    expect(byCall.events).toEqual([
      "success",
      "BulkheadError: Execution failed: down",
      "BulkheadError: Execution failed: down",
      "OPEN",
      "circuitOpen",
    ]);
  });

  it("has the types of the function", () => {
    const bulkhead = new Bulkhead(SMALL);
    const query = async (sql: string): Promise<string[]> => [sql];
    type Find = ((id: string) => Promise<string>) | ((id: string) => string);
    const calls = () => ({
      async: bulkhead.call(query, "select 1"),
      sync: bulkhead.call((n: number) => n, 1),
      generic: bulkhead.call(<T>(value: T) => value, "x" as const),
      union: bulkhead.call(((id: string) => id) as Find, "1"),
      // @ts-expect-error: the argument's type is wrong
      wrong: bulkhead.call(query, 1),
    });
    expectTypeOf<ReturnType<typeof calls>["async"]>().toEqualTypeOf<Promise<string[]>>();
    expectTypeOf<ReturnType<typeof calls>["sync"]>().toEqualTypeOf<Promise<number>>();
    expectTypeOf<ReturnType<typeof calls>["generic"]>().toEqualTypeOf<Promise<"x">>();
    expectTypeOf<ReturnType<typeof calls>["union"]>().toEqualTypeOf<Promise<string>>();
  });
});
