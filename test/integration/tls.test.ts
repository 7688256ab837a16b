import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type PostgresServer, startPostgres } from "../../scripts/postgres-server.mjs";
import { createStorage, PostgresStorage } from "../../src/index.js";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createAuthority } from "./certificates.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribed } from "./subscriber.js";

const authority = createAuthority("the authority of the server");
const other = createAuthority("another authority");

/** Takes TLS only, from users with a password and from one with a certificate. */
let server: PostgresServer;
/** Takes no TLS. */
let plain: TestDatabase;
let directory = "";
const opened: PostgresStorage[] = [];
const cleanUps: Array<() => Promise<unknown>> = [];

beforeAll(async () => {
  const { cert, key } = authority.issue({ hosts: ["localhost"] });
  server = await startPostgres({
    flags: ["-c", "ssl=on", "-c", "ssl_ca_file=root.crt"],
    files: {
      "server.crt": cert,
      "server.key": key,
      "root.crt": authority.cert,
      "pg_hba.conf": "hostssl all certified all cert\nhostssl all all all scram-sha-256\n",
    },
  });
  cleanUps.push(server.remove);
  plain = await createDatabase();
  cleanUps.push(plain.drop);
  directory = await mkdtemp(join(tmpdir(), "bulkman-tls-"));
  cleanUps.push(() => rm(directory, { recursive: true }));
  const client = authority.issue({ user: "certified" });
  await write("root.pem", authority.cert);
  await write("other.pem", other.cert);
  await write("client.pem", client.cert);
  await write("client.key", client.key);
  await write("none.pem", "no certificate");
  const admin = new Client({
    connectionString: server.url.replace("sslmode=disable", "sslmode=no-verify"),
  });
  await admin.connect();
  await admin.query(`${SCHEMA_SQL}
    CREATE ROLE certified LOGIN; GRANT ALL ON rc_circuit_breakers TO certified`);
  await admin.end();
});
afterAll(() => Promise.all(cleanUps.map((cleanUp) => cleanUp())));

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^(RC_|PG)/.test(name)) vi.stubEnv(name, undefined);
  }
  // The user who runs the tests may have a root certificate there.
  vi.stubEnv("HOME", directory);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(opened.splice(0).map((storage) => storage.close()));
});

async function write(name: string, content: string): Promise<void> {
  await writeFile(join(directory, name), content);
}

const file = (name: string) => join(directory, name);

type Variables = Record<string, string>;

/** The storage that the environment asks for; patient with a busy machine. */
function open(port: number, database: string, password: string, variables: Variables) {
  const common = { RC_DB_HOST: "localhost", RC_DB_PORT: String(port), RC_DB_NAME: database };
  const all = { ...common, RC_DB_USER: "postgres", RC_DB_PASSWORD: password, ...variables };
  for (const [name, value] of Object.entries(all)) {
    vi.stubEnv(name, /^\w+\.(pem|key)$/.test(value) ? file(value) : value);
  }
  expect(createStorage()).toBeInstanceOf(PostgresStorage);
  const storage = new PostgresStorage({ queryTimeoutSeconds: 20 });
  opened.push(storage);
  return storage;
}
const openTls = (variables: Variables) => open(server.port, "postgres", server.password, variables);
const openPlain = (variables: Variables) =>
  open(plain.server.port, plain.name, plain.server.password, variables);

/** "CLOSED" when the circuit could be read, else why not. */
async function outcome(storage: PostgresStorage): Promise<string> {
  return storage.load("api").then(
    ({ state }) => state,
    (error: Error) => error.message,
  );
}

