import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PostgresStorage } from "../../src/index.js";
import { CommandLine } from "../cli/command.js";
import { eventually } from "../integration/eventually.js";
import { readPage } from "./examples.js";

const PAGES = [
  "README.md",
  "docs/guide/shared-circuits.md",
  "docs/operations/postgres.md",
  "docs/operations/runbook.md",
  "docs/reference/cli.md",
];

let commandLine: CommandLine;
let storage: PostgresStorage;
beforeAll(async () => {
  commandLine = await CommandLine.create();
  storage = commandLine.database.storage({ namespace: "my_app" });
  for (const name of ["payments", "search"]) await storage.load(name);
}, 60_000);
afterAll(() => commandLine.close());

/** The arguments of each `npx bulkman …` of a page's shell blocks. */
function commandsOf(page: string): string[][] {
  return Array.from(readPage(page).matchAll(/^```sh\n([\s\S]*?)^```/gm), ([, block = ""]) =>
    Array.from(block.matchAll(/^npx bulkman (.*)$/gm), ([, line = ""]) =>
      Array.from(line.matchAll(/"([^"]*)"|(\S+)/g), ([, quoted, word]) => quoted ?? word ?? ""),
    ),
  ).flat();
}

/** What each command is to have done. */
const DONE: { readonly [command: string]: () => Promise<void> } = {
  isolate: async () => expect(await state()).toBe("OPEN"),
  release: async () => expect(await state()).toBe("CLOSED"),
  set: async () => expect(await settings()).toMatchObject({ values: { maxConcurrentCalls: 5 } }),
};

async function settings() {
  return (await storage.getState("payments"))?.settings;
}

async function state(): Promise<string | undefined> {
  return (await storage.getState("payments"))?.state;
}

const hasScript = spawnSync("script", ["--version"]).status === 0;
describe.each(PAGES)("the command lines of %s", (page) => {
  const commands = commandsOf(page);

  it("are some", () => {
    expect(commands.length).toBeGreaterThan(0);
  });

  for (const args of commands) {
    const [command = ""] = args;
    const isWatch = args.includes("--watch");
    it.runIf(hasScript || (!isWatch && command !== "pg-setup"))(
      `work: ${args.join(" ")}`,
      async () => {
        const running = hasScript ? commandLine.onTerminal(args) : commandLine.start(args);
        if (command === "pg-setup") {
          await eventually(() => running.read.stdout.includes("[y/N]"));
          running.process.stdin?.write("y\n");
        }
        if (isWatch) {
          await eventually(() => running.read.stdout.includes("payments"));
          running.process.stdin?.write("\u0003");
        }
        const { status, stdout } = await running.ended;
        expect(status, stdout).toBe(isWatch ? 130 : 0);
        await DONE[command]?.();
      },
    );
  }
});
