#!/usr/bin/env node
import manifest from "../../package.json" with { type: "json" };
import { type Command, UsageError } from "./command.js";
import { history } from "./history.js";
import { isolate } from "./isolate.js";
import { limit } from "./limit.js";
import { pgSetup } from "./pg-setup.js";
import { prune } from "./prune.js";
import { release } from "./release.js";
import { set } from "./set.js";
import { status } from "./status.js";
import { printable } from "./text.js";
import { unset } from "./unset.js";
import { wait } from "./wait.js";

const COMMANDS = new Map<string, Command>([
  ["status", status],
  ["history", history],
  ["isolate", isolate],
  ["release", release],
  ["set", set],
  ["unset", unset],
  ["limit", limit],
  ["wait", wait],
  ["prune", prune],
  ["pg-setup", pgSetup],
]);

const HELP = `Usage: bulkman <command> [options]

Commands:
${[...COMMANDS].map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`).join("\n")}

Options:
  -h, --help      this help; after a command, the help for it
  -v, --version   the version

bulkman is a library first: see its README.
`;

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "-h" || name === "--help") {
    (name === undefined ? process.stderr : process.stdout).write(HELP);
    return name === undefined ? 2 : 0;
  }
  if (name === "-v" || name === "--version") {
    process.stdout.write(`${manifest.version}\n`);
    return 0;
  }
  const command = COMMANDS.get(name);
  if (command === undefined) {
    process.stderr.write(`bulkman: there is no command "${name}"; see bulkman --help\n`);
    return 2;
  }
  if (rest.includes("-h") || rest.includes("--help")) {
    process.stdout.write(command.help);
    return 0;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const reason = printable(message.replace(/\s+/g, " "));
    const isUsage = error instanceof UsageError;
    const hint = isUsage ? `; see bulkman ${name} --help` : "";
    process.stderr.write(`bulkman ${name}: ${reason}${hint}\n`);
    return isUsage ? 2 : 1;
  }
}

// The reader of the output may end early, like `head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});
process.exitCode = await main(process.argv.slice(2));
