import { fairSplit } from "../storage/apply-lease.js";
import { PERMIT_CHANNEL } from "../storage/postgres/permits-schema.js";
import { NOTIFY } from "../storage/postgres/statements.js";
import { CIRCUITS_HELP, CIRCUITS_OPTIONS, readArguments } from "./arguments.js";
import {
  type Circuits,
  list,
  missing,
  QUERY_LIMIT_MS,
  schemaOf,
  withCircuits,
} from "./circuits.js";
import { type Command, UsageError } from "./command.js";
import { type FleetPermits, heldOf, permitsTable, readPermits } from "./permits.js";
import { changeEach, readSelection } from "./selection.js";
import { columnsOf, printable } from "./text.js";

/** $1 namespace, $2 name, $3 limit: whether it was another one before. */
const SET_LIMIT = `WITH old AS MATERIALIZED (
  SELECT permit_limit FROM bulkman_permits WHERE namespace = $1::text AND name = $2::text AND owner = ''
)
INSERT INTO bulkman_permits (namespace, name, owner, permit_limit) VALUES ($1::text, $2::text, '', $3::bigint)
ON CONFLICT (namespace, name, owner) DO UPDATE SET permit_limit = excluded.permit_limit
RETURNING permit_limit IS DISTINCT FROM (SELECT permit_limit FROM old)`;

export const limit: Command = {
  summary: "limit the calls of a whole fleet, instead of its code",
  help: `Usage: bulkman limit NAME... NUMBER [options]
       bulkman limit NAME... --unset [options]
       bulkman limit [options]

Limits the calls that run at once in all processes together, for bulkheads of
that NAME with fleetMaxConcurrentCalls, instead of the limit in their code. The
processes follow at once; calls that run go on. The user needs SELECT, INSERT
and UPDATE on the table bulkman_permits.

Without NAME and NUMBER it shows every limit, and who holds how many permits, as
bulkman status does below the circuits.

Options:
  --unset           give the limit of the code again
  --yes             change several limits without asking
${CIRCUITS_HELP}`,
  run: async (args) => {
    const { values, positionals } = readArguments(
      args,
      {
        unset: { type: "boolean", default: false },
        yes: { type: "boolean", default: false },
        ...CIRCUITS_OPTIONS,
      },
      { allowPositionals: true },
    );
    if (positionals.length === 0 && !values.unset) return withCircuits(values, showLimits);
    const names = values.unset ? positionals : positionals.slice(0, -1);
    const limitSet = values.unset ? null : readLimit(positionals.at(-1));
    const selection = readSelection(names, { yes: values.yes });
    const question = limitSet === null ? "Unset the limit of" : `Set the limit ${limitSet} for`;
    return withCircuits(values, (circuits) =>
      changeEach(circuits, selection, question, (name) => limitTo(circuits, name, limitSet), known),
    );
  },
};

async function showLimits(circuits: Circuits): Promise<number> {
  const permits = await readPermits(circuits);
  if (permits === undefined) {
    throw new Error("there is no table bulkman_permits, or this user needs SELECT on it");
  }
  const none = `No permit is held and no limit is set in the namespace "${circuits.namespace}".`;
  const table = permitsTable(permits, { columns: columnsOf() });
  process.stdout.write(`${table.length > 0 ? table.join("\n") : printable(none)}\n`);
  return 0;
}

/** @throws {UsageError} for anything but an integer >= 1 */
function readLimit(text: string | undefined): number {
  const number = /^\d+$/.test(text ?? "") ? Number(text) : Number.NaN;
  if (number >= 1 && Number.isSafeInteger(number)) return number;
  // Most often it is missing, and this is the last NAME.
  throw new UsageError("NUMBER is missing, or --unset: after NAME, an integer >= 1");
}

/** The names of circuits, and of permits: a bulkhead without a circuit can have these. */
async function known(circuits: Circuits): Promise<Set<string>> {
  const permits = (await readPermits(circuits)) ?? [];
  return new Set([...(await list(circuits)).keys(), ...permits.map(({ name }) => name)]);
}

async function limitTo(circuits: Circuits, name: string, limitSet: number | null): Promise<string> {
  const { database, namespace } = circuits;
  if (!(await known(circuits)).has(name)) throw await missing(circuits, name);
  const values = [namespace, name, limitSet];
  const [row] = await database.query(SET_LIMIT, values, QUERY_LIMIT_MS);
  const [permits] = (await readPermits(circuits, name)) ?? [];
  if (permits !== undefined && permits.holders.length > 0) await notify(circuits, permits);
  const held = permits === undefined ? "no permit is held" : `permits held: ${heldOf(permits)}`;
  if (limitSet !== null || row?.[0] === "t") {
    return `${name}: ${limitSet === null ? "nothing is set any more; " : ""}${held}`;
  }
  return `${name}: nothing was set; ${held}`;
}

/** Has the processes follow the new limit now, instead of at their next renewal. */
async function notify(circuits: Circuits, permits: FleetPermits): Promise<void> {
  const { name, held, holders } = permits;
  const limitNow = permits.limit ?? 0;
  const notice = {
    schema: await schemaOf(circuits),
    namespace: circuits.namespace,
    name,
    ...fairSplit(limitNow, holders),
    gives: held < limitNow,
  };
  const values = [PERMIT_CHANNEL, JSON.stringify(notice)];
  await circuits.database.query(NOTIFY, values, QUERY_LIMIT_MS);
}
