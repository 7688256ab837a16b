import type { CircuitSettings } from "../storage/circuit-storage.js";
import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readDuration } from "./arguments.js";
import { type Circuits, changeByHand, withCircuits } from "./circuits.js";
import { type Command, UsageError } from "./command.js";
import { readFieldValues, splitFields } from "./fields.js";
import { operator } from "./operator.js";
import { MAX_REASON, readReason } from "./reason.js";
import { changeEach, readSelection, SELECTION_HELP, SELECTION_OPTIONS } from "./selection.js";
import { localTime } from "./text.js";
import { describeSettings, fieldsOf, settingsOf } from "./why.js";

export const set: Command = {
  summary: "change fields of the configuration, in every process",
  help: `Usage: bulkman set NAME... FIELD=VALUE... [options]

Changes fields of the configuration of the bulkheads of that NAME, in every
process that shares the circuit, while they run: all but name, healthCheck,
errorFilter, classify, circuitBreakerEnabled and openQuorum. Values are as in
the code, such as maxConcurrentCalls=5 or timeoutSeconds=null; an object is
JSON. Fields that were set before stay set, until the same time unless --for
gives another one. bulkman unset undoes it; bulkman status shows it.

Options:
  --for TIME        for how long: a number with s, m, h or d, such as 30m or 2h;
                    default: as long as what was set before, or else until unset
  --reason TEXT     why, in up to ${MAX_REASON} characters
${SELECTION_HELP}${CIRCUITS_HELP}`,
  run: async (args) => {
    const options = { for: { type: "string" }, reason: { type: "string" } } as const;
    const { values, positionals } = readArguments(
      args,
      { ...options, ...SELECTION_OPTIONS, ...CIRCUITS_OPTIONS },
      { allowPositionals: true },
    );
    const { names, fields } = splitFields(positionals, values.all);
    const selection = readSelection(names, values);
    if (fields.length === 0) {
      throw new UsageError("FIELD=VALUE is missing, such as maxConcurrentCalls=5");
    }
    const change = {
      values: readFieldValues(fields),
      seconds: values.for === undefined ? undefined : readDuration("--for", values.for),
      reason: values.reason === undefined ? undefined : readReason(values.reason),
    };
    const question = `Set ${fieldsOf(change)} in`;
    return withCircuits(values, (circuits) =>
      changeEach(circuits, selection, question, (name) => setIn(circuits, name, change)),
    );
  },
};

interface Change {
  readonly values: CircuitSettings["values"];
  readonly seconds: number | undefined;
  readonly reason: string | undefined;
}

async function setIn(
  circuits: Circuits,
  name: string,
  { values, seconds, reason }: Change,
): Promise<string> {
  const { record } = await changeByHand(circuits, name, (before) => {
    const { version, readAt } = before;
    const known = settingsOf(before);
    const until = seconds === undefined ? undefined : new Date(readAt.getTime() + seconds * 1000);
    const settings = {
      values: { ...known?.values, ...values },
      until: until ?? known?.until ?? null,
      reason: reason ?? known?.reason ?? null,
      by: operator(),
    };
    return circuits.storage.configure(name, { version, settings });
  });
  const settings = settingsOf(record);
  return `${name}: ${settings === null ? "nothing is set" : describeSettings(settings, localTime)}`;
}
