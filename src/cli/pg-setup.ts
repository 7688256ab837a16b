import { clientConfig, secretsOf } from "../storage/postgres/connection.js";
import { queryOn } from "../storage/postgres/database.js";
import { loadDriver } from "../storage/postgres/driver.js";
import { toStorageError } from "../storage/postgres/errors.js";
import { SCHEMA_SQL } from "../storage/postgres/schema.js";
import { checkVersion } from "../storage/postgres/server-version.js";
import { guardedClient } from "../storage/postgres/wire.js";
import { DATABASE_HELP, DATABASE_OPTIONS, readArguments, readEnvironment } from "./arguments.js";
import { ask } from "./ask.js";
import { type Command, INTERRUPTED, UsageError } from "./command.js";
import { describeTarget } from "./target.js";

const CONNECT_LIMIT_MS = 10_000;

export const pgSetup: Command = {
  summary: "create or migrate the table of circuits in Postgres",
  help: `Usage: bulkman pg-setup [options]

Prints the SQL that creates the table rc_circuit_breakers, or brings an existing
one up to date with its rows kept; asks; and runs it in one transaction. It may
run again at any time.

Options:
  --dry-run         print the SQL and do nothing else
  --yes             run it without asking
${DATABASE_HELP}`,
  run: async (args) => {
    const { values: options } = readArguments(args, {
      "dry-run": { type: "boolean", default: false },
      yes: { type: "boolean", default: false },
      ...DATABASE_OPTIONS,
    });
    process.stdout.write(SCHEMA_SQL);
    if (options["dry-run"]) return 0;
    readEnvironment(options.env);
    const config = clientConfig(options.dsn, process.env, "--dsn");
    const { Client } = await loadDriver();
    const SetupClient = guardedClient(Client);
    const client = new SetupClient({ ...config, connectionTimeoutMillis: CONNECT_LIMIT_MS });
    // pg takes the default user from USER, which a container may not have.
    if (client.user === undefined)
      throw new UsageError("no user is named; use --dsn or set PGUSER");
    const place = `database "${client.database}" on ${client.host}:${client.port} as user "${client.user}"`;
    if (!options.yes) {
      const answer = await ask(`\nRun this in ${place}? [y/N] `, "--yes to run it, or --dry-run");
      if (answer === undefined) return INTERRUPTED;
      if (!/^y(es)?$/i.test(answer.trim())) {
        process.stderr.write("Nothing was changed.\n");
        return 1;
      }
    }
    // The query rejects when the connection is lost; without a listener the event would end the process.
    client.on("error", () => {});
    try {
      await client.connect();
      await checkVersion(queryOn(client));
      await client.query(SCHEMA_SQL);
    } catch (error) {
      const { message } = toStorageError(error, secretsOf(config));
      throw new Error(`${message}; ${await describeTarget(config, options.dsn)}`);
    } finally {
      await client.end().catch(() => {});
    }
    process.stderr.write(`The table rc_circuit_breakers is ready in ${place}.\n`);
    return 0;
  },
};
