import type { ConnectionOptions } from "node:tls";

/** libpq's TLS parameters. */
export interface TlsParameters {
  readonly mode: Parameter;
  readonly rootCert: Parameter;
  readonly cert: Parameter;
  readonly key: Parameter;
}

/** The value of a parameter, and its name in messages. */
export interface Parameter {
  readonly name: string;
  /** Empty counts as not set. */
  readonly value: string | undefined;
}

/** pg's TLS options of a connection. */
export interface Tls {
  readonly ssl: false | ConnectionOptions;
  /** Whether the connection goes on in plain text when the server has no TLS. */
  readonly allowsPlainText: boolean;
}

const MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type Mode = (typeof MODES)[number];

/** libpq's name for the certificates that the system trusts. */
const SYSTEM = "system";

/**
 * Reads TLS parameters like libpq. `allow` counts as `prefer`: TLS first, and plain text only when the server has no
 * TLS; never plain text when a file is named.
 * @throws {TypeError} for parameters that cannot be honoured: an unknown mode, a file that cannot be read or used
 */
export function readTls({ mode, rootCert, cert, key }: TlsParameters): Tls {
  const isSystem = rootCert.value === SYSTEM;
  const chosen = readMode(mode) ?? (isSystem ? "verify-full" : "prefer");
  if (chosen === "disable") return { ssl: false, allowsPlainText: false };
  if (isSystem && chosen !== "verify-full") {
    throw new TypeError(
      `${rootCert.name}=${SYSTEM} needs ${mode.name}=verify-full; got ${mode.name}=${chosen}`,
    );
  }
  if (!cert.value !== !key.value) {
    const [given, missing] = cert.value ? [cert, key] : [key, cert];
    throw new TypeError(`${given.name} needs ${missing.name}; it is not set`);
  }
  const ca = isSystem ? undefined : (readFile(rootCert) ?? readDefaultRootCert());
  if (chosen === "verify-ca" && ca === undefined) {
    throw new TypeError(`${mode.name}=verify-ca needs ${rootCert.name}; it is not set`);
  }
  const ssl: ConnectionOptions = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert.value ? { cert: readFile(cert), key: readFile(key) } : {}),
    ...verification(chosen, ca !== undefined),
  };
  checkFiles(ssl, [rootCert, cert, key]);
  const namesFile = [rootCert, cert, key].some(({ value }) => value);
  const isOptional = chosen === "allow" || chosen === "prefer";
  return { ssl, allowsPlainText: isOptional && !namesFile };
}

function readMode({ name, value }: Parameter): Mode | undefined {
  if (!value) return undefined;
  const mode = MODES.find((each) => each === value);
  if (mode === undefined) {
    throw new TypeError(`${name} must be one of ${MODES.join(", ")}; got "${value}"`);
  }
  return mode;
}

/** Like in libpq, the modes that need no root certificate use one that is there. */
function verification(mode: Mode, hasRootCert: boolean): ConnectionOptions {
  if (mode === "verify-full") return {};
  return hasRootCert ? { checkServerIdentity: () => undefined } : { rejectUnauthorized: false };
}

function readFile({ name, value }: Parameter): string | undefined {
  if (!value) return undefined;
  try {
    // Not imported: that would slow down the start of every program for the few that use it.
    return process.getBuiltinModule("node:fs").readFileSync(value, "utf8");
  } catch (error) {
    throw new TypeError(`${name} must name a file that can be read; ${messageOf(error)}`);
  }
}

/** The root certificate at libpq's default path. */
function readDefaultRootCert(): string | undefined {
  const { homedir } = process.getBuiltinModule("node:os");
  const { APPDATA } = process.env;
  const { join } = process.getBuiltinModule("node:path");
  const folder =
    process.platform === "win32" && APPDATA
      ? join(APPDATA, "postgresql")
      : join(homedir(), ".postgresql");
  try {
    return readFile({ name: "", value: join(folder, "root.crt") });
  } catch {
    return undefined;
  }
}

/** Rejects a malformed certificate or key here: otherwise only the first connection would fail. */
function checkFiles(ssl: ConnectionOptions, files: readonly Parameter[]): void {
  const named = files.filter(({ value }) => value);
  if (named.length === 0) return;
  try {
    const { X509Certificate } = process.getBuiltinModule("node:crypto");
    // Node ignores a malformed root certificate; then no server would be trusted.
    if (typeof ssl.ca === "string") new X509Certificate(ssl.ca);
    process.getBuiltinModule("node:tls").createSecureContext(ssl);
  } catch (error) {
    const names = named.map(({ name }) => name).join(", ");
    throw new TypeError(`TLS cannot be set up with ${names}: ${messageOf(error)}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
