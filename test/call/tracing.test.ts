import { AsyncLocalStorage, createHook } from "node:async_hooks";
import { tracingChannel } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import { Bulkhead, type CallTrace } from "../../src/index.js";
import { gate, started } from "../helpers/gate.js";

const channel = tracingChannel<unknown, CallTrace>("bulkman:call");
let told: Array<[string, CallTrace]> = [];

const subscribers = Object.fromEntries(
  (["start", "end", "asyncStart", "asyncEnd", "error"] as const).map((event) => [
    event,
    (trace: CallTrace) => told.push([event, { ...trace }]),
  ]),
) as unknown as Parameters<typeof channel.subscribe>[0];

function subscribed() {
  told = [];
  channel.subscribe(subscribers);
  return new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 1, failureThreshold: 1 });
}

const events = () => told.map(([event]) => event);

afterEach(() => {
  channel.unsubscribe(subscribers);
});

describe("the tracing channel bulkman:call", () => {
  it("reports a call() with its value, or with the very error and its times", async () => {
    const bulkhead = subscribed();
    expect(await bulkhead.call(() => 7)).toBe(7);
    const times = { queuedTime: 0, executionTime: expect.any(Number) };
    expect(told.at(-1)).toEqual(["asyncEnd", expect.objectContaining({ result: 7, ...times })]);
    const error = new Error("down");
    await expect(bulkhead.call(() => Promise.reject(error))).rejects.toBe(error);
    expect(told.at(-1)).toEqual(["asyncEnd", expect.objectContaining({ error, ...times })]);
    await expect(bulkhead.call(() => 1)).rejects.toThrow("open");
    expect(Object.keys(told.at(-1)?.[1] ?? {})).toEqual(["bulkheadName", "executionId", "error"]);
  });

  it("follows a permit from its admission until it is settled, and one that is cut until then", async () => {
    const bulkhead = subscribed();
    const permit = await bulkhead.acquire();
    const { executionId } = permit;
    await started();
    expect(events()).toEqual(["start", "end"]);
    permit.succeed(7);
    await started();
    expect(events()).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    expect(told[3]?.[1]).toMatchObject({ executionId, result: 7, queuedTime: 0 });
    const caller = new AbortController();
    const cut = await bulkhead.acquire({ signal: caller.signal });
    caller.abort("left");
    await started();
    expect(told.at(-1)).toEqual(["asyncEnd", expect.objectContaining({ error: "left" })]);
    const published = told.length;
    cut.succeed();
    await started();
    expect(told).toHaveLength(published);
    bulkhead.isolate();
    await expect(bulkhead.acquire()).rejects.toThrow("isolated");
    await started();
    expect(told.at(-1)).toEqual([
      "asyncEnd",
      expect.objectContaining({
        error: expect.objectContaining({ code: "ERR_BULKHEAD_ISOLATION" }),
      }),
    ]);
  });

  it("follows a call from its admission to the answer of its caller", async () => {
    const bulkhead = subscribed();
    const work = gate<string>();
    const running = bulkhead.execute(() => work.promise);
    expect(events()).toEqual(["start", "end"]);
    work.open("done");
    const outcome = await running;
    expect(events()).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    const { executionId, executionTime, queuedTime } = outcome;
    const begun = { bulkheadName: "api", executionId };
    expect(told[0]?.[1]).toEqual(begun);
    expect(told[3]?.[1]).toEqual({ ...begun, executionTime, queuedTime, result: "done" });
  });

  it("publishes a failure, and a rejection, with the error that the caller gets", async () => {
    const bulkhead = subscribed();
    const { error } = await bulkhead.execute(() => Promise.reject(new Error("down")));
    expect(events()).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect(told[2]?.[1].error).toBe(error);
    told = [];
    const rejection = await bulkhead.execute(() => 1).catch((reason: unknown) => reason);
    expect(events()).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect(told[2]?.[1].error).toBe(rejection);
    told = [];
    const reason = new Error("gone");
    const signal = AbortSignal.abort(reason);
    await expect(bulkhead.run(() => 1, { signal })).rejects.toBe(reason);
    expect(told[2]?.[1].error).toBe(reason);
  });

  it("is the context of the function, also of one that waited", async () => {
    const bulkhead = subscribed();
    const span = new AsyncLocalStorage<string>();
    channel.start.bindStore(span, ({ executionId }) => executionId);
    const busy = gate();
    const first = bulkhead.execute(async () => {
      await busy.promise;
      return span.getStore();
    });
    const second = bulkhead.execute(() => span.getStore());
    busy.open();
    for (const outcome of await Promise.all([first, second])) {
      expect(outcome.result).toBe(outcome.executionId);
    }
    expect(span.getStore()).toBeUndefined();
    channel.start.unbindStore(span);
  });

  it.each<[string, (bulkhead: Bulkhead, work: () => unknown) => Promise<unknown>]>([
    ["call", (bulkhead, work) => bulkhead.call(work)],
    ["execute", (bulkhead, work) => bulkhead.execute(work)],
    ["run", (bulkhead, work) => bulkhead.run(work)],
  ])(
    "costs nothing for %s() without subscribers: no promise more than before the first subscribed",
    async (_, call) => {
      const bulkhead = new Bulkhead({ name: "api" });
      const work = async () => 1;
      const count = async () => {
        await call(bulkhead, work);
        let promises = 0;
        const hook = createHook({
          init: (_, type) => {
            if (type === "PROMISE") promises++;
          },
        }).enable();
        for (let n = 0; n < 100; n++) await call(bulkhead, work);
        hook.disable();
        return promises;
      };
      const before = await count();
      channel.subscribe(subscribers);
      expect(await count()).toBeGreaterThan(before);
      channel.unsubscribe(subscribers);
      expect(await count()).toBe(before);
    },
  );
});
