/** The parts of a connection URL; missing ones are `undefined`. */
export interface ConnectionUrl {
  readonly host: string | undefined;
  readonly port: string | undefined;
  readonly database: string | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly parameters: ReadonlyMap<string, string>;
}

/**
 * Parses a connection URL like pg, which is not loaded before the first query.
 * @throws {Error} for a URL, or a file that it names, that pg could not read
 */
export function readConnectionUrl(text: string): ConnectionUrl {
  if (text.startsWith("/")) {
    const [host, database] = text.split(" ");
    return { ...NOTHING, host, database };
  }
  const { url, hasHost } = parse(text);
  const parameters = new Map(url.searchParams);
  for (const name of ["sslcert", "sslkey", "sslrootcert"]) {
    const file = parameters.get(name);
    if (file) process.getBuiltinModule("node:fs").readFileSync(file);
  }
  const user = parameters.get("user") || decodeURIComponent(url.username) || undefined;
  const password = parameters.get("password") || decodeURIComponent(url.password) || undefined;
  if (url.protocol === "socket:") {
    return {
      host: decodeURI(url.pathname) || undefined,
      port: parameters.get("port") || undefined,
      database: url.searchParams.get("db") || undefined,
      user,
      password,
      parameters,
    };
  }
  const hostname = hasHost ? url.hostname.replace(/^\[(.+)\]$/, "$1") : "";
  const host = parameters.get("host");
  // With a host parameter, pg takes an encoded socket path for a part of the database's name.
  if (host && /^%2f/i.test(hostname)) url.pathname = hostname + url.pathname;
  const path = url.pathname.slice(1);
  return {
    host: host || decodeURIComponent(hostname) || undefined,
    port: parameters.get("port") || url.port || undefined,
    database: decodeURI(path) || undefined,
    user,
    password,
    parameters,
  };
}

const NOTHING = {
  host: undefined,
  port: undefined,
  database: undefined,
  user: undefined,
  password: undefined,
  parameters: new Map<string, string>(),
};

/** Like pg: encodes spaces, and accepts a URL without a host after the user. */
function parse(text: string): { url: URL; hasHost: boolean } {
  const encoded = / |%[^a-f0-9]|%[a-f0-9][^a-f0-9]/i.test(text)
    ? encodeURI(text).replace(/%25(\d\d)/g, "%$1")
    : text;
  if (URL.canParse(encoded)) return { url: new URL(encoded), hasHost: true };
  return { url: new URL(encoded.replace("@/", "@host/")), hasHost: false };
}
