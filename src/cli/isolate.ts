import {
  CIRCUITS_HELP,
  CIRCUITS_OPTIONS,
  readArguments,
  readDuration,
  readName,
} from "./arguments.js";
import { changeByHand, withCircuits } from "./circuits.js";
import { type Command, UsageError } from "./command.js";
import { operator } from "./operator.js";
import { localTime, printable } from "./text.js";

const DEFAULT_FOR = "10m";
const DEFAULT_REASON = "by hand";
const MAX_REASON = 255;

export const isolate: Command = {
  summary: "open a circuit manually, in every process",
  help: `Usage: bulkman isolate NAME [options]

Opens the circuit NAME, whatever its state: every process that shares it
rejects calls from then on. When the time is over, one process probes, as after
any isolation. No health check ends it earlier; bulkman release does. To change
the time, run it again.

Options:
  --for TIME        how long: a number with s, m, h or d, such as 30s, 10m, 2h
                    or 30d; default: ${DEFAULT_FOR}
  --reason TEXT     why, in up to ${MAX_REASON} characters; default: "${DEFAULT_REASON}"
${CIRCUITS_HELP}`,
  run: async (args) => {
    const options = { for: { type: "string" }, reason: { type: "string" } } as const;
    const { values, positionals } = readArguments(
      args,
      { ...options, ...CIRCUITS_OPTIONS },
      { allowPositionals: true },
    );
    const name = readName(positionals);
    const duration = values.for ?? DEFAULT_FOR;
    const openSeconds = readDuration("--for", duration);
    const reason = readReason(values.reason);
    return withCircuits(values, async (circuits) => {
      const owner = operator();
      const { record } = await changeByHand(circuits, name, ({ version }) => {
        return { to: "OPEN", version, owner, openSeconds, failureCount: 0, byHand: true, reason };
      });
      const until = localTime(record.openUntil ?? record.readAt);
      process.stdout.write(`${printable(name)} is isolated until ${until} (${duration}).\n`);
      return 0;
    });
  },
};

function readReason(text: string = DEFAULT_REASON): string {
  const reason = text.trim();
  const { length } = [...reason];
  if (length >= 1 && length <= MAX_REASON) return reason;
  throw new UsageError(`--reason must have 1 to ${MAX_REASON} characters; got ${length}`);
}
