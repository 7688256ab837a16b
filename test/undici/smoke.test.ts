import { expect, it } from "vitest";
import { BulkheadManager } from "../../src/index.js";
import { guardDispatcher } from "../../src/undici/index.js";
import { serve } from "./server.js";

it("smoke", async () => {
  const { url } = await serve((req, res) => {
    if (req.url === "/redirect") res.writeHead(302, { location: "/x" }).end("y".repeat(2 ** 21));
    else if (req.url === "/503") res.writeHead(503).end("no");
    else res.end("hello");
  });
  const manager = new BulkheadManager();
  const dispatcher = guardDispatcher({ manager, defaults: { maxConcurrentCalls: 1 } });
  const texts = await Promise.all(
    [1, 2, 3].map(async () => (await fetch(url, { dispatcher })).text()),
  );
  expect(texts).toEqual(["hello", "hello", "hello"]);
  expect(await (await fetch(url + "/redirect", { dispatcher })).text()).toBe("hello");
  expect(await (await fetch(url + "/503", { dispatcher })).text()).toBe("no");
  console.log(manager.getAllStats());
});
