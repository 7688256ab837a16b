import { liveVotes } from "../storage/votes.js";
import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments } from "./arguments.js";
import { changeByHand, withCircuits } from "./circuits.js";
import type { Command } from "./command.js";
import { operator } from "./operator.js";
import { changeEach, readSelection, SELECTION_HELP, SELECTION_OPTIONS } from "./selection.js";

export const release: Command = {
  summary: "close circuits manually, in every process",
  help: `Usage: bulkman release NAME... [options]

Closes the circuit NAME, whatever opened it: every process that shares it lets
calls through from then on, without a probe. The votes of hosts to open it end,
too (openQuorum); a process that voted still opens its own circuit until its own
probes succeed.

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
        let endedVotes = 0;
        const { changed } = await changeByHand(circuits, name, (record) => {
          const { state, version } = record;
          endedVotes = state === "CLOSED" ? liveVotes(record).length : 0;
          if (state === "CLOSED" && endedVotes === 0) return undefined;
          return circuits.storage.change(name, { to: "CLOSED", version, owner, byHand: true });
        });
        if (endedVotes === 0) return `${name} ${changed ? "is" : "was"} closed.`;
        const votes =
          endedVotes === 1 ? "1 vote to open it has" : `${endedVotes} votes to open it have`;
        return `${name} was closed; ${votes} ended.`;
      }),
    );
  },
};
