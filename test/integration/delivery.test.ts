import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ChangeHooks } from "../../src/storage/postgres/change-source.js";
import { PostgresListener } from "../../src/storage/postgres/listener.js";
import type { ListenerOptions } from "../../src/storage/postgres/listening.js";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { subscribe, subscribed } from "./subscriber.js";
import { TcpProxy } from "./tcp-proxy.js";

let database: TestDatabase;
let proxy: TcpProxy;
let name = "";
let tests = 0;
const listeners: PostgresListener[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(async () => {
  name = `api ${tests++}`;
  proxy = await TcpProxy.to(database.server.port);
});
afterEach(async () => {
  for (const listener of listeners.splice(0)) listener.stop();
  await database.closeStorages();
  await proxy.close();
});
afterAll(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);
const isolate = () => database.edit(name, "state = 'OPEN', open_until = now() + '5 min'");
const close = () => database.edit(name, "state = 'CLOSED'");

const notify = async (channel: string, payload: string) => {
  await database.query("SELECT pg_notify($1, $2)", [channel, payload]);
};

/** A listener through the proxy, and what it reports. */
function listen(hooks: Partial<ChangeHooks> = {}, options: Partial<ListenerOptions> = {}) {
  const seen = {
    rereads: 0,
    hearing: 0,
    delivered: 0,
    undelivered: [] as string[],
    troubles: [] as string[],
  };
  const listener = new PostgresListener(
    {
      connect: () => new Client({ connectionString: database.urlFor(proxy) }),
      namespace: "default",
      queryTimeoutMs: 10_000,
      ...options,
    },
    {
      prepare: async () => {},
      onChange: () => {},
      schema: () => "public",
      reread: async () => ++seen.rereads > 0,
      onInterrupted: (error) => seen.troubles.push(String(error)),
      onSynced: () => seen.hearing++,
      onUndelivered: ({ message }) => seen.undelivered.push(message),
      onDelivered: () => seen.delivered++,
      notify,
      ...hooks,
    },
  );
  listeners.push(listener);
  listener.start();
  return seen;
}

describe("a listening connection", () => {
  it("is replaced by polling when no notices arrive on it, and reported once to each subscriber with advice", async () => {
    await open().load(name);
    proxy.muted = true;
    const storage = open({ connectionString: database.urlFor(proxy) });
    const { heard, troubles } = await subscribed(storage, name);
    await isolate();
    await eventually(() => heard.at(-1)?.state === "OPEN");
    await close();
    await eventually(() => heard.at(-1)?.state === "CLOSED");
    const late = subscribe(storage, name);
    await eventually(() => late.troubles.length > 0);
    // A second connection without notices is not reported again.
    const { accepted } = proxy;
    proxy.cut();
    await eventually(() => proxy.accepted > accepted);
    await isolate();
    await eventually(() => heard.at(-1)?.state === "OPEN");
    // Read when the new connection has failed its test.
    await close();
    await eventually(() => heard.at(-1)?.state === "CLOSED");
    const aboutNotices = (error: unknown) => String(error).includes("Notices do not arrive");
    for (const all of [troubles, late.troubles]) {
      expect(all.filter(aboutNotices).map(String)).toEqual([
        expect.stringMatching(/pooler: set pollSeconds, or give the storage a direct connection/),
      ]);
    }
  });

  it("is not relied on until a new one receives notices, which ends polling", async () => {
    proxy.muted = true;
    const seen = listen({}, { pollMs: 10 });
    await eventually(() => seen.undelivered.length === 1);
    const { rereads } = seen;
    await eventually(() => seen.rereads > rereads + 5);
    expect(seen.delivered).toBe(0);
    proxy.muted = false;
    proxy.cut();
    await eventually(() => seen.delivered === 1);
    const last = seen.rereads;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(seen.rereads).toBeLessThanOrEqual(last + 1);
    expect(seen.undelivered).toHaveLength(1);
  });

  it("is relied on again, and polling ends, when the notice of its test comes late", async () => {
    const sent: Array<() => Promise<void>> = [];
    const seen = listen(
      { notify: async (...notice) => void sent.push(() => notify(...notice)) },
      { pollMs: 10 },
    );
    await eventually(() => seen.undelivered.length === 1);
    for (const send of sent) await send();
    await eventually(() => seen.delivered === 1);
    const last = seen.rereads;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(seen.rereads).toBeLessThanOrEqual(last + 1);
  });

  it("is relied on when the notice of its test could not be sent, and tested again at the next sign of life", async () => {
    const failures = [{ code: "42501" }, { code: "ETIMEDOUT" }, { code: "42501" }];
    const seen = listen(
      {
        notify: async (...notice) => {
          const failure = failures.shift();
          if (failure !== undefined) throw Object.assign(new Error("not sent"), failure);
          await notify(...notice);
        },
      },
      { heartbeatMs: 20 },
    );
    await eventually(() => seen.delivered === 1);
    expect(failures).toEqual([]);
    expect([seen.undelivered, seen.troubles]).toEqual([[], []]);
  });

  it("is replaced by another when the query that tests it gets no answer", async () => {
    let tries = 0;
    const seen = listen({
      notify: async (...notice) => {
        if (++tries === 1) throw new Error("the pool is exhausted");
        await notify(...notice);
      },
    });
    await eventually(() => seen.delivered === 1);
    expect(seen.undelivered).toEqual([]);
    expect(seen.troubles).toEqual(["Error: the pool is exhausted"]);
    expect(seen.rereads).toBe(1);
  });

  it("is relied on when this process was held up while the notice of its test arrived", async () => {
    proxy.delayMs = 100;
    const holdUp = () => {
      const end = performance.now() + 2500;
      while (performance.now() < end);
    };
    const seen = listen({ onSynced: () => void setImmediate(holdUp) });
    await eventually(() => seen.delivered === 1);
    expect(seen.undelivered).toEqual([]);
  });

  it("is relied on while the application's pool has no connection left", async () => {
    await open().load(name);
    const pool = database.pool({ max: 1 });
    const storage = open({ pool, queryTimeoutSeconds: 1, heartbeatSeconds: 0.02 });
    const { heard, troubles } = await subscribed(storage, name);
    const taken = await pool.connect();
    // Some signs of life whose read gets no answer.
    for (let query = 0; query < 2; query++) {
      await expect(storage.getState(name)).rejects.toThrow("did not answer");
    }
    await isolate();
    await eventually(() => heard.at(-1)?.state === "OPEN");
    expect(troubles).toEqual([]);
    taken.release();
    await storage.close();
    await pool.end();
  });

  it("is found to be lost during its test as soon as a query gets no answer, which reported it", async () => {
    let lost = 0;
    const notices: Array<() => Promise<void>> = [];
    const seen = listen(
      {
        notify: async (...notice) => void notices.push(() => notify(...notice)),
        onConnectionLost: () => lost++,
      },
      { queryTimeoutMs: 1000 },
    );
    await eventually(() => seen.hearing === 1);
    proxy.lose();
    listeners[0]?.check();
    await eventually(() => lost === 1);
    await eventually(() => seen.hearing === 2);
    await notices[1]?.();
    await eventually(() => seen.delivered === 1);
    expect([seen.undelivered, seen.troubles]).toEqual([[], []]);
  });

  it("is tested without a notice to other processes", async () => {
    const other = new Client({ connectionString: database.url });
    await other.connect();
    const received: Array<string | undefined> = [];
    other.on("notification", ({ payload }) => received.push(payload));
    await other.query("LISTEN bulkman_circuits");
    const all = [listen(), listen(), listen()];
    await eventually(() => all.every(({ delivered }) => delivered === 1));
    await notify("bulkman_circuits", "the end");
    await eventually(() => received.length > 0);
    expect(received).toEqual(["the end"]);
    await other.end();
  });
});

describe("a change that no notice announces", () => {
  it.each([
    "DROP TRIGGER rc_circuit_breakers_after_write ON rc_circuit_breakers",
    "ALTER TABLE rc_circuit_breakers DISABLE TRIGGER rc_circuit_breakers_after_write",
  ])("is read at the next sign of life, and reported once with advice: %s", async (statement) => {
    const storage = open({ heartbeatSeconds: 0.05 });
    const { heard, troubles } = await subscribed(storage, name);
    const change = async (how: typeof isolate, state: string) => {
      await how();
      await eventually(() => heard.at(-1)?.state === state);
    };
    await database.query(statement);
    await change(isolate, "OPEN");
    await eventually(() => troubles.length === 1);
    expect(String(troubles[0])).toContain('run "bulkman pg-setup"');
    await change(close, "CLOSED");
    // Read when it is decided what to make of the change before it.
    await change(isolate, "OPEN");
    expect(troubles).toHaveLength(1);
    await database.query(SCHEMA_SQL);
    await change(close, "CLOSED");
    // A trigger that announced changes in between is lost again.
    await database.query(statement);
    await change(isolate, "OPEN");
    await eventually(() => troubles.length === 2);
    await database.query(SCHEMA_SQL);
  });

  it("is not reported when a read overtakes its notice", async () => {
    const storage = open({ heartbeatSeconds: 0.001 });
    const { heard, told, troubles } = await subscribed(storage, name);
    for (let round = 0; round < 50; round++) {
      await (round % 2 === 0 ? isolate() : close());
      if (round % 10 === 0) await database.query("DELETE FROM rc_circuit_breakers");
    }
    await storage.load(name);
    await isolate();
    await eventually(() => heard.at(-1)?.state === "OPEN");
    // Any suspicion is either confirmed or over after some more signs of life.
    const { length } = told;
    await eventually(() => told.length > length + 3);
    expect(troubles).toEqual([]);
  });
});

describe("heartbeatSeconds", () => {
  it("reads all circuits in use by one query", async () => {
    const pool = database.pool({ max: 1 });
    const storage = open({ pool, heartbeatSeconds: 0.02 });
    const names = [name, `${name} b`, `${name} c`];
    const all = await Promise.all(names.map((each) => subscribed(storage, each)));
    let queries = 0;
    pool.on("acquire", () => queries++);
    for (const { told } of all) told.length = 0;
    await eventually(() => all.every(({ told }) => told.length >= 5));
    expect(queries).toBeLessThanOrEqual(8);
    await storage.close();
    await pool.end();
  });

  it("reports once that the circuits cannot be read any more, and again after they could", async () => {
    const role = `reader_${database.name}`;
    const right = `SELECT, INSERT, UPDATE ON rc_circuit_breakers`;
    await open().load(name);
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    await database.query(`GRANT ${right} TO ${role}`);
    const connectionString = database.urlFor({ user: role, password: "x" });
    const storage = open({ connectionString, heartbeatSeconds: 0.02 });
    const { told, troubles } = await subscribed(storage, name);
    for (const reports of [1, 2]) {
      await database.query(`REVOKE ${right} FROM ${role}`);
      await eventually(() => troubles.length === reports);
      expect(String(troubles.at(-1))).toContain("needs SELECT, INSERT and UPDATE");
      await new Promise((resolve) => setTimeout(resolve, 100));
      await database.query(`GRANT ${right} TO ${role}`);
      told.length = 0;
      await eventually(() => told.length > 2);
    }
    expect(troubles).toHaveLength(2);
    await storage.close();
    await database.query(`DROP OWNED BY ${role}`);
    await database.query(`DROP ROLE ${role}`);
  });
});
