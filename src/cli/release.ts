import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments } from "./arguments.js";
import { changeByHand, withCircuits } from "./circuits.js";
import type { Command } from "./command.js";
import { operator } from "./operator.js";
import { changeEach, readSelection, SELECTION_HELP, SELECTION_OPTIONS } from "./selection.js";

export const release: Command = {
  summary: "close circuits manually, in every process",
  help: `Usage: bulkman release NAME... [options]

Closes the circuit NAME, whatever opened it: every process that shares it lets
calls through from then on, without a probe.

Options:
${SELECTION_HELP}${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(
      args,
      { ...SELECTION_OPTIONS, ...CIRCUITS_OPTIONS },
      { allowPositionals: true },
    );
    const selection = readSelection(positionals, values);
    const owner = operator();
    return withCircuits(values, (circuits) =>
      changeEach(circuits, selection, "Release", async (name) => {
        const { changed } = await changeByHand(circuits, name, ({ state, version }) =>
          state === "CLOSED"
            ? undefined
            : circuits.storage.change(name, { to: "CLOSED", version, owner, byHand: true }),
        );
        return `${name} ${changed ? "is" : "was"} closed.`;
      }),
    );
  },
};
