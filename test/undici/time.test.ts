import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BulkheadTimeoutError } from "../../src/index.js";
import type { FakeCaller } from "./fake-base.js";
import { fakeGuard, ledger, PAIRS } from "./fakes.js";

const words = (caller: FakeCaller) => caller.told.map(([word]) => word);
const lastError = (caller: FakeCaller) => {
  const told = caller.told.at(-1);
  return told?.[0] === "error" ? told[1] : undefined;
};
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe.each(PAIRS)("a %s caller over a %s base", (caller, base) => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  describe("timeoutSeconds", () => {
    const limited = { defaults: { maxConcurrentCalls: 1, timeoutSeconds: 1, failureThreshold: 1 } };

    it("covers the wait for a permit, which is no failure", async () => {
      const guard = fakeGuard(base, limited);
      await guard.dispatch(caller);
      guard.base.at(0).start();
      guard.base.at(0).headers(200);
      const waiting = await guard.dispatch(caller);
      await pass(1000);
      expect(lastError(waiting)).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "waiting" });
      expect(guard.bulkhead.isHealthy()).toBe(true);
    });

    it("covers connecting: its caller is told, the permit comes back, and a late start is aborted", async () => {
      const guard = fakeGuard(base, limited);
      const client = await guard.dispatch(caller);
      await pass(1000);
      expect(lastError(client)).toBeInstanceOf(BulkheadTimeoutError);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, timedOut: 1 });
      expect(guard.bulkhead.getStats().circuitStatus).toBe("OPEN");
      guard.base.at(0).start();
      expect(guard.base.at(0).abortedWith).toHaveLength(1);
      expect(words(client)).toEqual(["start", "error"]);
    });

    it("covers the wait for the final headers, and aborts the request", async () => {
      const guard = fakeGuard(base, limited);
      const client = await guard.dispatch(caller);
      guard.base.at(0).start();
      guard.base.at(0).headers(103);
      await pass(1000);
      expect(guard.base.at(0).abortedWith).toEqual([lastError(client)]);
      expect(lastError(client)).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "running" });
      expect(words(client)).toEqual(["start", "headers", "error"]);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, timedOut: 1 });
    });

    it("ends with the final headers", async () => {
      const guard = fakeGuard(base, limited);
      await guard.dispatch(caller);
      const request = guard.base.at(0);
      request.start();
      await pass(999);
      request.headers(200);
      await pass(5000);
      request.data("a");
      request.end();
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
    });
  });

  describe("bodyIdleSeconds", () => {
    const idle = {
      bodyIdleSeconds: 2,
      defaults: { maxConcurrentCalls: 1, timeoutSeconds: 1, failureThreshold: 1 },
    };

    async function begin(
      options: object = idle,
      headers: Record<string, string> = {},
      statusCode = 200,
    ) {
      const guard = fakeGuard(base, options);
      const client = await guard.dispatch(caller);
      const request = guard.base.at(0);
      request.start();
      request.headers(statusCode, headers);
      await pass(0);
      return { guard, client, request };
    }

    it("aborts a body for which the server sends nothing: a failure", async () => {
      const { guard, client, request } = await begin();
      await pass(1990);
      expect(ledger(guard.bulkhead)).toEqual({ active: 1, total: 1 });
      await pass(20);
      expect(request.abortedWith).toEqual([lastError(client)]);
      expect(lastError(client)).toBeInstanceOf(BulkheadTimeoutError);
      expect(lastError(client)).toMatchObject({
        message:
          'The body of a response of bulkhead "https://api.example.com" stalled for 2.000 s: the server sent nothing',
        bulkheadName: "https://api.example.com",
        phase: "running",
      });
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
      expect(guard.bulkhead.getStats().circuitStatus).toBe("OPEN");
    });

    it("is told in one line, whatever the key", async () => {
      const { client } = await begin({ ...idle, key: () => "a\nb" });
      await pass(2010);
      expect(lastError(client)).toMatchObject({
        message: expect.stringContaining('of bulkhead "a b" stalled'),
      });
    });

    it("starts anew with each chunk", async () => {
      const { guard, request } = await begin();
      for (let i = 0; i < 5; i++) {
        await pass(1500);
        request.data("a");
      }
      await pass(1500);
      expect(request.abortedWith).toHaveLength(0);
      await pass(600);
      expect(request.abortedWith).toHaveLength(1);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
    });

    it("is neutral while the reader has paused, and aborts all the same", async () => {
      const { guard, client, request } = await begin();
      client.isFull = true;
      request.data("a");
      await pass(2010);
      expect(request.abortedWith).toEqual([lastError(client)]);
      expect(lastError(client)).toMatchObject({
        code: "ERR_BULKHEAD_TIMEOUT",
        message: expect.stringContaining("its reader had paused it"),
      });
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, ignored: 1 });
      expect(guard.bulkhead.isHealthy()).toBe(true);
    });

    it("starts anew with each resume, and then waits for the server", async () => {
      const { guard, client, request } = await begin();
      client.isFull = true;
      request.data("a");
      await pass(1500);
      client.isFull = false;
      client.resume();
      await pass(1500);
      expect(request.abortedWith).toHaveLength(0);
      await pass(600);
      expect(guard.bulkhead.getStats().circuitStatus).toBe("OPEN");
    });

    it("tells its caller although the base does not answer the abort", async () => {
      const { guard, client, request } = await begin();
      request.onAbort = () => {};
      await pass(2010);
      expect(words(client)).toEqual(["start", "headers", "error"]);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
    });

    it("changes no verdict of a bad status", async () => {
      const { guard, client, request } = await begin(idle, {}, 500);
      client.isFull = true;
      request.data("a");
      await pass(2010);
      expect(request.abortedWith).toHaveLength(1);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
    });

    it("ends with the body", async () => {
      const { guard, request } = await begin();
      request.end();
      await pass(5000);
      expect(request.abortedWith).toHaveLength(0);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
      expect(vi.getTimerCount()).toBe(0);
    });

    it("waits for ever when it is null, and when the permit is back with the headers", async () => {
      for (const options of [{ bodyIdleSeconds: null }, { releaseAt: "headers" }]) {
        const { request } = await begin({ ...idle, ...options });
        await pass(100_000);
        expect(request.abortedWith).toHaveLength(0);
      }
    });

    it("is 60 s by default", async () => {
      const { request } = await begin({});
      await pass(59_900);
      expect(request.abortedWith).toHaveLength(0);
      await pass(200);
      expect(request.abortedWith).toHaveLength(1);
    });

    it("returns the permit of a redirect that stalls, and spares who follows it the error", async () => {
      const { guard, client, request } = await begin(idle, { location: "/new" }, 302);
      client.isFull = true;
      request.data("a");
      await pass(2010);
      expect(request.abortedWith).toHaveLength(1);
      expect(words(client)).toEqual(["start", "headers", "data"]);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
      client.abort();
      expect(words(client)).toEqual(["start", "headers", "data", "error"]);
    });
  });

  it("cuts the requests of a manager whose drain has ended", async () => {
    const guard = fakeGuard(base, { defaults: { maxConcurrentCalls: 1 } });
    const [connecting, waiting] = [await guard.dispatch(caller), await guard.dispatch(caller)];
    await guard.manager.shutdown({ drainSeconds: 0 });
    await pass(0);
    for (const client of [connecting, waiting]) {
      expect(lastError(client)).toMatchObject({ code: "ERR_BULKHEAD_SHUTDOWN" });
    }
    expect(guard.bulkhead.getStats().activeTasks).toBe(0);
  });
});
