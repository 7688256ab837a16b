import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from "vitest";
import { copyFolder, copyServer } from "./copied-folder.js";

// The demo runs in the project that has the tarball installed, so that it shows the package as published.
const project = inject("packedProject");

beforeAll(async () => {
  await copyFolder("demo", project, []);
  await copyServer(project);
});

/** The demo's place for temporary files. */
let temporary = "";

beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), "bulkman-demo-test-"));
  // When root runs the tests, Postgres runs as another user.
  await chmod(temporary, 0o755);
});

let demo: ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream };
let printed = "";
let complaints = "";

/** Starts the demo in a process group of its own, in which its child processes are too. */
function start(...args: string[]): void {
  demo = spawn(process.execPath, ["demo/main.mjs", ...args], {
    cwd: project,
    env: { ...process.env, TMPDIR: temporary },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  printed = "";
  complaints = "";
  demo.stdout.on("data", (text) => {
    printed += text;
  });
  demo.stderr.on("data", (text) => {
    complaints += text;
  });
}

/** Whether the demo or any process of its group is still there. */
function isAnyoneLeft(): boolean {
  return isThere(-(demo.pid ?? 0));
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The process id of the demo's database server, which is not in its group. */
async function databasePid(): Promise<number> {
  const [directory = ""] = await readdir(temporary);
  const [pid = ""] = (
    await readFile(join(temporary, directory, "data/postmaster.pid"), "utf8")
  ).split("\n");
  return Number(pid);
}

async function printedAs(text: string): Promise<void> {
  while (!printed.includes(text)) await once(demo.stdout, "data");
}

afterEach(async () => {
  if (isAnyoneLeft()) process.kill(-(demo.pid ?? 0), "SIGKILL");
  await rm(temporary, { recursive: true, force: true });
});

/** The cells of a row of a table, after its title. */
function cells(title: string): string[] {
  const row = printed.split("\n").find((line) => line.trimStart().startsWith(title)) ?? "";
  return row
    .trim()
    .slice(title.length)
    .trim()
    .split(/\s{2,}/);
}

/** The figures of a row: of the bare service and the guarded one, or of each process. */
function figures(title: string): number[] {
  return cells(title).map(Number);
}

/** The numbers that the groups of a pattern match in what the demo printed. */
function numbersOf(pattern: RegExp): number[] {
  expect(printed).toMatch(pattern);
  return (pattern.exec(printed) ?? []).slice(1).map(Number);
}

describe("the demo", () => {
  test("compares a bare service with a guarded one, goes on to the fleet, and leaves nobody behind", async () => {
    start("--quick");
    const [status] = await once(demo, "close");

    expect({ status, complaints }).toEqual({ status: 0, complaints: "" });
    expect(isAnyoneLeft()).toBe(false);
    expect(printed).toMatch(/ bare +bulkhead$/m);
    expect(printed).toMatch(/ process 1 +process 2 +process 3$/m);
    expect(printed.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(printed, "escape sequences outside a terminal").not.toContain("\x1b");

    const [bareInFlight = 0, guardedInFlight = 0] = figures("most calls in flight to it");
    expect(guardedInFlight).toBeGreaterThan(0);
    expect(guardedInFlight).toBeLessThanOrEqual(8);
    expect(bareInFlight).toBeGreaterThan(8);

    const [bareSent = 0, guardedSent = 0] = figures("calls sent to it while it was ill");
    expect(guardedSent).toBeGreaterThan(0);
    expect(guardedSent).toBeLessThan(bareSent);

    const [bareRefused, guardedRefused = 0] = figures("requests: refused at once");
    expect(bareRefused).toBe(0);
    expect(guardedRefused).toBeGreaterThan(0);

    const rows = ["requests: succeeded", "requests: errors", "requests: refused at once"].map(
      figures,
    );
    const [bareTotal, guardedTotal] = [0, 1].map((column) =>
      rows.reduce((sum, row) => sum + (row[column] ?? Number.NaN), 0),
    );
    expect(guardedTotal, "both runs have the same load").toBe(bareTotal);

    expect(printed, "both runs see the recovery").not.toContain("never");
  });

  test("opens one process's circuit in all three, lets one probe, and leaves nothing behind", async () => {
    start("--quick", "--act=fleet");
    const [status] = await once(demo, "close");

    expect({ status, complaints }).toEqual({ status: 0, complaints: "" });
    expect(isAnyoneLeft()).toBe(false);
    expect(await readdir(temporary)).toEqual([]);
    expect(printed).toMatch(/ process 1 +process 2 +process 3$/m);
    expect(printed.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(printed, "escape sequences outside a terminal").not.toContain("\x1b");

    expect(figures("calls to payments: failed"), "only one saw it fail").toEqual([5, 0, 0]);
    const refused = figures("calls: refused at once");
    expect(refused).toHaveLength(3);
    expect(Math.min(...refused)).toBeGreaterThan(0);

    const probes = figures("calls sent until the circuit closes: probes");
    expect(probes.toSorted(), "one process probed").toEqual([0, 0, 3]);

    expect(Math.min(...figures("calls to payments: succeeded"))).toBeGreaterThan(0);
    for (const title of ["until a call is refused", "until a call is let through"]) {
      expect(cells(title)).toEqual(Array(3).fill(expect.stringMatching(/^[\d.]+ m?s$/)));
    }

    const mad =
      /mad: (\d+) failed, (\d+) rejected; others: (\d+)\/(\d+) served; record CLOSED, 1 of 2 votes$/m;
    const [failed = 0, rejected = 0, served = 0, made = 0] = numbersOf(mad);
    expect(failed).toBeGreaterThanOrEqual(5);
    expect(rejected, "its own circuit opened").toBeGreaterThan(0);
    expect(made).toBeGreaterThan(0);
    expect(served, "the others are served").toBe(made);

    const killed =
      /limit: (\d+); most at once, counted by partner: (\d+); served: (\d+) before, (\d+) after$/m;
    const [limit = 0, most = 0, before = 0, after = 0] = numbersOf(killed);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(limit);
    expect(Math.min(before, after), "served before and after the kill").toBeGreaterThan(0);
  });

  test("says which act it does not know", async () => {
    start("--act=third");

    expect(await once(demo, "close")).toEqual([1, null]);
    expect(complaints).toBe('The demo broke off: there is no act "third"\n');
  });

  const signals = [
    { signalName: "SIGINT", status: 130 },
    { signalName: "SIGTERM", status: 143 },
  ] as const;

  /** Ctrl-C in a terminal is sent to every process of the group. */
  function tell(signalName: NodeJS.Signals): void {
    if (signalName === "SIGINT") process.kill(-(demo.pid ?? 0), signalName);
    else demo.kill(signalName);
  }

  test.each(signals)("ends its processes on $signalName", async ({ signalName, status }) => {
    start("--quick", "--act=outage");
    await printedAs("in flight");
    tell(signalName);

    expect(await once(demo, "close")).toEqual([status, null]);
    expect(isAnyoneLeft()).toBe(false);
    expect(complaints).toBe(`The demo broke off: interrupted by ${signalName}\n`);
  });

  test.each(signals)("ends its database on $signalName", async ({ signalName, status }) => {
    start("--quick", "--act=fleet");
    await printedAs("process 1 process 2 process 3");
    const database = await databasePid();
    expect(isThere(database)).toBe(true);
    tell(signalName);

    expect(await once(demo, "close")).toEqual([status, null]);
    expect({ group: isAnyoneLeft(), database: isThere(database) }).toEqual({
      group: false,
      database: false,
    });
    expect(await readdir(temporary)).toEqual([]);
    expect(complaints).toBe(`The demo broke off: interrupted by ${signalName}\n`);
  });

  test.each(["demo", "group"])("leaves nothing behind when its %s is killed", async (target) => {
    start("--quick", "--act=fleet");
    await printedAs("process 1 process 2 process 3");
    const database = await databasePid();
    process.kill((target === "group" ? -1 : 1) * (demo.pid ?? 0), "SIGKILL");

    // Its output is closed when the last process that holds it has ended.
    await once(demo, "close");
    expect(isThere(database)).toBe(false);
    expect(await readdir(temporary)).toEqual([]);
  });

  test("ends the database also while it is being made", async () => {
    start("--quick", "--act=fleet");
    await vi.waitUntil(async () => (await readdir(temporary)).length > 0, { timeout: 10_000 });
    demo.kill("SIGTERM");

    expect(await once(demo, "close")).toEqual([143, null]);
    expect(await readdir(temporary)).toEqual([]);
  });
});
