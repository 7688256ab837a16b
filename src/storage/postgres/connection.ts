import type { ClientConfig } from "pg";
import { kindOf } from "../../common/describe.js";
import { type ConnectionUrl, readConnectionUrl } from "./connection-url.js";
import { redact } from "./errors.js";
import { type Parameter, readTls, type Tls } from "./tls.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** pg's options, and one for the clients of a storage's own pool. */
export interface ConnectionConfig extends ClientConfig {
  /** Whether the connection goes on in plain text when the server has no TLS. */
  readonly allowsPlainText?: boolean;
}

/**
 * Creates pg's options: from the connection string, else from `RC_DB_DSN`, else from `RC_DB_HOST` and the others, else
 * from pg's own `PG*`.
 * @param name the connection string's name in messages
 * @throws {TypeError} for a malformed URL, a password that is not encoded, and TLS parameters that cannot be honoured
 * @throws {RangeError} for an invalid `RC_DB_PORT`
 */
export function clientConfig(
  connectionString: string | undefined,
  env: Environment = process.env,
  name = "connectionString",
): ConnectionConfig {
  const common = { keepAlive: true, fallback_application_name: "bulkman" };
  if (connectionString !== undefined) {
    const { parameters } = readUrl(name, connectionString);
    const tls = TLS_PARAMETERS.some((name) => parameters.has(name)) ? {} : readPgSslMode(env);
    return { connectionString, ...tls, ...common };
  }
  const { RC_DB_DSN, RC_DB_HOST } = env;
  if (RC_DB_DSN) return { ...fromDsn(RC_DB_DSN, env), ...common };
  if (RC_DB_HOST) return { ...fromVariables(RC_DB_HOST, env), ...common };
  checkNames(env, ["PGHOST", "PGDATABASE", "PGUSER"]);
  return { ...readPgSslMode(env), ...common };
}

/** @throws {TypeError} that shows no part of the URL */
function readUrl(name: string, given: unknown): ConnectionUrl {
  // pg takes anything else, such as "host=… password=…", for a database's name, and shows it in errors.
  if (typeof given !== "string" || !CONNECTION_URL.test(given)) {
    throw new TypeError(
      `${name} must be a URL such as "postgres://user@host:5432/database"; got ` +
        (typeof given === "string" ? "another string" : kindOf(given)),
    );
  }
  if (isAmbiguous(given)) {
    throw new TypeError(
      `${name} can be read in two ways: percent-encode user and password, "/" as %2F, "?" as %3F, "#" as %23 and "@" as %40`,
    );
  }
  try {
    return readConnectionUrl(given);
  } catch (error) {
    const reason = redact(error instanceof Error ? error.message : "", [given]);
    throw new TypeError(`${name} cannot be read: ${reason}`);
  }
}

