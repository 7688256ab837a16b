import { PostgresStorageError } from "./errors.js";

/** The oldest major version of PostgreSQL that understands the SQL of this library. */
const OLDEST = 12;

/** syntax_error and undefined_function: the answers of a server that is too old for the SQL. */
const NOT_UNDERSTOOD = /^(42601|42883)$/;

const FEATURE_NOT_SUPPORTED = "0A000";

type Query = (statement: string) => Promise<ReadonlyArray<ReadonlyArray<string | null>>>;

/** @throws {PostgresStorageError} when the server is too old */
export async function checkVersion(query: Query): Promise<void> {
  const [row] = await query("SHOW server_version");
  const [version, major] = /^(\d+)[\d.]*/.exec(row?.[0] ?? "") ?? [];
  if (version === undefined || Number(major) >= OLDEST) return;
  throw new PostgresStorageError(
    `PostgreSQL ${version} is too old; version ${OLDEST} or newer is needed`,
    FEATURE_NOT_SUPPORTED,
  );
}

/** The error of a server that is too old, if that caused `error`; else `error`. */
export async function explainByVersion(error: unknown, query: Query): Promise<unknown> {
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  if (typeof code !== "string" || !NOT_UNDERSTOOD.test(code)) return error;
  try {
    await checkVersion(query);
  } catch (reason) {
    // Not a failure of the query for the version.
    if (reason instanceof PostgresStorageError) return reason;
  }
  return error;
}
