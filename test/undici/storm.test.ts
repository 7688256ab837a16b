import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { BulkheadManager } from "../../src/index.js";
import { guardDispatcher } from "../../src/undici/index.js";
import { runs, SEED } from "../fuzz.js";
import { type Dispatcher, FETCHES_OVER_AGENTS, type Fetch, UNDICIS } from "./clients.js";
import { serve } from "./server.js";

/** What the server does with a request. */
const KINDS = [
  "ok",
  "large",
  "slow head",
  "slow body",
  "cut",
  "reset",
  "204",
  "404",
  "500",
  "redirect",
  "large redirect",
  "trailers",
] as const;
/** What the client does with a response, or before there is one. */
const ACTS = [
  "read",
  "read slowly",
  "cancel",
  "leave half",
  "abort soon",
  "abort later",
  "HEAD",
] as const;

interface Request {
  readonly kind: (typeof KINDS)[number];
  readonly act: (typeof ACTS)[number];
  /** Milliseconds before it is sent. */
  readonly delay: number;
}

const requests = fc.array(
  fc.record({
    kind: fc.oneof(
      fc.constantFrom(...KINDS),
      fc.constantFrom("slow head" as const, "slow body" as const),
    ),
    act: fc.oneof(
      { weight: 5, arbitrary: fc.constant("read" as const) },
      { weight: 5, arbitrary: fc.constantFrom(...ACTS) },
    ),
    delay: fc.nat(8),
  }),
  { minLength: 15, maxLength: 40, size: "max" },
);

const LARGE = "x".repeat(300_000);

/** A server that counts the responses that are open, except of those whose client may leave: it learns of that late. */
async function oracle() {
  const counts = { open: 0, most: 0 };
  const server = await serve(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (searchParams.has("stays")) {
      counts.open++;
      counts.most = Math.max(counts.most, counts.open);
      // As the client holds them: from its end of a response on, the next may begin.
      const close = () => {
        if (searchParams.has("stays")) counts.open--;
        searchParams.delete("stays");
      };
      response.once("close", close);
      response.once("finish", close);
    }
    const kind = decodeURIComponent(pathname.slice(1));
    if (kind === "large") response.end(LARGE);
    else if (kind === "slow head") {
      await sleep(4);
      response.end("late");
    } else if (kind === "slow body") {
      response.write("a");
      await sleep(4);
      response.end("b");
    } else if (kind === "cut") {
      response.writeHead(200, { "content-length": "100" });
      response.write("part");
      await sleep(1);
      response.destroy();
    } else if (kind === "reset") request.socket.destroy();
    else if (kind === "204") response.writeHead(204).end();
    else if (kind === "404") response.writeHead(404).end("none");
    else if (kind === "500") response.writeHead(500).end("down");
    else if (kind === "redirect") response.writeHead(302, { location: "/ok" }).end("moved");
    else if (kind === "large redirect") response.writeHead(307, { location: "/ok" }).end(LARGE);
    else if (kind === "trailers") {
      response.writeHead(200, { trailer: "checksum" });
      response.write("a");
      response.addTrailers({ checksum: "x" });
      response.end();
    } else response.end("ok");
  });
  return { url: server.url, counts };
}

async function send(
  fetch: Fetch,
  dispatcher: Dispatcher,
  url: string,
  { kind, act, delay }: Request,
) {
  await sleep(delay);
  const controller = new AbortController();
  const leaves = act === "cancel" || act === "leave half" || act.startsWith("abort");
  const cuts = kind === "cut" || kind === "reset" || kind.includes("redirect");
  const target = `${url}/${encodeURIComponent(kind)}${leaves || cuts ? "" : "?stays"}`;
  if (act === "abort soon") setTimeout(() => controller.abort(), 1);
  if (act === "abort later") setTimeout(() => controller.abort(), 6);
  const method = act === "HEAD" ? "HEAD" : "GET";
  const response = await fetch(target, { dispatcher, method, signal: controller.signal });
  if (act === "cancel") await response.body?.cancel();
  else if (act === "leave half") {
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
  } else if (act === "read slowly") {
    for await (const chunk of response.body ?? []) {
      void chunk;
      await sleep(1);
    }
  } else await response.text();
}

describe.each(FETCHES_OVER_AGENTS)("$name", ({ fetch, makeAgent }) => {
  it("never has more open than the limit, and leaves no permit and no gap in the ledger", async () => {
    const { url, counts } = await oracle();
    const agent = makeAgent() ?? new (UNDICIS[0]?.[1].Agent ?? raise("undici"))();
    onTestFinished(() => agent.destroy());
    let reached = 0;
    const limits = fc.integer({ min: 1, max: 3 });
    const thresholds = fc.constantFrom(4, 1000);
    await fc.assert(
      fc.asyncProperty(requests, limits, thresholds, async (storm, limit, failureThreshold) => {
        counts.most = 0;
        counts.open = 0;
        const manager = new BulkheadManager();
        const dispatcher: Dispatcher = guardDispatcher({
          manager,
          dispatcher: agent,
          defaults: { maxConcurrentCalls: limit, failureThreshold, isolationDuration: 0.01 },
        });
        await Promise.allSettled(storm.map((request) => send(fetch, dispatcher, url, request)));
        const bulkhead = manager.getBulkhead(url);
        // A body that was left, or a redirect that was followed, may still be on its way.
        await vi.waitFor(() => {
          const { activeTasks, queuedTasks, abandonedTasks } = bulkhead?.getStats() ?? {};
          expect([activeTasks, queuedTasks, abandonedTasks]).toEqual([0, 0, 0]);
        });
        const stats = bulkhead?.getStats();
        if (stats === undefined) throw new Error("There is no bulkhead");
        expect(counts.most).toBeLessThanOrEqual(limit);
        if (counts.most === limit) reached++;
        expect(stats.totalExecutions).toBe(stats.successfulExecutions + stats.failedExecutions);
        const reasons = Object.values(stats.rejections).reduce((sum, count) => sum + count, 0);
        expect(stats.rejectedExecutions).toBe(reasons);
        expect(stats.totalExecutions + stats.rejectedExecutions).toBeGreaterThanOrEqual(
          storm.length,
        );
        await manager.shutdown();
      }),
      { seed: SEED, numRuns: runs(8) },
    );
    // Otherwise the count above would say nothing.
    expect(reached).toBeGreaterThan(0);
  });
});

function raise(what: string): never {
  throw new Error(`There is no ${what}`);
}
