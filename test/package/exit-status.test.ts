import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

it("a test that fails makes the run of the tests fail", async () => {
  const vitest = join(import.meta.dirname, "../../node_modules/vitest/vitest.mjs");
  const suite = join(import.meta.dirname, "fixtures/failing-suite");
  const { PATH, HOME } = process.env;
  const words = [vitest, "run", "--root", suite, "--config", "vitest.setup.mjs"];
  const run = spawn(process.execPath, words, { env: { PATH, HOME } });
  let output = "";
  for (const stream of [run.stdout, run.stderr]) {
    stream.on("data", (text) => {
      output += text;
    });
  }
  const status = await new Promise((resolve) => run.on("close", resolve));
  expect(output).toContain("expected 1 to be 2");
  expect(status).toBe(1);
});