describe("a server that takes TLS only", () => {
  it.each<[string, Variables]>([
    ["no mode", {}],
    ["allow", { RC_DB_SSLMODE: "allow" }],
    ["prefer", { RC_DB_SSLMODE: "prefer" }],
    ["require", { RC_DB_SSLMODE: "require" }],
    ["require, by libpq's own variable", { PGSSLMODE: "require" }],
    [
      "require, with the server's authority",
      { RC_DB_SSLMODE: "require", RC_DB_SSLROOTCERT: "root.pem" },
    ],
    ["verify-ca", { RC_DB_SSLMODE: "verify-ca", RC_DB_SSLROOTCERT: "root.pem" }],
    [
      "verify-ca, under a name that the certificate does not have",
      { RC_DB_SSLMODE: "verify-ca", RC_DB_SSLROOTCERT: "root.pem", RC_DB_HOST: "127.0.0.1" },
    ],
    ["verify-full", { RC_DB_SSLMODE: "verify-full", RC_DB_SSLROOTCERT: "root.pem" }],
    [
      "a certificate instead of a password",
      {
        RC_DB_SSLMODE: "verify-full",
        RC_DB_SSLROOTCERT: "root.pem",
        RC_DB_SSLCERT: "client.pem",
        RC_DB_SSLKEY: "client.key",
        RC_DB_USER: "certified",
        RC_DB_PASSWORD: "",
      },
    ],
  ])("is reached with %s", async (_, variables) => {
    expect(await outcome(openTls(variables))).toBe("CLOSED");
  });

  it.each<[string, Variables, RegExp]>([
    ["disable", { RC_DB_SSLMODE: "disable" }, /no encryption/],
    [
      "require, and another authority",
      { RC_DB_SSLMODE: "require", RC_DB_SSLROOTCERT: "other.pem" },
      /certificate/,
    ],
    [
      "verify-ca, and another authority",
      { RC_DB_SSLMODE: "verify-ca", RC_DB_SSLROOTCERT: "other.pem" },
      /certificate/,
    ],
    ["verify-full, and no authority", { RC_DB_SSLMODE: "verify-full" }, /certificate/],
    ["verify-full, and those of the system", { RC_DB_SSLROOTCERT: "system" }, /certificate/],
    [
      "verify-full, and a name that the certificate does not have",
      { RC_DB_SSLMODE: "verify-full", RC_DB_SSLROOTCERT: "root.pem", RC_DB_HOST: "127.0.0.1" },
      /does not match certificate's altnames/,
    ],
  ])("is not reached with %s", async (_, variables, reason) => {
    expect(await outcome(openTls(variables))).toMatch(reason);
  });

  it("is reached by RC_DB_DSN, whose TLS means what it means to libpq, before all others", async () => {
    const address = `postgres:${encodeURIComponent(server.password)}@localhost:${server.port}`;
    const dsn = `postgres://${address}/postgres?application_name=service`;
    const others = { RC_DB_HOST: "nowhere", RC_DB_NAME: "nothing", RC_DB_USER: "nobody" };
    const outcomeOf = (parameters: string, variables: Variables = {}) =>
      outcome(openTls({ ...others, RC_DB_DSN: dsn + parameters, ...variables }));
    expect(await outcomeOf("&sslmode=require")).toBe("CLOSED");
    expect(await outcomeOf("")).toBe("CLOSED");
    expect(await outcomeOf("&sslmode=disable")).toMatch(/no encryption/);
    const full = `&sslmode=verify-full&sslrootcert=${encodeURIComponent(file("root.pem"))}`;
    expect(await outcomeOf(full)).toBe("CLOSED");
    // What the URL leaves out is as the variables say.
    const strict = { RC_DB_SSLMODE: "verify-full" };
    expect(await outcomeOf("", strict)).toMatch(/certificate/);
    expect(await outcomeOf("", { ...strict, RC_DB_SSLROOTCERT: "root.pem" })).toBe("CLOSED");
    expect(await outcomeOf("&sslmode=require", strict)).toBe("CLOSED");
  });

  it("receives changes over TLS, too", async () => {
    const variables = { RC_DB_SSLMODE: "verify-full", RC_DB_SSLROOTCERT: "root.pem" };
    const storage = openTls(variables);
    const { heard } = await subscribed(storage, "heard");
    const { version } = await storage.load("heard");
    const change = { version, owner: "a", openSeconds: 9, failureCount: 1 };
    await openTls(variables).change("heard", { to: "OPEN", ...change });
    await eventually(() => heard.some(({ state }) => state === "OPEN"));
  });
});

