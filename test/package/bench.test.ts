import { execFile } from "node:child_process";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, inject, test } from "vitest";
import { copyFolder, copyServer } from "./copied-folder.js";

// As the demo, the benchmarks run where the tarball is installed.
const project = inject("packedProject");
const PEERS = [
  ...["@sinonjs/fake-timers", "async-sema", "cockatiel", "opossum", "opossum-10"],
  ...["p-limit", "p-queue", "pg", "undici-7"],
];

/** The form of a value: its fields, and the kinds of what is in them. */
function formOf(value: unknown): unknown {
  if (Array.isArray(value)) return [formOf(value[0])];
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, formOf(field)]));
}

describe("the benchmarks", () => {
  // How fast anything was is no matter for a test: the machine that runs it is busy.
  test("run to their end, and write results of the form of the published ones", async () => {
    const bench = await copyFolder("bench", project, PEERS);
    await copyServer(project);
    const out = join(bench, "out");
    await mkdir(out);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [join(bench, "run.mjs"), "--quick", `--out=${out}`],
      { cwd: project },
    );

    expect((await readdir(out)).sort()).toEqual([
      "bench-calls.svg",
      "bench-load.svg",
      "bench-memory.svg",
      "results.json",
    ]);
    const results = JSON.parse(await readFile(join(out, "results.json"), "utf8"));
    const published = JSON.parse(await readFile(join(bench, "results.json"), "utf8"));
    expect(results.quick).toBe(true);
    expect(formOf(results)).toEqual(formOf(published));
    for (const { title } of results.targets) expect(stdout).toContain(title);
    expect(stdout, "a figure could not be measured").not.toMatch(/NaN|undefined|null/);
    expect(results.postgres.queriesInCalls).toBe(0);
    expect(results.fleet.requests).toEqual({ forTheLease: 1, inCalls: 0 });
    expect(results.idle.timers).toBe(0);
  });
});
