import fc from "fast-check";
import { Client } from "pg";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { readConnectionUrl } from "../../../src/storage/postgres/connection-url.js";
import { runs, SEED } from "../../fuzz.js";

beforeEach(() => {
  for (const name of [...Object.keys(process.env), "USER", "USERNAME"]) {
    if (/^(PG|USER)/.test(name)) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** What both give, or that both throw. */
function compare(url: string): void {
  const wanted = attempt(() => new Client(url));
  const read = attempt(() => readConnectionUrl(url));
  if (wanted === undefined || read === undefined) {
    expect(read, url).toBe(wanted);
    return;
  }
  const { host = "localhost", port = "5432", user, password } = read;
  expect({ host, port: Number.parseInt(port, 10), user, password }, url).toEqual({
    host: wanted.host,
    port: wanted.port,
    user: wanted.user ?? undefined,
    password: wanted.password ?? undefined,
  });
  expect(read.database ?? read.user, url).toBe(wanted.database ?? undefined);
}

function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

const text = fc.string({ maxLength: 8 });
const piece = fc.oneof(
  text.map((each) => encodeURIComponent(each)),
  text,
);
const optional = (prefix: string, part: fc.Arbitrary<string>) =>
  fc.oneof(
    fc.constant(""),
    part.map((each) => prefix + each),
  );
const parameter = fc
  .tuple(fc.constantFrom("user", "password", "host", "port", "db", "application_name"), piece)
  .map(([name, value]) => `${name}=${value}`);
const url = fc
  .tuple(
    fc.constantFrom("postgres://", "postgresql://", "pg://", "socket:", "socket://", "POSTGRES://"),
    fc.oneof(
      fc.constant(""),
      fc.tuple(piece, optional(":", piece)).map((parts) => `${parts.join("")}@`),
    ),
    fc.oneof(fc.constantFrom("", "h", "127.0.0.1", "[::1]", "%2Ftmp"), piece),
    optional(":", fc.integer({ min: 0, max: 99_999 }).map(String)),
    optional("/", piece),
    optional(
      "?",
      fc.array(parameter, { maxLength: 3 }).map((all) => all.join("&")),
    ),
  )
  .map((parts) => parts.join(""));

it.each([
  "/var/run/postgresql",
  "/var/run/postgresql db",
  "postgres://",
  "postgres://@/db",
  "postgres://user@/db",
  "postgres://us er:pass word@h/d b",
  "postgres://u:%zz@h/db",
  "postgres://u:p%20w@h/d%20b",
  "postgres://h/db?host=a&host=b&port=1&user=&password=",
])("reads a URL as pg does: %s", compare);

it("reads any URL as pg does", () => {
  fc.assert(fc.property(url, compare), { seed: SEED, numRuns: runs(3000) });
});
