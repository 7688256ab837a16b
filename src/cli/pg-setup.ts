import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { parseArgs, parseEnv } from "node:util";

import { tellable } from "../storage/postgres-errors.js";
import { clientConfig, secretsOf } from "../storage/postgres-options.js";
import { GuardedClient } from "../storage/postgres-wire.js";
import { SCHEMA_SQL } from "../storage/schema.js";
import { type Command, UsageError } from "./command.js";

const CONNECT_LIMIT_MS = 10_000;
/** As of a shell for a program that Ctrl-C ended. */
const INTERRUPTED = 130;

export const pgSetup: Command = {
  summary: "create or migrate the table of circuits in Postgres",
  help: `Usage: bulkman pg-setup [options]

Prints the SQL that creates the table rc_circuit_breakers, or brings an existing one up to date with its
rows kept; asks; and runs it in one transaction. It may run again at any time.

Options:
  --dry-run         print the SQL and do nothing else
  --yes             run it without asking
  --dsn URL         the database, such as postgres://user@host:5432/database
  --env FILE        read variables from FILE; default: .env, when there is one
  -h, --help        this help

Without --dsn the database is that of RC_DB_HOST, RC_DB_PORT, RC_DB_NAME, RC_DB_USER and RC_DB_PASSWORD
when RC_DB_HOST is set, else that of PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD. Variables of the
environment win over those of the file.
`,
  run: async (args) => {
    const options = readArguments(args);
    process.stdout.write(SCHEMA_SQL);
    if (options["dry-run"]) return 0;
    readEnvironment(options.env);
    const config = clientConfig(options.dsn);
    const client = new GuardedClient({ ...config, connectionTimeoutMillis: CONNECT_LIMIT_MS });
    const place = `database "${client.database}" on ${client.host}:${client.port} as user "${client.user}"`;
    if (!options.yes) {
      const answer = await ask(`\nRun this in ${place}? [y/N] `);
      if (answer === undefined) return INTERRUPTED;
      if (!/^y(es)?$/i.test(answer.trim())) {
        process.stderr.write("Nothing was changed.\n");
        return 1;
      }
    }
    // The loss of the connection is told by the query.
    client.on("error", () => {});
    try {
      await client.connect();
      await client.query(SCHEMA_SQL);
    } catch (error) {
      throw new Error(`${place}: ${tellable(error, secretsOf(config)).message}`);
    } finally {
      await client.end().catch(() => {});
    }
    process.stderr.write(`The table rc_circuit_breakers is ready in ${place}.\n`);
    return 0;
  },
};

function readArguments(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        "dry-run": { type: "boolean", default: false },
        yes: { type: "boolean", default: false },
        dsn: { type: "string" },
        // Not --env-file: Node.js 20 takes that for its own, wherever it stands.
        env: { type: "string" },
      },
    });
    return values;
  } catch (error) {
    // Not what was given: it may be a connection string in the wrong place.
    const option = /'(--?[\w-]+)/.exec(error instanceof Error ? error.message : "")?.[1];
    throw new UsageError(option === undefined ? "too many arguments" : `wrong option ${option}`);
  }
}

function readEnvironment(file: string | undefined): void {
  let text: string;
  try {
    text = readFileSync(file ?? ".env", "utf8");
  } catch (error) {
    if (file === undefined) return;
    const code = (error as NodeJS.ErrnoException).code ?? "";
    throw new UsageError(`the file ${file} cannot be read (${code})`);
  }
  for (const [name, value] of Object.entries(parseEnv(text))) process.env[name] ??= value;
}

/** The answer, or `undefined` when Ctrl-C or the end of the input came instead. */
async function ask(question: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) {
    throw new UsageError("there is no terminal to ask on; say --yes to run it, or --dry-run");
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await new Promise((resolve) => {
      terminal.once("SIGINT", () => resolve(undefined));
      terminal.once("close", () => resolve(undefined));
      terminal.question(question).then(resolve, () => resolve(undefined));
    });
  } finally {
    terminal.close();
  }
}
