import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Bulkhead, BulkheadManager } from "../../src/index.js";
import {
  type GuardInterceptorOptions,
  guardDispatcher,
  guardInterceptor,
} from "../../src/undici/index.js";
import { type Dispatcher, UNDICIS } from "./clients.js";
import { ledger } from "./fakes.js";
import { serve } from "./server.js";

describe.each(UNDICIS)("%s", (name, undici) => {
  const { Agent, fetch, interceptors, request, MockAgent, RetryAgent } = undici;

  function guarded(
    options: GuardInterceptorOptions & {
      base?: Dispatcher;
      by?: "dispatcher" | "interceptor";
    } = {},
  ) {
    const { base = new Agent(), by = "dispatcher", ...settings } = options;
    const manager = new BulkheadManager();
    onTestFinished(async () => {
      await manager.shutdown();
      await base.close();
    });
    const dispatcher: Dispatcher =
      by === "dispatcher"
        ? guardDispatcher({ manager, dispatcher: base, ...settings })
        : base.compose(guardInterceptor({ manager, ...settings }));
    return {
      dispatcher,
      manager,
      of: (url: string): Bulkhead => {
        const bulkhead = manager.getBulkhead(url);
        if (bulkhead === undefined) throw new Error(`There is no bulkhead ${url}`);
        return bulkhead;
      },
    };
  }

  describe.each(["dispatcher", "interceptor"] as const)("request through a guard by %s", (by) => {
    it("gets responses with their headers and trailers", async () => {
      const { url } = await serve((_request, response) => {
        response.writeHead(200, {
          trailer: "checksum",
          "x-name": "value",
          "set-cookie": ["a=1", "b=2"],
        });
        response.write("hello");
        response.addTrailers({ checksum: "abc" });
        response.end();
      });
      const { dispatcher, of } = guarded({ by, defaults: { maxConcurrentCalls: 1 } });
      const { statusCode, headers, body, trailers } = await request(url, { dispatcher });
      expect([statusCode, headers["x-name"], headers["set-cookie"]]).toEqual([
        200,
        "value",
        ["a=1", "b=2"],
      ]);
      expect(await body.text()).toBe("hello");
      expect(trailers).toMatchObject({ checksum: "abc" });
      expect(ledger(of(url))).toEqual({ total: 1, successful: 1 });
    });

    it("rejects with a refusal as it is", async () => {
      const { url } = await serve(() => {});
      const { dispatcher, of } = guarded({
        by,
        defaults: { maxConcurrentCalls: 1, maxQueueSize: 0 },
      });
      const first = request(url, { dispatcher }).catch(() => {});
      await sleep(10);
      await expect(request(url, { dispatcher })).rejects.toMatchObject({
        name: "BulkheadFullError",
        code: "ERR_BULKHEAD_FULL",
        bulkheadName: url,
      });
      of(url).isolate("maintenance");
      await expect(request(url, { dispatcher })).rejects.toMatchObject({
        code: "ERR_BULKHEAD_ISOLATION",
      });
      await of(url).shutdown({ drainSeconds: 0 });
      await first;
    });

    it("holds the permit while the body is read, and is neutral about one that is destroyed", async () => {
      const { url, counts } = await serve((_request, response) => response.write("for ever"));
      const { dispatcher, of } = guarded({
        by,
        defaults: { maxConcurrentCalls: 1, failureThreshold: 1 },
      });
      for (let i = 0; i < 3; i++) {
        const { body } = await request(url, { dispatcher });
        expect(of(url).getStats().activeTasks).toBe(1);
        body.on("error", () => {});
        body.destroy();
        await sleep(5);
      }
      expect(counts.requests).toBe(3);
      expect(ledger(of(url))).toEqual({ total: 3, failed: 3, aborted: 3 });
      expect(of(url).isHealthy()).toBe(true);
    });

    it("counts a deadline in the body as a timeout, although the body is destroyed without a reason", async () => {
      const { url } = await serve((_request, response) => response.write("for ever"));
      const { dispatcher, of } = guarded({ by, defaults: { failureThreshold: 1 } });
      // As AbortSignal.timeout() does it, but not before the body has begun.
      const controller = new AbortController();
      const { body } = await request(url, { dispatcher, signal: controller.signal });
      const text = body.text();
      controller.abort(new DOMException("The time is over", "TimeoutError"));
      await expect(text).rejects.toThrow();
      expect(of(url).getStats().circuitStatus).toBe("OPEN");
    });

    it("is neutral about invalid requests", async () => {
      const { url } = await serve((_request, response) => response.end());
      const { dispatcher, of } = guarded({ by, defaults: { failureThreshold: 1 } });
      const invalid = request(url, { dispatcher, headers: { "bad header": "1" } });
      await expect(invalid).rejects.toMatchObject({ code: "UND_ERR_INVALID_ARG" });
      const unsupported = request(url, { dispatcher, headers: { expect: "100-continue" } });
      await expect(unsupported).rejects.toMatchObject({ code: "UND_ERR_NOT_SUPPORTED" });
      expect(ledger(of(url))).toEqual({ total: 2, failed: 2, ignored: 2 });
      expect(of(url).isHealthy()).toBe(true);
    });

    it("is neutral about a body that fails while it is sent", async () => {
      const { url } = await serve((incoming) => incoming.on("error", () => {}).resume());
      const { dispatcher, of } = guarded({ by, defaults: { failureThreshold: 1 } });
      const error = new Error("disk");
      const chunks = async function* () {
        yield "a";
        throw error;
      };
      await expect(request(url, { dispatcher, method: "POST", body: chunks() })).rejects.toBe(
        error,
      );
      expect(ledger(of(url))).toEqual({ total: 1, failed: 1, ignored: 1 });
    });

    it("gives the permit of an upgrade and of a CONNECT back with the socket", async () => {
      const server = createServer();
      server.on("upgrade", (_request, socket) => {
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
        );
        socket.on("error", () => {});
      });
      server.on("connect", (_request, socket) => {
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        socket.on("error", () => {});
      });
      await once(server.listen(0, "127.0.0.1"), "listening");
      onTestFinished(() => void server.close());
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { dispatcher, of } = guarded({ by, defaults: { maxConcurrentCalls: 1 } });
      const upgraded = await undici.upgrade(url, { dispatcher, protocol: "echo" });
      const connected = await undici.connect(url, { dispatcher, path: "example.com:443" });
      expect(connected.statusCode).toBe(200);
      expect(ledger(of(url))).toEqual({ total: 2, successful: 2 });
      upgraded.socket.destroy();
      connected.socket.destroy();
    });

    it("writes into the stream of stream()", async () => {
      const { url } = await serve((_request, response) => response.end("hello"));
      const { dispatcher, of } = guarded({ by });
      const chunks: string[] = [];
      const sink = () =>
        new Writable({
          write(chunk, _encoding, done) {
            chunks.push(String(chunk));
            done();
          },
        });
      await undici.stream(url, { dispatcher, method: "GET" }, sink);
      expect(chunks.join("")).toBe("hello");
      expect(ledger(of(url))).toEqual({ total: 1, successful: 1 });
    });
  });

  it("retries outside the guard, with a permit for each try", async () => {
    let tries = 0;
    const { url } = await serve((_request, response) => {
      if (++tries < 3) response.writeHead(503).end("no");
      else response.end("yes");
    });
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1 } });
    const retrying = new RetryAgent(dispatcher, {
      minTimeout: 1,
      maxTimeout: 2,
      retryAfter: false,
    });
    const { statusCode, body } = await request(url, { dispatcher: retrying });
    expect([statusCode, await body.text()]).toEqual([200, "yes"]);
    expect(ledger(of(url))).toEqual({ total: 3, successful: 1, failed: 2 });
  });

  it("retries outside the guard resume a body that was cut short", async () => {
    let tries = 0;
    const { url } = await serve((incoming, response) => {
      if (++tries === 1) {
        response.writeHead(200, { "content-length": "6", etag: '"a"', "accept-ranges": "bytes" });
        response.write("abc");
        setTimeout(() => response.destroy(), 5);
        return;
      }
      expect(incoming.headers.range).toBe("bytes=3-5");
      response.writeHead(206, {
        "content-range": "bytes 3-5/6",
        "content-length": "3",
        etag: '"a"',
      });
      response.end("def");
    });
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1 } });
    const retrying = new RetryAgent(dispatcher, { minTimeout: 1, maxTimeout: 2 });
    const { body } = await request(url, { dispatcher: retrying });
    expect(await body.text()).toBe("abcdef");
    expect(ledger(of(url))).toEqual({ total: 2, successful: 1, failed: 1 });
  });

  it("hands a refusal to a retry outside, which does not repeat it", async () => {
    const { url, counts } = await serve((_request, response) => response.writeHead(500).end());
    const { dispatcher } = guarded({ defaults: { failureThreshold: 1 } });
    await (await request(url, { dispatcher })).body.dump();
    const retrying = new RetryAgent(dispatcher, { minTimeout: 1, maxTimeout: 2 });
    await expect(request(url, { dispatcher: retrying })).rejects.toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
    });
    expect(counts.requests).toBe(1);
  });

  if ("cache" in interceptors) {
    it("needs no permit for what a cache outside has", async () => {
      const { url, counts } = await serve((_request, response) => {
        response.writeHead(200, { "cache-control": "public, max-age=60" }).end("cached");
      });
      const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1 } });
      const cached = dispatcher.compose(interceptors["cache"]?.());
      for (let i = 0; i < 3; i++) {
        const { body } = await request(url, { dispatcher: cached });
        expect(await body.text()).toBe("cached");
        await sleep(5);
      }
      expect(counts.requests).toBe(1);
      expect(ledger(of(url))).toEqual({ total: 1, successful: 1 });
    });
  }

  it("follows redirects by undici's interceptor, outside and inside", async () => {
    const { url } = await serve((incoming, response) => {
      if (incoming.url === "/new") response.end("there");
      else response.writeHead(302, { location: "/new" }).end("x".repeat(100_000));
    });
    const redirect = () => interceptors["redirect"]?.({ maxRedirections: 3 });
    const outside = guarded({ defaults: { maxConcurrentCalls: 1, maxQueueSize: 0 } });
    const inside = guarded({
      base: new Agent().compose(redirect()),
      defaults: { maxConcurrentCalls: 1 },
    });
    for (const [dispatcher, permits] of [
      [outside.dispatcher.compose(redirect()), 2],
      [inside.dispatcher, 1],
    ] as const) {
      const response = await request(url, { dispatcher });
      expect(await response.body.text()).toBe("there");
      const guard = permits === 2 ? outside : inside;
      expect(ledger(guard.of(url))).toEqual({ total: permits, successful: permits });
    }
  });

  it("works over a mock that completes within dispatch", async () => {
    const base = new MockAgent();
    base.disableNetConnect();
    base.get("https://api.example.com").intercept({ path: "/" }).reply(200, "mocked").times(20);
    const { dispatcher, of } = guarded({ base, defaults: { maxConcurrentCalls: 1 } });
    const url = "https://api.example.com";
    const texts = await Promise.all([
      ...Array.from({ length: 10 }, async () => (await fetch(url, { dispatcher })).text()),
      ...Array.from({ length: 10 }, async () => (await request(url, { dispatcher })).body.text()),
    ]);
    expect(texts).toEqual(Array(20).fill("mocked"));
    expect(ledger(of(url))).toEqual({ total: 20, successful: 20 });
  });

  it("is refused as the base of a guard, also under what compose puts around it", () => {
    const { dispatcher } = guarded();
    expect(() => guardDispatcher({ dispatcher })).toThrow("must not be a guard itself");
    if (name !== "undici-6") {
      const composed = dispatcher.compose((dispatch: unknown) => dispatch);
      expect(() => guardDispatcher({ dispatcher: composed })).toThrow("must not be a guard itself");
    }
  });

  it("is refused when its interceptor is composed twice, at once or with the first request", async () => {
    const interceptor = guardInterceptor();
    const send = async () => {
      const dispatcher = new Agent().compose(interceptor, interceptor);
      await request("https://api.example.com", { dispatcher });
    };
    await expect(send()).rejects.toThrow(/composed with itself|guarded twice/);
  });
});
