/** An error of the database, or of the connection to it. Contains no secret. */
export class PostgresStorageError extends Error {
  override name = "PostgresStorageError";
  /** Postgres' SQLSTATE, or the system's code such as `ECONNREFUSED`. */
  readonly code: string | undefined;

  constructor(message: string, code?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function closedError(): PostgresStorageError {
  return new PostgresStorageError("This PostgresStorage is closed");
}

const SETUP = 'run "bulkman pg-setup" as a user who may create it';
const TABLE = "the table rc_circuit_breakers";

/** The cause of an SQLSTATE, and what to do about it. */
const ADVICE: { readonly [code: string]: string } = {
  "42P01": `${TABLE} is missing; ${SETUP}`,
  "3F000": `there is no schema for ${TABLE}; create one, or set search_path, then ${SETUP}`,
  "42703": `${TABLE} is of an older version; ${SETUP}`,
  "42P10": `${TABLE} has no primary key on resource_key and namespace; ${SETUP}`,
  "42501": `this user needs SELECT, INSERT and UPDATE on ${TABLE}; when it is missing or of an older version, ${SETUP}`,
  "25006": `the database is read-only; ${TABLE} must be writable, and when it is missing, ${SETUP}`,
  "53300": "the database has no connection left",
};

const PERMITS = "the table bulkman_permits";
const LEASE = "the function bulkman_lease";

/** The same, for what the message says of the permits. */
const ADVICE_ON_PERMITS: typeof ADVICE = {
  "42P01": `${PERMITS} is missing; ${SETUP}`,
  "42883": `${LEASE} is missing; ${SETUP}`,
  "42501": `this user needs SELECT, INSERT, UPDATE and DELETE on ${PERMITS}, and EXECUTE on ${LEASE}`,
};

function adviceOn(message: string, code = ""): string | undefined {
  const isOnPermits = /\bbulkman_(permits|lease)\b/.test(message);
  return (isOnPermits ? ADVICE_ON_PERMITS[code] : undefined) ?? ADVICE[code];
}

/** Whether the table or a function is missing, or of another version. */
export function isSchemaError(error: unknown): boolean {
  return (
    error instanceof PostgresStorageError &&
    /^(42P01|42703|42883|42P10|3F000)$/.test(error.code ?? "")
  );
}

/** Whether another transaction came between: the statement had no effect, and can be repeated. */
export function isSerializationFailure(error: unknown): boolean {
  return /^(40001|40P01)$/.test(codeOf(error) ?? "");
}

/**
 * Whether the database rejected a value, such as a name that its encoding cannot represent, or that a constraint of
 * the operator forbids: it may accept other values.
 */
export function isDataError(error: unknown): error is PostgresStorageError {
  return error instanceof PostgresStorageError && /^(22|23|54|P0)/.test(error.code ?? "");
}

/** Whether it is no answer of the database, but an `EPIPE` or the like: the connection may be lost. */
export function isConnectionError(error: unknown): boolean {
  return !/^(?!E)[0-9A-Z]{5}$/.test(codeOf(error) ?? "");
}

/** Whether the server is read-only, like a standby. */
export function isReadOnly(error: unknown): error is PostgresStorageError {
  return error instanceof PostgresStorageError && error.code === "25006";
}

/** Whether the server rejects `LISTEN`, like a standby, or a database that only resembles Postgres. */
export function isListenRejected(error: unknown): boolean {
  return /^(25006|0A000)$/.test(codeOf(error) ?? "");
}

/** The error for users: with advice, and with each secret replaced by `***`. */
export function toStorageError(error: unknown, secrets: readonly string[]): PostgresStorageError {
  const raw = messageOf(error);
  const message = redact(raw, secrets);
  if (error instanceof PostgresStorageError && message === raw) return error;
  const code = codeOf(error);
  const advice = error instanceof PostgresStorageError ? undefined : adviceOn(message, code);
  const text = advice === undefined ? message : `${message}: ${advice}`;
  // Only an error that is known to hold no secret is passed on as a whole.
  return new PostgresStorageError(text, code, message === raw ? { cause: error } : {});
}

export function redact(text: string, secrets: readonly string[]): string {
  let redacted = text;
  for (const secret of secrets) redacted = redacted.replaceAll(secret, "***");
  return redacted;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Node reports a host of several addresses as an AggregateError without a message.
  if (error.message === "" && error instanceof AggregateError) {
    return error.errors.map((each) => messageOf(each)).join("; ");
  }
  return error.message || error.name;
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const code: unknown = Reflect.get(error, "code");
  return typeof code === "string" ? code : undefined;
}
