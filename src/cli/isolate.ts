import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readDuration } from "./arguments.js";
import { changeByHand, withCircuits } from "./circuits.js";
import type { Command } from "./command.js";
import { operator } from "./operator.js";
import { MAX_REASON, readReason } from "./reason.js";
import { changeEach, readSelection, SELECTION_HELP, SELECTION_OPTIONS } from "./selection.js";
import { localTime } from "./text.js";

const DEFAULT_FOR = "10m";
const DEFAULT_REASON = "by hand";

export const isolate: Command = {
  summary: "open circuits manually, in every process",
  help: `Usage: bulkman isolate NAME... [options]

Opens the circuit NAME, whatever its state: every process that shares it
rejects calls from then on. When the time is over, one process probes, as after
any isolation. No health check ends it earlier; bulkman release does. To change
the time, run it again.

Options:
  --for TIME        how long: a number with s, m, h or d, such as 30s, 10m, 2h
                    or 30d; default: ${DEFAULT_FOR}
  --reason TEXT     why, in up to ${MAX_REASON} characters; default: "${DEFAULT_REASON}"
${SELECTION_HELP}${CIRCUITS_HELP}`,
  run: async (args) => {
    const options = { for: { type: "string" }, reason: { type: "string" } } as const;
    const { values, positionals } = readArguments(
      args,
      { ...options, ...SELECTION_OPTIONS, ...CIRCUITS_OPTIONS },
      { allowPositionals: true },
    );
    const selection = readSelection(positionals, values);
    const duration = values.for ?? DEFAULT_FOR;
    const openSeconds = readDuration("--for", duration);
    const reason = readReason(values.reason ?? DEFAULT_REASON);
    const common = { to: "OPEN", owner: operator(), openSeconds, failureCount: 0 } as const;
    return withCircuits(values, (circuits) =>
      changeEach(circuits, selection, `Isolate for ${duration}`, async (name) => {
        const { record } = await changeByHand(circuits, name, ({ version }) =>
          circuits.storage.change(name, { ...common, version, byHand: true, reason }),
        );
        const until = localTime(record.openUntil ?? record.readAt);
        return `${name} is isolated until ${until} (${duration}).`;
      }),
    );
  },
};
