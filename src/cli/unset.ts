import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments } from "./arguments.js";
import { type Circuits, changeByHand, withCircuits } from "./circuits.js";
import type { Command } from "./command.js";
import { FIELDS } from "./fields.js";
import { operator } from "./operator.js";
import { changeEach, readSelection, SELECTION_HELP, SELECTION_OPTIONS } from "./selection.js";
import { localTime } from "./text.js";
import { describeSettings, settingsOf } from "./why.js";

export const unset: Command = {
  summary: "undo bulkman set, in every process",
  help: `Usage: bulkman unset NAME... [FIELD...] [options]

Gives fields that bulkman set has changed their values of the code again, or
without a FIELD all of them.

Options:
${SELECTION_HELP}${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(
      args,
      { ...SELECTION_OPTIONS, ...CIRCUITS_OPTIONS },
      { allowPositionals: true },
    );
    const isField = (text: string, i: number) => (i > 0 || values.all) && FIELDS.includes(text);
    const fields = positionals.filter(isField);
    const selection = readSelection(
      positionals.filter((text, i) => !isField(text, i)),
      values,
    );
    const question = `Unset ${fields.length === 0 ? "all that was set" : fields.join(", ")} in`;
    return withCircuits(values, (circuits) =>
      changeEach(circuits, selection, question, (name) => unsetIn(circuits, name, fields)),
    );
  },
};

async function unsetIn(
  circuits: Circuits,
  name: string,
  fields: readonly string[],
): Promise<string> {
  const { changed, record } = await changeByHand(circuits, name, (before) => {
    const { version, settings } = before;
    const known = settingsOf(before);
    // What is over is removed, too.
    if (known === null) return settings ? remove(version) : undefined;
    const left = Object.entries(known.values).filter(([field]) => !fields.includes(field));
    if (fields.length === 0 || left.length === 0) return remove(version);
    if (left.length === Object.keys(known.values).length) return undefined;
    const rest = { ...known, values: Object.fromEntries(left), by: operator() };
    return circuits.storage.configure(name, { version, settings: rest });
  });
  const settings = settingsOf(record);
  if (settings !== null) return `${name}: ${describeSettings(settings, localTime)}`;
  return changed ? `${name}: nothing is set any more` : `${name}: nothing was set`;

  function remove(version: number) {
    return circuits.storage.configure(name, { version, settings: null });
  }
}