/** A host's URL, or a Unix socket's, or the path of one. */
const CONNECTION_URL = /^((postgres|postgresql|pg):\/\/|socket:|\/)/i;
const PARTS =
  /^\w+:(\/\/(?<authority>[^/?#]*))?(?<path>[^?#]*)(\?(?<query>[^#]*))?(#(?<fragment>.*))?$/s;

/**
 * Whether a "/", "?" or "#" in a password, not encoded, may have ended the authority too early. The rest of the password,
 * up to its "@", would count as the database's name, and appear in messages. Without an authority there is no
 * password; a parameter of the query may have an "@" in its value.
 */
function isAmbiguous(url: string): boolean {
  const { authority, path, query = "", fragment = "" } = PARTS.exec(url)?.groups ?? {};
  if (authority && path?.includes("@")) return true;
  const isBroken = (parameter: string) => parameter.includes("@") && !/^\w+=/.test(parameter);
  return fragment.includes("@") || query.split("&").some(isBroken);
}

const TLS_PARAMETERS = ["ssl", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/** Like libpq: pg reads some of the TLS parameters differently. */
function fromDsn(dsn: string, env: Environment): ConnectionConfig {
  const { parameters, host } = readUrl("RC_DB_DSN", dsn);
  const parameter = (name: string, otherwise: Parameter): Parameter =>
    parameters.has(name)
      ? { name: `${name} of RC_DB_DSN`, value: parameters.get(name) }
      : otherwise;
  const mode = parameter("sslmode", parameter("ssl", variable(env, "SSLMODE")));
  const tls = readTls({
    // JDBC and libpq write ssl=true for sslmode=require.
    mode:
      mode.name.startsWith("ssl of") && mode.value === "true"
        ? { ...mode, value: "require" }
        : mode,
    rootCert: parameter("sslrootcert", variable(env, "SSLROOTCERT")),
    cert: parameter("sslcert", variable(env, "SSLCERT")),
    key: parameter("sslkey", variable(env, "SSLKEY")),
  });
  return { connectionString: withoutTls(dsn), ...forHost(host ?? env["PGHOST"], tls) };
}

function withoutTls(url: string): string {
  const [start = "", query] = url.split(/\?(.*)/s);
  if (query === undefined) return url;
  const kept = query
    .split("&")
    .filter((part) => !TLS_PARAMETERS.includes(part.split("=")[0] ?? ""));
  return kept.length === 0 ? start : `${start}?${kept.join("&")}`;
}

function fromVariables(host: string, env: Environment): ConnectionConfig {
  checkNames(env, ["RC_DB_HOST", "RC_DB_NAME", "RC_DB_USER"]);
  const { RC_DB_PORT, RC_DB_NAME, RC_DB_USER, RC_DB_PASSWORD } = env;
  const port = Number(RC_DB_PORT || 5432);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new RangeError(`RC_DB_PORT must be an integer from 1 to 65535; got "${RC_DB_PORT}"`);
  }
  const tls = readTls({
    mode: variable(env, "SSLMODE"),
    rootCert: variable(env, "SSLROOTCERT"),
    cert: variable(env, "SSLCERT"),
    key: variable(env, "SSLKEY"),
  });
  return {
    host,
    port,
    database: RC_DB_NAME || "resilient_circuit_db",
    user: RC_DB_USER || "postgres",
    ...(RC_DB_PASSWORD ? { password: RC_DB_PASSWORD } : {}),
    ...forHost(host, tls),
  };
}

/** A URL may contain a password, and names appear in messages. */
function checkNames(env: Environment, variables: readonly string[]): void {
  for (const name of variables) {
    if (env[name]?.includes("://")) throw new TypeError(`${name} must be a name, not a URL`);
  }
}

/** An `RC_DB_` variable, or libpq's own of that name. */
function variable(env: Environment, suffix: string): Parameter {
  const [own, libpqs] = [`RC_DB_${suffix}`, `PG${suffix}`];
  if (env[own] || !env[libpqs]) return { name: own, value: env[own] };
  // Only pg knows no-verify.
  const value = env[libpqs] === "no-verify" ? "require" : env[libpqs];
  return { name: libpqs, value };
}

/** On a Unix socket there is no TLS, whatever the mode. */
function forHost(host: string | undefined, tls: Tls): ConnectionConfig {
  return host?.startsWith("/") ? { ssl: false } : tls;
}

/** Rejects a `PGSSLMODE` that pg does not know: pg would take it for `disable`. */
function readPgSslMode(env: Environment): ConnectionConfig {
  const { PGSSLMODE: value } = env;
  if (!value || /^(disable|prefer|require|verify-ca|verify-full|no-verify)$/.test(value)) return {};
  const unset = { name: "", value: undefined };
  const mode = { name: "PGSSLMODE", value };
  return forHost(env["PGHOST"], readTls({ mode, rootCert: unset, cert: unset, key: unset }));
}

/** The strings that must not appear in a message. */
export function secretsOf(config: ClientConfig): string[] {
  const { connectionString, password = process.env["PGPASSWORD"] } = config;
  const secrets = new Set<string>();
  if (connectionString !== undefined) {
    secrets.add(connectionString);
    const inside = passwordIn(connectionString);
    if (inside !== undefined) secrets.add(inside).add(encodeURIComponent(inside));
  }
  if (typeof password === "string") secrets.add(password);
  secrets.delete("");
  return [...secrets];
}

function passwordIn(connectionString: string): string | undefined {
  try {
    return readConnectionUrl(connectionString).password;
  } catch {
    // An application's pool may have a malformed one. It cannot connect.
    return undefined;
  }
}
