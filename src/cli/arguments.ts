import { readFileSync } from "node:fs";
import { type ParseArgsConfig, parseArgs, parseEnv } from "node:util";
import { NAME } from "../common/validation.js";
import { UsageError } from "./command.js";

type Options = NonNullable<ParseArgsConfig["options"]>;

/** The options of every command that name the database. */
export const DATABASE_OPTIONS = {
  dsn: { type: "string" },
  // Not --env-file: Node.js 20 reads that as its own option, wherever it stands.
  env: { type: "string" },
} as const satisfies Options;

export const DATABASE_HELP = `  --dsn URL         the database, such as postgres://user@host:5432/database
  --env FILE        read variables from FILE; default: .env, when there is one
  -h, --help        this help

Without --dsn the database is that of RC_DB_DSN (a URL) when that is set, else
that of RC_DB_HOST, RC_DB_PORT, RC_DB_NAME, RC_DB_USER and RC_DB_PASSWORD when
RC_DB_HOST is set, else that of PGHOST, PGPORT, PGDATABASE, PGUSER and
PGPASSWORD. Variables of the environment win over those of the file.
`;

/** The options of the commands about circuits. */
export const CIRCUITS_OPTIONS = {
  namespace: { type: "string" },
  ...DATABASE_OPTIONS,
} as const satisfies Options;

export const CIRCUITS_HELP = `  --namespace N     the circuits of this namespace; default: RC_NAMESPACE, or
                    else "default"
${DATABASE_HELP}`;

/** @throws {UsageError} for an unknown option, an unexpected argument, or a missing value */
export function readArguments<T extends Options>(
  args: string[],
  options: T,
  { allowPositionals = false } = {},
) {
  try {
    return parseArgs({ args, options, allowPositionals });
  } catch (error) {
    throw new UsageError(reasonOf(error, options));
  }
}

/** Names the option, not the value: it may be a connection string in the wrong place. */
function reasonOf(error: unknown, options: Options): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const option = /'(--?[\w-]+)/.exec(message)?.[1];
  if (option === undefined) return "too many arguments";
  if (code !== "ERR_PARSE_ARGS_INVALID_OPTION_VALUE") return `unknown option ${option}`;
  return options[option.slice(2)]?.type === "boolean"
    ? `${option} takes no value`
    : `${option} needs a value; one that starts with "-" is written as ${option}=VALUE`;
}

/** @throws {UsageError} when the file was named and cannot be read */
export function readEnvironment(file: string | undefined): void {
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

/** The namespace of the option, or of the environment: call it after {@link readEnvironment}. */
export function readNamespace(given: string | undefined): string {
  const namespace = given ?? (process.env["RC_NAMESPACE"] || "default");
  if (!NAME.inRange(namespace)) throw new UsageError(`--namespace must be ${NAME.description}`);
  return namespace;
}

/** The one NAME of a command. */
export function readName(positionals: readonly string[]): string {
  const [name, ...others] = positionals;
  if (name === undefined) throw new UsageError("NAME is missing: the name of a circuit");
  if (others.length > 0) throw new UsageError("too many arguments; one NAME is expected");
  if (!NAME.inRange(name)) throw new UsageError(`NAME must be ${NAME.description}`);
  return name;
}

const UNITS: { readonly [unit: string]: number } = { s: 1, m: 60, h: 3600, d: 86_400 };
const MOST_DAYS = 365;

/**
 * The seconds of a duration such as `30s`, `10m`, `2h` or `30d`.
 * @throws {UsageError} for anything else, 0, and more than a year
 */
export function readDuration(option: string, text: string): number {
  const [, count = "", unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const seconds = Number(count) * (UNITS[unit] ?? 0);
  if (seconds > 0 && seconds <= MOST_DAYS * 86_400) return seconds;
  throw new UsageError(
    `${option} must be a whole number with s, m, h or d after it, such as 30s, 10m, 2h or 30d, ` +
      `from 1s to ${MOST_DAYS}d`,
  );
}
