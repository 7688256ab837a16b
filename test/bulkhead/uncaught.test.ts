import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "bulkman-uncaught-"));
  await build({
    entryPoints: ["src/index.ts"],
    outfile: join(directory, "bulkman.cjs"),
    bundle: true,
    platform: "node",
    external: ["pg"],
    logLevel: "error",
  });
});
afterAll(() => rm(directory, { recursive: true }));

/** What Node prints when nobody catches the rejection of `placeOrder()` in a program. */
function uncaught(program: string, NODE_DEBUG: string): Promise<string> {
  const text = `
    const { Bulkhead } = require("./bulkman.cjs");
    const api = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 1, failureThreshold: 1 });
    const placeOrder = (options) => api.run(() => new Promise(() => {}), options);
    ${program}`;
  return new Promise((resolve) => {
    const options = { cwd: directory, env: { ...process.env, NODE_DEBUG } };
    execFile(process.execPath, ["--eval", text], options, (_, __, stderr) => resolve(stderr));
  });
}

describe("a rejection that nobody catches", () => {
  const rejections: ReadonlyArray<[string, string, string]> = [
    ["at once", "ERR_BULKHEAD_ISOLATION", "api.isolate(); placeOrder();"],
    [
      "because the queue is full",
      "ERR_BULKHEAD_FULL",
      "api.acquire(); api.acquire(); placeOrder();",
    ],
    [
      "when it has waited",
      "ERR_BULKHEAD_TIMEOUT",
      "api.acquire(); placeOrder({ timeoutSeconds: 0.01 });",
    ],
    ["while its function runs", "ERR_BULKHEAD_TIMEOUT", "placeOrder({ timeoutSeconds: 0.01 });"],
    [
      "when the circuit opens while it waits",
      "ERR_BULKHEAD_CIRCUIT_OPEN",
      `api.call(() => Promise.reject(new Error("down"))).catch(() => {}); placeOrder();`,
    ],
  ];

  it.each(rejections)(
    "says with NODE_DEBUG=bulkman where the call was made: %s",
    async (_, code, program) => {
      const printed = await uncaught(program, "bulkman");
      expect(printed).toContain(code);
      expect(printed).toMatch(/\n {4}at placeOrder \(\[eval\]:4:/);
    },
  );

  it.each(rejections)("has no frames without it: %s", async (_, code, program) => {
    const printed = await uncaught(program, "");
    expect(printed).toContain(code);
    expect(printed).not.toContain("placeOrder (");
  });

  it("is the very error that the function threw, with and without it", async () => {
    const program = `
      const thrown = new Error("down");
      const { stack } = thrown;
      api.call(async () => { throw thrown; }).catch((error) => console.error(error === thrown && error.stack === stack));`;
    expect(await uncaught(program, "bulkman")).toBe("true\n");
    expect(await uncaught(program, "")).toBe("true\n");
  });
});
