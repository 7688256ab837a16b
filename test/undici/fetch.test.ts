import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Bulkhead, BulkheadManager } from "../../src/index.js";
import { type GuardInterceptorOptions, guardDispatcher } from "../../src/undici/index.js";
import { FETCHES_OVER_AGENTS, RUNS_UNDICI_8, UNDICIS } from "./clients.js";
import { ledger } from "./fakes.js";
import { deadOrigin, serve } from "./server.js";

it(`runs against ${UNDICIS.length} versions of undici: 8 needs Node.js 22.19`, () => {
  expect(UNDICIS.map(([name]) => name)).toEqual(
    RUNS_UNDICI_8 ? ["undici-6", "undici-7", "undici-8"] : ["undici-6", "undici-7"],
  );
});

describe.each(FETCHES_OVER_AGENTS)("$name", ({ fetch, makeAgent }) => {
  function guarded(options: GuardInterceptorOptions = {}) {
    const manager = new BulkheadManager();
    const agent = makeAgent();
    const dispatcher = guardDispatcher({
      manager,
      ...(agent && { dispatcher: agent }),
      ...options,
    });
    onTestFinished(async () => {
      await manager.shutdown();
      await agent?.destroy();
    });
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

  it("has no more responses open than the limit, however many are asked for", async () => {
    const { url, counts } = await serve(async (_request, response) => {
      response.write("head ");
      await sleep(5);
      response.end("tail");
    });
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 2 } });
    const texts = await Promise.all(
      Array.from({ length: 10 }, async () => (await fetch(url, { dispatcher })).text()),
    );
    expect(texts).toEqual(Array(10).fill("head tail"));
    expect(counts.most).toBe(2);
    expect(ledger(of(url))).toEqual({ total: 10, successful: 10 });
  });

  it("keeps the meaning of fetch for status errors, which open the circuit", async () => {
    const { url, counts } = await serve((_request, response) =>
      response.writeHead(503).end("sorry"),
    );
    const { dispatcher, of } = guarded({ defaults: { failureThreshold: 3 } });
    for (let i = 0; i < 3; i++) {
      const response = await fetch(url, { dispatcher });
      expect(response.status).toBe(503);
      if (i === 0) expect(await response.text()).toBe("sorry");
      else await response.body?.cancel();
    }
    const refused = fetch(url, { dispatcher });
    await expect(refused).rejects.toThrow(TypeError);
    await expect(refused).rejects.toMatchObject({
      cause: { code: "ERR_BULKHEAD_CIRCUIT_OPEN", cause: { statusCode: 503 } },
    });
    expect(counts.requests).toBe(3);
    expect(ledger(of(url))).toMatchObject({ total: 3, failed: 3, rejected: 1 });
  });

  it("takes bodies that are cut short for failures", async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { "content-length": "100" }).write("part");
      setImmediate(() => response.destroy());
    });
    const { dispatcher, of } = guarded({ defaults: { failureThreshold: 3 } });
    for (let i = 0; i < 3; i++) {
      await expect(
        fetch(url, { dispatcher }).then((response) => response.text()),
      ).rejects.toThrow();
    }
    expect(of(url).getStats().circuitStatus).toBe("OPEN");
  });

  it("takes refused connections for failures, although fetch aborts from inside its error", async () => {
    const url = await deadOrigin();
    const { dispatcher, of } = guarded({ defaults: { failureThreshold: 5 } });
    for (let i = 0; i < 5; i++) {
      await expect(fetch(url, { dispatcher })).rejects.toMatchObject({
        cause: { code: "ECONNREFUSED" },
      });
    }
    expect(of(url).getStats()).toMatchObject({
      failedExecutions: 5,
      ignoredExecutions: 0,
      circuitStatus: "OPEN",
    });
  });

  it.each([
    ["cancelled", (response: { body: ReadableStream | null }) => response.body?.cancel()],
    [
      "cancelled by its reader",
      async (response: { body: ReadableStream | null }) => {
        const reader = response.body?.getReader();
        await reader?.read();
        await reader?.cancel(new Error("enough"));
      },
    ],
  ])("is neutral about a body that is %s", async (_name, act) => {
    const { url } = await serve((_request, response) => response.write("for ever"));
    const { dispatcher, of } = guarded({
      defaults: { maxConcurrentCalls: 1, failureThreshold: 1 },
    });
    for (let i = 0; i < 3; i++) await act(await fetch(url, { dispatcher }));
    expect(ledger(of(url))).toEqual({ total: 3, failed: 3, aborted: 3 });
    expect(of(url).isHealthy()).toBe(true);
  });

  it("is neutral about an abort while a request runs, and counts a deadline as a timeout", async () => {
    const { url } = await serve(() => {});
    const { dispatcher, of } = guarded({
      defaults: { maxConcurrentCalls: 1, failureThreshold: 1 },
    });
    const controller = new AbortController();
    const aborted = fetch(url, { dispatcher, signal: controller.signal });
    await sleep(20);
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
    expect(ledger(of(url))).toEqual({ total: 1, failed: 1, aborted: 1 });
    expect(of(url).isHealthy()).toBe(true);
    const late = fetch(url, { dispatcher, signal: AbortSignal.timeout(20) });
    await expect(late).rejects.toMatchObject({ name: "TimeoutError" });
    expect(of(url).getStats().circuitStatus).toBe("OPEN");
  });

  it("leaves the queue in the tick of an abort", async () => {
    const { url } = await serve((_request, response) => response.write("for ever"));
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1 } });
    const open = await fetch(url, { dispatcher });
    const controller = new AbortController();
    const waiting = fetch(url, { dispatcher, signal: controller.signal });
    await sleep(10);
    expect(of(url).getStats().queuedTasks).toBe(1);
    controller.abort();
    expect(of(url).getStats().queuedTasks).toBe(0);
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
    await open.body?.cancel();
    expect(ledger(of(url))).toMatchObject({ total: 1, rejected: 1 });
  });

  it("times out while it waits for headers, with the error as the cause", async () => {
    const { url } = await serve(() => {});
    const { dispatcher, of } = guarded({ defaults: { timeoutSeconds: 0.03, failureThreshold: 1 } });
    await expect(fetch(url, { dispatcher })).rejects.toMatchObject({
      cause: { code: "ERR_BULKHEAD_TIMEOUT", phase: "running" },
    });
    expect(ledger(of(url))).toEqual({ total: 1, failed: 1, timedOut: 1 });
  });

  it("ends a body that stalls with a BulkheadTimeoutError", async () => {
    const { url } = await serve((_request, response) => response.write("a"));
    const { dispatcher, of } = guarded({
      bodyIdleSeconds: 0.03,
      defaults: { failureThreshold: 1 },
    });
    const response = await fetch(url, { dispatcher });
    const error: unknown = await response.text().catch((thrown: unknown) => thrown);
    const stalled = (error as Error).cause ?? error;
    expect(stalled).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT" });
    expect(ledger(of(url))).toEqual({ total: 1, failed: 1 });
  });

  it("follows redirects at a limit of 1, with small bodies and with large ones", async () => {
    const { url } = await serve((request, response) => {
      const [, kind, left] = request.url?.split("/") ?? [];
      if (kind === "end") response.end("there");
      else {
        const location = left === "1" ? "/end" : `/${kind}/${Number(left) - 1}`;
        response.writeHead(302, { location }).end("x".repeat(kind === "large" ? 3 * 2 ** 20 : 10));
      }
    });
    const { dispatcher, of } = guarded({
      defaults: { maxConcurrentCalls: 1, failureThreshold: 1 },
    });
    for (const kind of ["small", "large"]) {
      const response = await fetch(`${url}/${kind}/3`, { dispatcher });
      expect([response.url, response.redirected]).toEqual([`${url}/end`, true]);
      expect(await response.text()).toBe("there");
    }
    expect(of(url).getStats()).toMatchObject({
      totalExecutions: 8,
      activeTasks: 0,
      circuitStatus: "CLOSED",
    });
  });

  it("redirects from origin to origin, each with its own permit", async () => {
    const there = await serve((_request, response) => response.end("there"));
    const here = await serve((_request, response) =>
      response.writeHead(307, { location: there.url }).end("moved"),
    );
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1, maxQueueSize: 0 } });
    const body = "sent twice";
    const response = await fetch(here.url, { dispatcher, method: "POST", body });
    expect(await response.text()).toBe("there");
    for (const url of [here.url, there.url]) expect(of(url).getStats().totalExecutions).toBe(1);
  });

  it("has no body to hold a permit for after 204 and HEAD", async () => {
    const { url } = await serve((_request, response) => response.writeHead(204).end());
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1 } });
    for (const method of ["GET", "HEAD", "DELETE"]) {
      expect((await fetch(url, { dispatcher, method })).status).toBe(204);
    }
    expect(ledger(of(url))).toEqual({ total: 3, successful: 3 });
  });

  it("sends streams, and is neutral about one that fails", async () => {
    const { url } = await serve((request, response) => {
      request.on("error", () => {});
      request.pipe(response);
    });
    const { dispatcher, of } = guarded({
      defaults: { maxConcurrentCalls: 1, failureThreshold: 1 },
    });
    const post = (body: ReadableStream) =>
      fetch(url, { dispatcher, method: "POST", body, duplex: "half" });
    const good = ReadableStream.from([new TextEncoder().encode("echo")]);
    expect(await (await post(good)).text()).toBe("echo");
    const bad = new ReadableStream({
      pull(controller) {
        controller.error(new Error("disk"));
      },
    });
    await expect(post(bad)).rejects.toThrow(TypeError);
    expect(of(url).getStats()).toMatchObject({
      successfulExecutions: 1,
      failedExecutions: 1,
      activeTasks: 0,
      circuitStatus: "CLOSED",
    });
  });

  it("reads a large body slowly without losing a byte", async () => {
    const size = 2 ** 20;
    const { url } = await serve((_request, response) => response.end("x".repeat(size)));
    const { dispatcher, of } = guarded({ defaults: { maxConcurrentCalls: 1 } });
    const response = await fetch(url, { dispatcher });
    let read = 0;
    for await (const chunk of response.body ?? []) {
      read += chunk.length;
      if (read < size / 4) await sleep(1);
    }
    expect(read).toBe(size);
    expect(ledger(of(url))).toEqual({ total: 1, successful: 1 });
  });
});
