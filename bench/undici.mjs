// What a guard costs a request on the loopback interface, as a multiple of a bare Agent. The server is a process of its own,
// and batches take turns, so that both meet the same machine.
//   node bench/undici.mjs [fetch | request] [requests at once] [batches]
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { guardDispatcher } from "bulkman/undici";
import { Agent, fetch, request } from "undici-7";

const REQUESTS = 500;

if (process.send !== undefined) {
  const server = createServer((_request, response) => response.end("hello"));
  server.listen(0, "127.0.0.1", () => process.send(server.address().port));
  process.on("disconnect", () => process.exit());
} else {
  await measure(
    process.argv[2] ?? "request",
    Number(process.argv[3] ?? 1),
    Number(process.argv[4] ?? 60),
  );
}

async function measure(by, concurrency, batches) {
  const child = fork(import.meta.filename);
  const [port] = await once(child, "message");
  const url = `http://127.0.0.1:${port}`;
  const bare = new Agent();
  const guarded = guardDispatcher({
    dispatcher: new Agent(),
    defaults: { maxConcurrentCalls: 100, timeoutSeconds: 10 },
  });
  const send = {
    fetch: async (dispatcher) => (await fetch(url, { dispatcher })).text(),
    request: async (dispatcher) => (await request(url, { dispatcher })).body.text(),
  }[by];
  const batch = async (dispatcher) => {
    const begun = performance.now();
    const lane = async () => {
      for (let i = 0; i < REQUESTS / concurrency; i++) await send(dispatcher);
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    return performance.now() - begun;
  };
  for (let i = 0; i < 4; i++) for (const each of [bare, guarded]) await batch(each);
  const ratios = [];
  const micros = { bare: [], guarded: [] };
  for (let i = 0; i < batches; i++) {
    const first = i % 2 === 0;
    const a = await batch(first ? bare : guarded);
    const b = await batch(first ? guarded : bare);
    const [bareMs, guardedMs] = first ? [a, b] : [b, a];
    ratios.push(guardedMs / bareMs);
    micros.bare.push((bareMs / REQUESTS) * 1000);
    micros.guarded.push((guardedMs / REQUESTS) * 1000);
  }
  const [bareUs, guardedUs] = [median(micros.bare), median(micros.guarded)].map((us) =>
    us.toFixed(1),
  );
  console.log(
    `${by}, ${concurrency} at once: bare ${bareUs} µs, guarded ${guardedUs} µs, ratio ${median(ratios).toFixed(3)}`,
  );
  child.disconnect();
  await bare.destroy();
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
