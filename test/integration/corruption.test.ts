import * as fc from "fast-check";
import { Pool, type PoolClient, type PoolConfig } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { PostgresStorage } from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { type Corruption, TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
let proxy: TcpProxy;
/** What would have ended the process, had vitest not been there to catch it. */
const fatal: unknown[] = [];
let vitests: NodeJS.UncaughtExceptionListener[] = [];

beforeAll(async () => {
  database = await createDatabase();
  await database.storage().load("api");
  await database.closeStorages();
});
beforeEach(async () => {
  proxy = await TcpProxy.to(database.server.port);
  vitests = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => fatal.push(error));
});
afterEach(async () => {
  process.removeAllListeners("uncaughtException");
  for (const listener of vitests) process.on("uncaughtException", listener);
  await eventually(() => proxy.connections === 0);
  await proxy.close();
  expect(fatal.splice(0)).toEqual([]);
});
afterAll(() => database.drop());

/** Uses a storage for a while over the proxy, which corrupts what the server says. */
async function use(corrupt: Corruption, pool?: Pool): Promise<string[]> {
  proxy.corrupt = corrupt;
  const way = pool === undefined ? { connectionString: database.urlFor(proxy) } : { pool };
  const storage = new PostgresStorage({ ...way, queryTimeoutSeconds: 0.1 });
  const troubles: string[] = [];
  const note = (error: unknown) => {
    troubles.push(String(error));
  };
  storage.subscribe("api", { onRecord: () => {}, onError: note });
  for (let round = 0; round < 4; round++) {
    try {
      const { version } = await storage.load("api");
      const opening = { to: "OPEN", version, owner: "a", openSeconds: 0, failureCount: 1 } as const;
      await storage.change("api", { ...opening, byHand: true });
    } catch (error) {
      note(error);
    }
  }
  await storage.close();
  return troubles;
}

it("emits storageError, and ends no process, when pg cannot read an answer", async () => {
  // The kind of an authentication message, at its ninth byte, is one that pg throws at.
  const troubles = await use((chunk) => {
    const changed = Buffer.from(chunk);
    if (changed[0] === 0x52) changed[8] = 99;
    return changed;
  });
  expect(troubles.length).toBeGreaterThan(0);
  for (const trouble of troubles) expect(trouble).toMatch(/authenticationOk|did not answer/);
});

it("leaves no connection when client and server cannot agree on how to authenticate", async () => {
  const url = new URL(database.urlFor(proxy));
  url.password = "";
  const storage = new PostgresStorage({ connectionString: url.href });
  await expect(storage.load("api")).rejects.toThrow("SASL");
  await eventually(() => proxy.connections === 0);
  await storage.close();
});

it("ends no process and leaves no connection, whichever bytes of the answers are wrong", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      async (changes) => {
        await use((chunk) => {
          const changed = Buffer.from(chunk);
          for (const [at, byte] of changes) changed[at % changed.length] = byte;
          return changed;
        });
        await eventually(() => proxy.connections === 0);
        expect(fatal).toEqual([]);
      },
    ),
    { seed: SEED, numRuns: runs(25), endOnFailure: true },
  );
}, 60_000);

/** What a server says that is stopped. */
const FATAL = message("E", "SFATAL\0C57P01\0Mterminating connection\0\0");
const READY = message("Z", "I");

function message(type: string, content: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(4 + content.length);
  return Buffer.concat([Buffer.from(type), length, Buffer.from(content)]);
}

/** As an application may extend it. */
class PromisePool extends Pool {
  override connect(): Promise<PoolClient>;
  override connect(_: unknown): void;
  override connect(): Promise<PoolClient> {
    return super.connect();
  }
}

it.each([
  ["of its own", () => undefined],
  ["of the application", (options: PoolConfig) => new Pool(options)],
])(
  "ends no process when a server accepts a connection of a pool %s and ends it in one packet",
  async (_, make) => {
    const pool = make({ connectionString: database.urlFor(proxy) });
    pool?.on("error", () => {});
    const troubles = await use(
      (chunk) =>
        chunk.subarray(-READY.length).equals(READY) ? Buffer.concat([chunk, FATAL]) : chunk,
      pool,
    );
    expect(troubles.join()).toMatch(/terminating connection|not queryable/);
    await pool?.end();
  },
);

it("asks over a pool whose connect takes no callback", async () => {
  const pool = new PromisePool({ connectionString: database.url });
  const storage = new PostgresStorage({ pool });
  expect(await storage.getState("api")).toMatchObject({ state: "CLOSED" });
  await storage.close();
  await pool.end();
});
