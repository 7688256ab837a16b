import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

it.each([
  ["passes", 0, "1 passed"],
  ["fails", 1, "expected 'fails' to be 'passes'"],
])("a run of tests in which one %s ends with status %d", async (verdict, expected, shown) => {
  const vitest = join(import.meta.dirname, "../../node_modules/vitest/vitest.mjs");
  const suite = join(import.meta.dirname, "fixtures/suite-with-postgres");
  const words = [vitest, "run", "--root", suite, "--config", "vitest.setup.mjs"];
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, NO_COLOR: "1", VERDICT: verdict };
  const run = spawn(process.execPath, words, { env });
  let output = "";
  for (const stream of [run.stdout, run.stderr]) {
    stream.on("data", (text) => {
      output += text;
    });
  }
  const status = await new Promise((resolve) => run.on("close", resolve));
  expect(output).toContain(shown);
  expect(status).toBe(expected);
});
