import { once } from "node:events";
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { BulkheadManager } from "../../src/index.js";
import { guardDispatcher } from "../../src/undici/index.js";
import { createAuthority } from "../integration/certificates.js";
import { FETCHES, UNDICIS } from "./clients.js";
import { ledger } from "./fakes.js";

const authority = createAuthority("test");

/** An HTTP/2 server that counts the streams that are open. */
async function serveHttp2() {
  const counts = { open: 0, most: 0, versions: new Set<string>() };
  const options = { ...authority.issue({ hosts: ["localhost"] }), allowHTTP1: true };
  const server = createSecureServer(options, async (request, response) => {
    counts.versions.add(request.httpVersion);
    counts.open++;
    counts.most = Math.max(counts.most, counts.open);
    response.once("close", () => counts.open--);
    if (request.url === "/503") response.writeHead(503).end("no");
    else if (request.url === "/redirect") {
      response.writeHead(302, { location: "/ok" }).end("x".repeat(3 * 2 ** 20));
    } else if (request.url === "/ever") response.write("for ever");
    else {
      response.write("head ");
      await sleep(5);
      response.end("tail");
    }
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session) => sessions.add(session));
  server.on("sessionError", () => {});
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, counts };
}

describe.each(
  FETCHES.flatMap(([name, fetch]) =>
    UNDICIS.map(([version, { Agent }]) => ({ name: `${name} over ${version}`, fetch, Agent })),
  ),
)("$name with HTTP/2", ({ name, fetch, Agent }) => {
  it("holds permits until streams have ended, and judges them", async () => {
    const { url, counts } = await serveHttp2();
    const base = new Agent({ allowH2: true, connect: { ca: authority.cert } });
    const manager = new BulkheadManager();
    const dispatcher = guardDispatcher({
      manager,
      dispatcher: base,
      defaults: { maxConcurrentCalls: 2, failureThreshold: 2 },
    });
    onTestFinished(() => base.destroy());
    const texts = await Promise.all(
      Array.from({ length: 6 }, async () => (await fetch(url, { dispatcher })).text()),
    );
    expect(texts).toEqual(Array(6).fill("head tail"));
    expect([...counts.versions]).toEqual(["2.0"]);
    expect(counts.most).toBeLessThanOrEqual(2);
    const bulkhead = manager.getBulkhead(url);
    if (bulkhead === undefined) throw new Error("There is no bulkhead");
    expect(ledger(bulkhead)).toEqual({ total: 6, successful: 6 });

    const redirected = await fetch(`${url}/redirect`, { dispatcher });
    expect(await redirected.text()).toBe("head tail");
    await (await fetch(`${url}/ever`, { dispatcher })).body?.cancel();
    // The redirect that was followed is read to its end, or aborted, beside it.
    await vi.waitFor(() => expect(bulkhead.getStats().activeTasks).toBe(0));
    expect(bulkhead.isHealthy()).toBe(true);

    for (let i = 0; i < 2; i++) {
      const response = await fetch(`${url}/503`, { dispatcher });
      expect([response.status, await response.text()]).toEqual([503, "no"]);
    }
    await expect(fetch(url, { dispatcher })).rejects.toMatchObject({
      cause: { code: "ERR_BULKHEAD_CIRCUIT_OPEN" },
    });
    expect([name, bulkhead.getStats().activeTasks]).toEqual([name, 0]);
  });
});