describe("a server that takes no TLS", () => {
  it.each<[string, Variables]>([
    ["no mode", {}],
    ["disable", { RC_DB_SSLMODE: "disable" }],
    ["allow", { RC_DB_SSLMODE: "allow" }],
    ["prefer", { RC_DB_SSLMODE: "prefer" }],
    ["prefer, by libpq's own variable", { PGSSLMODE: "prefer" }],
  ])("is reached in plain text with %s", async (_, variables) => {
    const storage = openPlain(variables);
    const { heard } = await subscribed(storage, "api");
    const { version } = await storage.load("api");
    await openPlain(variables).change("api", { to: "CLOSED", version, owner: "a", byHand: true });
    await plain.edit("api", "state = 'OPEN'");
    await eventually(() => heard.some(({ state }) => state === "OPEN"));
    await plain.edit("api", "state = 'CLOSED'");
  });

  it.each<[string, Variables]>([
    ["require", { RC_DB_SSLMODE: "require" }],
    ["verify-ca", { RC_DB_SSLMODE: "verify-ca", RC_DB_SSLROOTCERT: "root.pem" }],
    ["verify-full", { RC_DB_SSLMODE: "verify-full", RC_DB_SSLROOTCERT: "root.pem" }],
    ["prefer and an authority", { RC_DB_SSLMODE: "prefer", RC_DB_SSLROOTCERT: "root.pem" }],
    ["an authority and no mode", { RC_DB_SSLROOTCERT: "root.pem" }],
  ])("gets nothing in plain text with %s", async (_, variables) => {
    expect(await outcome(openPlain(variables))).toBe("The server does not support SSL connections");
  });
});

describe("TLS that cannot be honoured", () => {
  it.each<[string, Variables, string]>([
    [
      "an unknown mode",
      { RC_DB_SSLMODE: "full" },
      'RC_DB_SSLMODE must be one of disable, allow, prefer, require, verify-ca, verify-full; got "full"',
    ],
    [
      "no authority to check by",
      { RC_DB_SSLMODE: "verify-ca" },
      "RC_DB_SSLMODE=verify-ca needs RC_DB_SSLROOTCERT; it is not set",
    ],
    [
      "a weak mode with the system's authorities",
      { RC_DB_SSLMODE: "require", RC_DB_SSLROOTCERT: "system" },
      "RC_DB_SSLROOTCERT=system needs RC_DB_SSLMODE=verify-full; got RC_DB_SSLMODE=require",
    ],
    [
      "a missing file",
      { RC_DB_SSLMODE: "verify-full", RC_DB_SSLROOTCERT: "missing.pem" },
      "RC_DB_SSLROOTCERT must name a file that can be read; ENOENT",
    ],
    [
      "a file without a certificate",
      { RC_DB_SSLMODE: "verify-full", RC_DB_SSLROOTCERT: "none.pem" },
      "TLS cannot be set up with RC_DB_SSLROOTCERT: ",
    ],
    [
      "a certificate without its key",
      { RC_DB_SSLCERT: "client.pem" },
      "RC_DB_SSLCERT needs RC_DB_SSLKEY; it is not set",
    ],
    [
      "a key without its certificate",
      { RC_DB_SSLKEY: "client.key" },
      "RC_DB_SSLKEY needs RC_DB_SSLCERT; it is not set",
    ],
    [
      "a file that is no key",
      { RC_DB_SSLCERT: "client.pem", RC_DB_SSLKEY: "none.pem" },
      "TLS cannot be set up with RC_DB_SSLCERT, RC_DB_SSLKEY: ",
    ],
    [
      "an unknown mode in RC_DB_DSN",
      { RC_DB_DSN: "postgres://h/db?sslmode=full" },
      "sslmode of RC_DB_DSN must be one of",
    ],
    ["an unknown mode of pg's", { RC_DB_HOST: "", PGSSLMODE: "full" }, "PGSSLMODE must be one of"],
  ])("is an error: %s", (_, variables, message) => {
    const all = { RC_DB_HOST: "localhost", ...variables };
    for (const [name, value] of Object.entries(all)) {
      vi.stubEnv(name, /^\w+\.(pem|key)$/.test(value) ? file(value) : value);
    }
    expect(() => new PostgresStorage()).toThrow(TypeError);
    expect(() => new PostgresStorage()).toThrow(message);
  });
});
