import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, inject, test } from "vitest";

// The demo runs in the project that has the tarball installed, so that it shows the package as published.
const project = inject("packedProject");

beforeAll(() =>
  cp(join(import.meta.dirname, "../../demo"), join(project, "demo"), { recursive: true }),
);

let demo: ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream };
let printed = "";
let complaints = "";

/** Starts the demo in a process group of its own, in which its child processes are too. */
function start(...args: string[]): void {
  demo = spawn(process.execPath, ["demo/main.mjs", ...args], {
    cwd: project,
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

/** Whether the demo or any process that it started is still there. */
function isAnyoneLeft(): boolean {
  try {
    return process.kill(-(demo.pid ?? 0), 0);
  } catch {
    return false;
  }
}

afterEach(() => {
  if (isAnyoneLeft()) process.kill(-(demo.pid ?? 0), "SIGKILL");
});

/** The two figures of a row of the table, bare and bulkhead. */
function figures(title: string): number[] {
  const row = printed.split("\n").find((line) => line.trimStart().startsWith(title)) ?? "";
  return row.trim().slice(title.length).trim().split(/\s+/).map(Number);
}

describe("the demo", () => {
  test("compares a bare service with a guarded one, and leaves nobody behind", async () => {
    start("--quick");
    const [status] = await once(demo, "close");

    expect({ status, complaints }).toEqual({ status: 0, complaints: "" });
    expect(isAnyoneLeft()).toBe(false);
    expect(printed).toMatch(/ bare +bulkhead$/m);
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

  test.each([
    { signalName: "SIGINT", status: 130 },
    { signalName: "SIGTERM", status: 143 },
  ] as const)("ends its processes on $signalName", async ({ signalName, status }) => {
    start("--quick");
    while (!printed.includes("in flight")) await once(demo.stdout, "data");
    // As Ctrl-C in a terminal does: to every process of the group.
    if (signalName === "SIGINT") process.kill(-(demo.pid ?? 0), signalName);
    else demo.kill(signalName);

    expect(await once(demo, "close")).toEqual([status, null]);
    expect(isAnyoneLeft()).toBe(false);
    expect(complaints).toBe(`The demo broke off: interrupted by ${signalName}\n`);
  });

  test("leaves nobody behind when it is killed", async () => {
    start("--quick");
    while (!printed.includes("in flight")) await once(demo.stdout, "data");
    demo.kill("SIGKILL");

    // Its output is closed when the last process that holds it has ended.
    await once(demo, "close");
  });
});
