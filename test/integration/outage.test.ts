import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startPostgres } from "../../scripts/postgres-server.mjs";
import type { PostgresStorageOptions } from "../../src/index.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { CIRCUIT_OPEN } from "../helpers/rejections.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { join } from "./member.js";
import { TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
let proxy: TcpProxy;
let name = "";
let tests = 0;
const open: Array<{ close(): Promise<unknown> }> = [];

beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(async () => {
  proxy = await TcpProxy.to(database.server.port);
  name = `api ${tests++}`;
});
afterEach(async () => {
  for (const { close } of open.splice(0).reverse()) await close();
  await eventually(() => proxy.connections === 0);
  await proxy.close();
});
afterAll(() => database.drop());

async function member(options: PostgresStorageOptions, settings = {}) {
  const joined = await join({ name, ...settings }, { queryTimeoutSeconds: 5, ...options });
  open.push({ close: joined.leave });
  return joined;
}

/** One whose way to the database is bad at times, and one whose way is good. */
async function pair(settings = {}) {
  const near = await member({ connectionString: database.url }, settings);
  const far = await member(
    { connectionString: database.urlFor(proxy), queryTimeoutSeconds: 0.3 },
    settings,
  );
  await eventually(() => proxy.connections >= 2);
  return { near, far };
}

const OUTAGES: ReadonlyArray<{ what: string; begin: () => unknown; end: () => unknown }> = [
  {
    what: "refuses connections",
    begin: () => {
      proxy.refusing = true;
      proxy.cut();
    },
    end: () => {
      proxy.refusing = false;
    },
  },
  {
    what: "hangs after accepting",
    begin: () => {
      proxy.cut();
      proxy.stalled = true;
    },
    end: () => {
      proxy.cut();
      proxy.stalled = false;
    },
  },
  {
    what: "goes silent on open connections",
    begin: () => {
      proxy.stalled = true;
    },
    end: () => {
      proxy.stalled = false;
    },
  },
  {
    what: "drops connections in the middle",
    begin: () => {
      proxy.corrupt = (chunk) => {
        proxy.cut();
        return chunk.subarray(0, 3);
      };
    },
    end: () => {
      proxy.corrupt = undefined;
    },
  },
  {
    what: "says things that cannot be understood",
    begin: () => {
      proxy.corrupt = (chunk) => Buffer.from(chunk.map((byte) => byte ^ 0x55));
    },
    end: () => {
      proxy.corrupt = undefined;
    },
  },
  {
    what: "is slow by a second",
    begin: () => {
      proxy.delayMs = 1000;
    },
    end: () => {
      proxy.delayMs = 0;
    },
  },
  {
    what: "answers with errors",
    begin: () => database.query("ALTER TABLE rc_circuit_breakers RENAME COLUMN state TO status"),
    end: () => database.query("ALTER TABLE rc_circuit_breakers RENAME COLUMN status TO state"),
  },
];

describe.each(OUTAGES)("a database that $what", ({ begin, end }) => {
  it("stops no call and no circuit, emits one error, and is caught up with", async () => {
    const { near, far } = await pair();
    await begin();
    for (let call = 0; call < 50; call++) await passCalls(far.bulkhead, 1);
    await failCalls(far.bulkhead, 2);
    for (let call = 0; call < 50; call++) {
      await expect(far.bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    }
    await eventually(() => far.troubles.length > 0);
    // Long enough for several tries.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(far.troubles).toHaveLength(1);
    expect(far.troubles.join()).not.toContain(database.server.password);
    expect(far.status()).toBe("OPEN");
    await end();
    await eventually(() => near.status() === "OPEN", { seconds: 40 });
    await expect(near.bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    // And receives changes again.
    near.bulkhead.breaker?.close();
    await eventually(() => far.status() === "CLOSED", { seconds: 40 });
  }, 60_000);
});

describe("a database that is restarted under load", () => {
  it("is caught up with, without a call that fails for it", async () => {
    const own = await startPostgres();
    open.push({ close: own.remove });
    const there = await createDatabase(own);
    const [a, b] = [
      await member({ connectionString: there.url }),
      await member({ connectionString: there.url }),
    ];
    let failed = 0;
    let calls = 0;
    let isLoaded = true;
    const load = async () => {
      while (isLoaded) {
        calls++;
        await passCalls(a.bulkhead, 1).catch(() => failed++);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const loading = load();
    await own.stop();
    await eventually(() => a.troubles.length > 0 && b.troubles.length > 0);
    const before = calls;
    await eventually(() => calls > before + 100);
    await own.start();
    isLoaded = false;
    await loading;
    expect(failed).toBe(0);
    await failCalls(a.bulkhead, 2);
    await eventually(() => b.status() === "OPEN", { seconds: 40 });
    expect([a.troubles.length, b.troubles.length]).toEqual([1, 1]);
  }, 60_000);
});

describe("a database that has no connection left", () => {
  it("is done without, with one storageError", async () => {
    const own = await createDatabase();
    open.push({ close: own.drop });
    await own.query("CREATE ROLE few LOGIN PASSWORD 'pass-word' CONNECTION LIMIT 0");
    await own.query("GRANT ALL ON SCHEMA public TO few");
    const { bulkhead, troubles, status } = await member({
      connectionString: own.urlFor({ user: "few", password: "pass-word" }),
    });
    await failCalls(bulkhead, 2);
    expect(status()).toBe("OPEN");
    await eventually(() => troubles.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(troubles).toEqual([
      'PostgresStorageError: too many connections for role "few": the database has no connection left',
    ]);
    await own.query("ALTER ROLE few CONNECTION LIMIT 10");
    await eventually(async () => {
      const [row] = await own
        .query<{ state: string }>("SELECT state FROM rc_circuit_breakers")
        .catch(() => []);
      return row?.state === "OPEN";
    });
    await bulkhead.shutdown();
    await open[1]?.close();
    await own.query("DROP OWNED BY few CASCADE; DROP ROLE few");
  }, 30_000);
});

describe("a storage that is closed", () => {
  it.each(["works", "hangs"])(
    "in the middle of everything lets go of all, when the database %s",
    async (how) => {
      const storage = database.storage({ connectionString: database.urlFor(proxy) });
      const troubles: unknown[] = [];
      const { version } = await storage.load(name);
      storage.subscribe(name, { onRecord: () => {}, onError: (error) => troubles.push(error) });
      await eventually(() => proxy.connections >= 2);
      proxy.stalled = how === "hangs";
      const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
      const questions = [
        storage.load(name),
        storage.change(name, change),
        storage.getState(name),
        storage.load(`${name} b`),
      ].map((question) => question.then(String, String));
      await storage.close();
      const closed = "PostgresStorageError: This PostgresStorage is closed";
      expect(await Promise.all(questions)).toEqual([closed, closed, closed, closed]);
      await expect(storage.load(name)).rejects.toThrow("is closed");
      await eventually(() => proxy.connections === 0);
      expect(troubles).toEqual([]);
    },
  );

  it("leaves a bulkhead working by itself", async () => {
    const { storage, bulkhead, troubles } = await member({ connectionString: database.url });
    await storage.close();
    await passCalls(bulkhead, 3);
    await failCalls(bulkhead, 2);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    await eventually(() => troubles.length === 1);
    expect(troubles).toEqual(["PostgresStorageError: This PostgresStorage is closed"]);
  });
});
