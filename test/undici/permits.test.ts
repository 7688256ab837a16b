import { describe, expect, it } from "vitest";
import { FakeCaller } from "./fake-base.js";
import { fakeGuard, ledger, PAIRS, turn } from "./fakes.js";

const ONE = { defaults: { maxConcurrentCalls: 1 } };
const words = (caller: FakeCaller) => caller.told.map(([word]) => word);

describe.each(PAIRS)("a %s caller over a %s base", (caller, base) => {
  it("passes a response on as it came", async () => {
    const guard = fakeGuard(base);
    const client = await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.headers(200, { "content-type": "text/plain", "set-cookie": "a=1" });
    request.data("hel");
    request.data("lo");
    request.end({ checksum: "x" });
    expect(client.told).toEqual([
      ["start"],
      ["headers", 200, { "content-type": "text/plain", "set-cookie": "a=1" }],
      ["data", "hel"],
      ["data", "lo"],
      ["end", { checksum: "x" }],
    ]);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
  });

  it("starts its caller before there is a permit", async () => {
    const guard = fakeGuard(base, ONE);
    await guard.dispatch(caller);
    const waiting = await guard.dispatch(caller);
    expect(words(waiting)).toEqual(["start"]);
    expect(guard.base.requests).toHaveLength(1);
    expect(ledger(guard.bulkhead)).toEqual({ active: 1, queued: 1, total: 1 });
  });

  it("holds the permit until the body has ended", async () => {
    const guard = fakeGuard(base, ONE);
    await guard.dispatch(caller);
    await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.headers(200);
    request.data("hello");
    await turn();
    expect(guard.base.requests).toHaveLength(1);
    request.end();
    await turn();
    expect(guard.base.requests).toHaveLength(2);
  });

  it("returns the permit with an error", async () => {
    const guard = fakeGuard(base, ONE);
    const client = await guard.dispatch(caller);
    await guard.dispatch(caller);
    const error = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
    guard.base.at(0).error(error);
    await turn();
    expect(guard.base.requests).toHaveLength(2);
    expect(client.told).toEqual([["start"], ["error", error]]);
  });

  it("returns the permit with the headers when releaseAt is headers", async () => {
    const guard = fakeGuard(base, { ...ONE, releaseAt: "headers" });
    const client = await guard.dispatch(caller);
    await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.headers(200);
    await turn();
    expect(guard.base.requests).toHaveLength(2);
    request.error(new Error("cut short"));
    expect(words(client)).toEqual(["start", "headers", "error"]);
    expect(ledger(guard.bulkhead)).toEqual({ active: 1, total: 2, successful: 1 });
  });

  it("returns the permit with an informational response only when the final one has ended", async () => {
    const guard = fakeGuard(base, ONE);
    const client = await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    client.isFull = true;
    request.headers(103, { link: "</style.css>" });
    client.isFull = false;
    request.headers(200);
    expect(ledger(guard.bulkhead)).toEqual({ active: 1, total: 1 });
    request.end();
    expect(words(client)).toEqual(["start", "headers", "headers", "end"]);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
  });

  it.each([101, 200])("returns the permit with an upgrade of status %i", async (statusCode) => {
    const guard = fakeGuard(base, ONE);
    const client = await guard.dispatch(caller, { upgrade: "websocket" });
    const request = guard.base.at(0);
    request.start();
    request.upgrade(statusCode, {});
    expect(words(client)).toEqual(["start", "upgrade"]);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
  });

  it("pauses and resumes the base for its caller", async () => {
    const guard = fakeGuard(base);
    const client = await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.headers(200);
    client.isFull = true;
    request.data("a");
    expect(request.isPaused).toBe(true);
    client.isFull = false;
    client.resume();
    expect(request.isPaused).toBe(false);
    request.data("b");
    expect(request.isPaused).toBe(false);
    request.end();
    expect(words(client)).toEqual(["start", "headers", "data", "data", "end"]);
  });

  it("serves the queue from a microtask when a base completes within dispatch", async () => {
    const guard = fakeGuard(base, ONE);
    let depth = 0;
    let deepest = 0;
    guard.base.onDispatch = (request) => {
      deepest = Math.max(deepest, ++depth);
      request.start();
      request.headers(200);
      request.end();
      depth--;
    };
    const clients = await Promise.all(Array.from({ length: 50 }, () => guard.dispatch(caller)));
    await turn();
    expect(clients.map(words)).toEqual(Array(50).fill(["start", "headers", "end"]));
    expect(deepest).toBe(1);
    expect(ledger(guard.bulkhead)).toEqual({ total: 50, successful: 50 });
  });

  it("starts its caller once when the base starts twice, and aborts the request that is under way", async () => {
    const guard = fakeGuard(base);
    const client = await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.start();
    expect(words(client)).toEqual(["start"]);
    client.abort(new Error("gone"));
    expect(request.abortedWith).toHaveLength(1);
  });

  it("copies what a redirect in the base adds to the context of its caller", async () => {
    const guard = fakeGuard(base);
    const client = await guard.dispatch(caller);
    const history = [new URL("https://api.example.com/old")];
    guard.base.at(0).start({ history });
    expect(client.context).toEqual({ history });
  });

  it("swallows an error after a clean end", async () => {
    const guard = fakeGuard(base);
    const client = await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.headers(200);
    request.end();
    request.error(new Error("late"));
    expect(words(client)).toEqual(["start", "headers", "end"]);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
  });

  it("passes on the error that follows when its caller throws at the end", async () => {
    const guard = fakeGuard(base);
    const client = await guard.dispatch(caller);
    const thrown = new Error("content-length mismatch");
    client.on.end = () => {
      throw thrown;
    };
    const request = guard.base.at(0);
    request.start();
    request.headers(200);
    expect(() => request.end()).toThrow(thrown);
    request.error(thrown);
    request.error(thrown);
    expect(client.told.at(-1)).toEqual(["error", thrown]);
    expect(words(client)).toEqual(["start", "headers", "end", "error"]);
  });

  it("asks for no permit when its caller throws at the start", async () => {
    const guard = fakeGuard(base);
    const client = new FakeCaller(caller);
    const thrown = new Error("no start");
    client.on.start = () => {
      throw thrown;
    };
    guard.dispatcher.dispatch(
      { origin: "https://api.example.com", path: "/", method: "GET" } as never,
      client.handler as never,
    );
    await turn();
    expect(client.told).toEqual([["start"], ["error", thrown]]);
    expect(guard.base.requests).toHaveLength(0);
    expect(ledger(guard.bulkhead)).toEqual({});
  });

  describe("an abort", () => {
    it("leaves the queue in the same tick", async () => {
      const guard = fakeGuard(base, ONE);
      await guard.dispatch(caller);
      const client = await guard.dispatch(caller);
      const reason = new Error("gone");
      client.abort(reason);
      expect(guard.bulkhead.getStats().queuedTasks).toBe(0);
      expect(client.told).toEqual([["start"], ["error", reason]]);
      await turn();
      expect(words(client)).toEqual(["start", "error"]);
      expect(guard.bulkhead.getStats().rejections.aborted).toBe(1);
    });

    it("before a permit is asked for is counted as a rejection", async () => {
      const guard = fakeGuard(base);
      const client = new FakeCaller(caller);
      const reason = new Error("gone");
      client.on.start = () => client.abort(reason);
      guard.dispatcher.dispatch(
        { origin: "https://api.example.com", path: "/", method: "GET" } as never,
        client.handler as never,
      );
      await turn();
      expect(client.told).toEqual([["start"], ["error", reason]]);
      expect(guard.base.requests).toHaveLength(0);
      expect(guard.bulkhead.getStats().rejections.aborted).toBe(1);
    });

    it("while the base connects is told at once, and aborts the request when it starts", async () => {
      const guard = fakeGuard(base, ONE);
      const client = await guard.dispatch(caller);
      await guard.dispatch(caller);
      const reason = new Error("gone");
      client.abort(reason);
      expect(client.told).toEqual([["start"], ["error", reason]]);
      await turn();
      expect(guard.base.requests).toHaveLength(2);
      guard.base.at(0).start();
      expect(guard.base.at(0).abortedWith).toEqual([reason]);
      expect(words(client)).toEqual(["start", "error"]);
      expect(ledger(guard.bulkhead)).toEqual({ active: 1, total: 2, failed: 1, aborted: 1 });
    });

    it("without a reason is an AbortError", async () => {
      const guard = fakeGuard(base);
      const client = await guard.dispatch(caller);
      client.abort();
      expect(client.told).toEqual([
        ["start"],
        ["error", expect.objectContaining({ name: "AbortError" })],
      ]);
    });

    it("of a body aborts the request, and is neutral", async () => {
      const guard = fakeGuard(base, { defaults: { maxConcurrentCalls: 1, failureThreshold: 1 } });
      const client = await guard.dispatch(caller);
      const request = guard.base.at(0);
      request.start();
      request.headers(200);
      request.data("a");
      client.abort(new Error("cancelled"));
      expect(request.abortedWith).toHaveLength(1);
      expect(words(client)).toEqual(["start", "headers", "data", "error"]);
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, aborted: 1 });
      expect(guard.bulkhead.isHealthy()).toBe(true);
    });

    it("returns the permit although the base never answers it", async () => {
      const guard = fakeGuard(base, ONE);
      const client = await guard.dispatch(caller);
      const request = guard.base.at(0);
      request.onAbort = () => {};
      request.start();
      request.headers(200);
      client.abort(new Error("cancelled"));
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, aborted: 1 });
    });
  });

  describe.each([301, 302, 303, 307, 308])("a redirect of status %i", (statusCode) => {
    it("is read on although its reader has paused", async () => {
      const guard = fakeGuard(base, ONE);
      const client = await guard.dispatch(caller);
      const request = guard.base.at(0);
      client.isFull = true;
      request.start();
      request.headers(statusCode, { location: "/new" });
      expect(request.isPaused).toBe(false);
      request.data("moved");
      expect(request.isPaused).toBe(false);
      request.end();
      expect(ledger(guard.bulkhead)).toEqual({ total: 1, successful: 1 });
    });
  });

  it("pauses an answer of a redirect's status without a location", async () => {
    const guard = fakeGuard(base, ONE);
    const client = await guard.dispatch(caller);
    client.isFull = true;
    guard.base.at(0).start();
    guard.base.at(0).headers(302);
    expect(guard.base.at(0).isPaused).toBe(true);
  });

  it("aborts a redirect of which more than 1 MiB is not read, and tells it who reads on", async () => {
    const guard = fakeGuard(base, { defaults: { maxConcurrentCalls: 1, failureThreshold: 1 } });
    const client = await guard.dispatch(caller);
    const request = guard.base.at(0);
    client.isFull = true;
    request.start();
    request.headers(302, { location: "/new" });
    request.data("x".repeat(2 ** 20));
    expect(request.abortedWith).toHaveLength(0);
    request.data("x");
    expect(request.abortedWith).toHaveLength(1);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, ignored: 1 });
    expect(guard.bulkhead.isHealthy()).toBe(true);
    // fetch, which follows it, would take the error for one of the next request.
    expect(words(client)).toEqual(["start", "headers", "data", "data"]);
    client.resume();
    expect(words(client)).toEqual(["start", "headers", "data", "data", "error"]);
  });
});
