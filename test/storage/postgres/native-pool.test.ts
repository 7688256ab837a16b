import { mkdtemp, rm, writeFile } from "node:fs/promises";
import Module, { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { PostgresStorage } from "../../../src/index.js";

const resolver = Module as unknown as {
  _resolveFilename: (request: string, ...others: unknown[]) => string;
};
const { _resolveFilename } = resolver;
let directory = "";

// pg-native is built with libpq, which not every machine has: pg.native is real, and what is under it is not.
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "bulkman-native-"));
  const stub = join(directory, "pg-native.cjs");
  await writeFile(stub, "module.exports = class PgNative {};");
  resolver._resolveFilename = (request, ...others) =>
    request === "pg-native" ? stub : _resolveFilename.call(Module, request, ...others);
});
afterEach(async () => {
  resolver._resolveFilename = _resolveFilename;
  await rm(directory, { recursive: true });
});

const pg = createRequire(import.meta.url)("pg") as typeof import("pg");

it("throws a TypeError that names pg.native for one of its pools", async () => {
  const Pool = pg.native?.Pool;
  if (Pool === undefined) throw new Error("pg.native is not there");
  const pool = new Pool({ connectionString: "postgres://app:hunter2@127.0.0.1:1/app" });
  const make = () => new PostgresStorage({ pool });
  expect(make).toThrow(TypeError);
  expect(make).toThrow(
    "pool must be a Pool of pg's JavaScript client; got one of pg.native, whose connections cannot LISTEN",
  );
  // Whatever options the pool comes in.
  expect(
    () => new PostgresStorage(Object.create(null, { pool: { get: () => pool, enumerable: true } })),
  ).toThrow("pg.native");
  await pool.end();
});

it("rejects every query when NODE_PG_FORCE_NATIVE gives pg native clients", async () => {
  // pg reads the variable once, when it is loaded: this is what it exports then.
  vi.doMock("pg", () => ({ Client: pg.native?.Client, Pool: pg.native?.Pool }));
  const storage = new PostgresStorage({ connectionString: "postgres://app@127.0.0.1:1/app" });
  await expect(storage.load("api")).rejects.toThrow(
    "NODE_PG_FORCE_NATIVE is set; a PostgresStorage needs pg's JavaScript client",
  );
  await storage.close();
  vi.doUnmock("pg");
});
