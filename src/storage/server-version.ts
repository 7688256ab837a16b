import { PostgresStorageError } from "./postgres-errors.js";

/** The oldest major version of PostgreSQL whose SQL is enough. */
const OLDEST = 12;

/** syntax_error and undefined_function: what a server says to SQL that it is too old for. */
const NOT_UNDERSTOOD = /^(42601|42883)$/;

/** The reason for an error, when that is the age of the server; else the error. */
export async function explainByVersion(
  error: unknown,
  ask: (statement: string) => Promise<ReadonlyArray<ReadonlyArray<string | null>>>,
): Promise<unknown> {
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  if (typeof code !== "string" || !NOT_UNDERSTOOD.test(code)) return error;
  try {
    const [row] = await ask("SHOW server_version");
    const [version = "", major = ""] = /^(\d+)[\d.]*/.exec(row?.[0] ?? "") ?? [];
    if (version === "" || Number(major) >= OLDEST) return error;
    return new PostgresStorageError(
      `PostgreSQL ${version} is too old; version ${OLDEST} or newer is needed`,
      code,
      { cause: error },
    );
  } catch {
    return error;
  }
}
