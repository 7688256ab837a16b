import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments, readName } from "./arguments.js";
import { type Circuits, list, missing, namespaces, withCircuits } from "./circuits.js";
import { type Command, UsageError } from "./command.js";
import { type FleetPermits, permitsJson, permitsTable, readPermits } from "./permits.js";
import { statusDetails } from "./status-details.js";
import { circuitJson } from "./status-json.js";
import { readAtOf, statusLines } from "./status-table.js";
import { viewer } from "./status-viewers.js";
import { columnsOf, printable } from "./text.js";
import { type Records, watch } from "./watch.js";

export const status: Command = {
  summary: "show the circuits: states, since when, until when, and why",
  help: `Usage: bulkman status [NAME] [options]

Shows every circuit of a namespace: its state, since when, until when it is open
or probed, why it is open and who opened it, who probes, or which hosts vote to
open it; and what was set.
Below them, who holds how many permits of a fleet's limit. With a NAME, all that
is known of that circuit, and of the permits of that name.

Options:
  --json            one JSON document; with --watch, one line of JSON for each
                    circuit and each change
  --watch           go on showing changes, until Ctrl-C
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(args, OPTIONS, { allowPositionals: true });
    const only = positionals.length === 0 ? undefined : readName(positionals);
    if (values.watch && only !== undefined) {
      throw new UsageError("--watch shows every circuit; leave NAME out");
    }
    return withCircuits(values, async (circuits) => {
      if (values.watch) {
        const { json } = values;
        return watch(circuits, () => viewer(circuits.namespace, json), { permits: !json });
      }
      const records = only === undefined ? await list(circuits) : await listOne(circuits, only);
      const permits = await readPermits(circuits, only);
      if (only !== undefined && records.size === 0 && !permits?.length) {
        throw await missing(circuits, only);
      }
      const text = values.json
        ? JSON.stringify(documentOf(circuits, records, permits), null, 2)
        : (await textOf(circuits, records, permits ?? [], only)).join("\n");
      process.stdout.write(`${text}\n`);
      return 0;
    });
  },
};

const OPTIONS = {
  json: { type: "boolean", default: false },
  watch: { type: "boolean", default: false },
  ...CIRCUITS_OPTIONS,
} as const;

/** Empty when no circuit has that name; it may have permits all the same. */
async function listOne(circuits: Circuits, name: string): Promise<Records> {
  const record = await circuits.storage.getState(name);
  return record === null ? new Map() : new Map([[name, record]]);
}

/** @param permits `undefined`: there is no table of permits, or this user may not read it */
function documentOf(
  { namespace }: Circuits,
  records: Records,
  permits: readonly FleetPermits[] | undefined,
) {
  const circuits = [...records].map(([name, record]) => circuitJson(name, record));
  const readAt = readAtOf(records);
  return { namespace, readAt, circuits, permits: permits?.map(permitsJson) ?? null };
}

async function textOf(
  circuits: Circuits,
  records: Records,
  permits: readonly FleetPermits[],
  only: string | undefined,
): Promise<string[]> {
  const { namespace } = circuits;
  if (only !== undefined) return statusDetails(namespace, only, records.get(only), permits[0]);
  if (records.size > 0) return statusLines(namespace, records, permits);
  const others = await namespaces(circuits);
  const hint = others.length > 0 ? `; there are circuits in: ${others.join(", ")}` : "";
  const text = `There is no circuit in the namespace "${namespace}"${hint}.`;
  const below = permitsTable(permits, { columns: columnsOf() });
  return [printable(text), ...(below.length > 0 ? ["", ...below] : [])];
}
