import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readName } from "./arguments.js";
import { changeByHand, withCircuits } from "./circuits.js";
import type { Command } from "./command.js";
import { operator } from "./operator.js";
import { printable } from "./text.js";

export const release: Command = {
  summary: "close a circuit manually, in every process",
  help: `Usage: bulkman release NAME [options]

Closes the circuit NAME, whatever opened it: every process that shares it lets
calls through from then on, without a probe.

Options:
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(args, CIRCUITS_OPTIONS, {
      allowPositionals: true,
    });
    const name = readName(positionals);
    return withCircuits(values, async (circuits) => {
      const owner = operator();
      const { changed } = await changeByHand(circuits, name, ({ state, version }) => {
        return state === "CLOSED" ? undefined : { to: "CLOSED", version, owner, byHand: true };
      });
      process.stdout.write(`${printable(name)} ${changed ? "is" : "was"} closed.\n`);
      return 0;
    });
  },
};
