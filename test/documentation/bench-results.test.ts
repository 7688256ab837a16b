import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT, readPage } from "./examples.js";

const results = JSON.parse(readPage("bench/results.json"));

describe("the published results of the benchmarks", () => {
  let directory = "";
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "bulkman-pictures-"));
    execFileSync(process.execPath, ["bench/draw.mjs", directory], { cwd: ROOT });
  });
  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it.each([
    { page: "docs/benchmarks.md", made: "benchmarks.md" },
    { page: "docs/bench-calls.svg", made: "bench-calls.svg" },
    { page: "docs/bench-memory.svg", made: "bench-memory.svg" },
  ])("are what $page shows", ({ page, made }) => {
    expect(readFileSync(join(directory, made), "utf8")).toBe(readPage(page));
  });

  it("are those of a whole run, and say where and when", () => {
    expect(results.quick).toBe(false);
    for (const text of [results.node, results.date, results.machine.cpu]) {
      expect(readPage("docs/benchmarks.md")).toContain(text);
      expect(readPage("docs/bench-calls.svg")).toContain(text);
      expect(readPage("docs/bench-memory.svg")).toContain(text);
    }
  });
});
