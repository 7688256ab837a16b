import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, type PostgresStorageOptions } from "../../src/index.js";
import { SCHEMA_CHECK, SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createDatabase, type TestDatabase } from "./database.js";

let database: TestDatabase;
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);

const COLUMNS = [
  "resource_key character varying not null",
  "namespace character varying not null",
  "state character varying not null",
  "failure_count integer not null",
  "open_until timestamp with time zone",
  "execution_log jsonb",
  "created_at timestamp with time zone",
  "updated_at timestamp with time zone",
  "version bigint not null",
  "opened_by text",
  "probe_owner text",
  "probe_until timestamp with time zone",
  "probe_successes integer not null",
  "reason text",
  "written_blind boolean not null",
  "openings integer not null",
  "settings jsonb",
  "changed_by text",
  "opening_rule text",
  "failure_name text",
  "failure_code text",
  "votes jsonb",
];

async function columns(): Promise<string[]> {
  const rows = await database.query<{ text: string }>(
    `SELECT column_name || ' ' || data_type || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END AS text
     FROM information_schema.columns WHERE table_name = 'rc_circuit_breakers' ORDER BY ordinal_position`,
  );
  return rows.map(({ text }) => text);
}

async function isInPlace(): Promise<boolean> {
  const [row] = await database.query<{ ok: boolean }>(`SELECT (${SCHEMA_CHECK}) AS ok`);
  return row?.ok ?? false;
}

/** The table as the storage of Python's resilient-circuit made it before it knew namespaces. */
const PYTHON_FIRST = `CREATE TABLE rc_circuit_breakers (
  resource_key VARCHAR(255) PRIMARY KEY,
  state VARCHAR(50) NOT NULL,
  failure_count INTEGER NOT NULL DEFAULT 0,
  open_until TIMESTAMP,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_rc_circuit_breakers_open_until ON rc_circuit_breakers (open_until)
  WHERE open_until IS NOT NULL;`;

/** As it makes it today. */
const PYTHON_NOW = `CREATE TABLE rc_circuit_breakers (
  resource_key VARCHAR(255) NOT NULL,
  state VARCHAR(50) NOT NULL,
  failure_count INTEGER NOT NULL DEFAULT 0,
  open_until TIMESTAMP,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  namespace VARCHAR(255) NOT NULL DEFAULT 'default',
  PRIMARY KEY (resource_key, namespace)
);
CREATE INDEX idx_rc_circuit_breakers_state ON rc_circuit_breakers(state);
CREATE INDEX idx_rc_circuit_breakers_namespace ON rc_circuit_breakers(namespace);
CREATE INDEX idx_rc_circuit_breakers_key_namespace ON rc_circuit_breakers(resource_key, namespace);`;

/** As its command line makes it. */
const PYTHON_COMMAND = `CREATE TABLE rc_circuit_breakers (
  resource_key VARCHAR(255) NOT NULL,
  state VARCHAR(20) NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'HALF_OPEN')),
  failure_count INTEGER NOT NULL DEFAULT 0 CHECK (failure_count >= 0),
  open_until TIMESTAMPTZ,
  created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
  PRIMARY KEY (resource_key)
);
CREATE FUNCTION update_rc_circuit_breakers_updated_at_column() RETURNS TRIGGER AS $$
BEGIN NEW.updated_at = NOW(); RETURN NEW; END; $$ LANGUAGE plpgsql SET search_path = public;
CREATE TRIGGER update_rc_circuit_breakers_updated_at BEFORE UPDATE ON rc_circuit_breakers
  FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW)
  EXECUTE FUNCTION update_rc_circuit_breakers_updated_at_column();`;

describe("the schema", () => {
  it("is made by the first question, in one go", async () => {
    await open().load("api");
    expect(await columns()).toEqual(COLUMNS);
    expect(await isInPlace()).toBe(true);
  });

  it("is the same when the SQL that pg-setup prints is run, once or again", async () => {
    await database.query(SCHEMA_SQL);
    expect(await isInPlace()).toBe(true);
    await open({ ensureSchema: false }).load("api");
    await database.query(SCHEMA_SQL);
    expect(await isInPlace()).toBe(true);
    expect(await columns()).toEqual(COLUMNS);
    expect(await open().getState("api")).toMatchObject({ state: "CLOSED" });
  });

  it("has no character that a database in another encoding than UTF-8 cannot store", () => {
    expect(SCHEMA_SQL).toMatch(/^[\n -~]+$/);
  });

  it("begins to count the openings anew when another program closes the circuit", async () => {
    const storage = open();
    const { version } = await storage.load("api");
    const opening = { openSeconds: 60, failureCount: 1, owner: "a", openings: 3 };
    await storage.change("api", { to: "OPEN", version, ...opening });
    await database.query("UPDATE rc_circuit_breakers SET failure_count = 9");
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", openings: 3 });
    await database.query("UPDATE rc_circuit_breakers SET state = 'CLOSED'");
    expect(await storage.getState("api")).toMatchObject({ state: "CLOSED", openings: 0 });
  });

  it("is left alone when it is in place", async () => {
    await open().load("api");
    const ids = () =>
      database.query("SELECT xmin::text FROM pg_class WHERE relname = 'rc_circuit_breakers'");
    const before = await ids();
    await open().load("api");
    expect(await ids()).toEqual(before);
  });

  it("goes where the session's tables go, and is found on the search path", async () => {
    await database.query("CREATE SCHEMA elsewhere");
    const connectionString = `${database.url}?options=-c%20search_path%3Delsewhere`;
    const there = open({ connectionString });
    await there.load("api");
    expect(
      await database.query(
        `SELECT table_schema AS name FROM information_schema.tables WHERE table_name = 'rc_circuit_breakers'
         UNION ALL
         SELECT routine_schema FROM information_schema.routines WHERE starts_with(routine_name, 'rc_')`,
      ),
    ).toEqual(Array.from({ length: 5 }, () => ({ name: "elsewhere" })));
    // The table of another schema that the path names is used, not doubled.
    await database.query("CREATE SCHEMA first");
    const path = `${database.url}?options=-c%20search_path%3Dfirst,elsewhere`;
    expect(await open({ connectionString: path }).getState("api")).toMatchObject({
      state: "CLOSED",
    });
  });

  it.each([
    { table: PYTHON_FIRST, made: "without namespaces" },
    { table: PYTHON_NOW, made: "with times without zone" },
    { table: PYTHON_COMMAND, made: "by its command line" },
  ])("takes over a table of resilient-circuit $made, with its rows", async ({ table }) => {
    const zone = "Asia/Kolkata";
    await database.query(`ALTER DATABASE ${database.name} SET timezone = '${zone}'`);
    await database.query(`SET timezone = '${zone}'; ${table}`);
    await database.query(
      `SET timezone = '${zone}'; INSERT INTO rc_circuit_breakers (resource_key, state, failure_count, open_until, updated_at) VALUES
       ('open', 'OPEN', 4, '2999-01-01 12:00:00', '2020-01-01 12:00:00'),
       ('closed', 'CLOSED', 2, NULL, DEFAULT)`,
    );
    const storage = open();
    expect(await storage.getState("open")).toMatchObject({
      state: "OPEN",
      failureCount: 4,
      openUntil: new Date("2999-01-01T12:00:00+05:30"),
      updatedAt: new Date("2020-01-01T12:00:00+05:30"),
      probeOwner: null,
    });
    expect(await storage.load("closed")).toMatchObject({ state: "CLOSED", openUntil: null });
    expect(await isInPlace()).toBe(true);
    expect((await columns()).toSorted()).toEqual(expect.arrayContaining(COLUMNS.slice(8)));
    const [{ count } = { count: 0 }] = await database.query<{ count: number }>(
      "SELECT count(*)::int FROM rc_circuit_breakers WHERE namespace = 'default'",
    );
    expect(count).toBe(2);
    await open({ namespace: "other" }).load("open");
    const { version } = await storage.load("closed");
    const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
    expect(await storage.change("closed", change)).toMatchObject({ changed: true });
  });

  it("brings states in lower case to upper case, and leaves what is no state as it was", async () => {
    await database.query(PYTHON_NOW);
    await database.query(
      `INSERT INTO rc_circuit_breakers (resource_key, state, failure_count, open_until, updated_at) VALUES
       ('open', 'open', 3, '2999-01-01', '2020-01-01'), ('half', 'Half_Open', 0, NULL, '2020-01-01'),
       ('ajar', 'ajar', 1, NULL, '2020-01-01')`,
    );
    const storage = open();
    expect(await storage.load("open")).toMatchObject({ state: "OPEN", failureCount: 3 });
    expect(await storage.getState("half")).toMatchObject({ state: "HALF_OPEN" });
    await expect(storage.load("ajar")).rejects.toThrow("malformed");
    expect(
      await database.query(
        "SELECT resource_key AS key, state FROM rc_circuit_breakers WHERE updated_at::date = '2020-01-01' ORDER BY key",
      ),
    ).toEqual([
      { key: "ajar", state: "ajar" },
      { key: "half", state: "HALF_OPEN" },
      { key: "open", state: "OPEN" },
    ]);
  });

  it("keeps a row true to its state, whichever client writes", async () => {
    const storage = open();
    const { version } = await storage.load("api");
    await database.query(
      `UPDATE rc_circuit_breakers SET state = 'half_open', open_until = now(), probe_owner = 'me', probe_until = now() + '1 h'`,
    );
    const halfOpen = await storage.load("api");
    expect(halfOpen).toMatchObject({ state: "HALF_OPEN", openUntil: null, probeOwner: "me" });
    expect(halfOpen.version).toBeGreaterThan(version);
    await database.query("UPDATE rc_circuit_breakers SET state = 'OPEN', open_until = 'infinity'");
    expect(await storage.getState("api")).toMatchObject({
      openUntil: new Date(8.64e15),
      probeOwner: null,
      probeUntil: null,
    });
    await expect(database.query("UPDATE rc_circuit_breakers SET state = 'ajar'")).rejects.toThrow(
      "state must be CLOSED, OPEN or HALF_OPEN; got AJAR",
    );
  });

  it("isolates for half a minute when a client writes no more than OPEN", async () => {
    const storage = open();
    await storage.load("api");
    const isolate = "UPDATE rc_circuit_breakers SET state = 'OPEN'";
    await database.query(isolate);
    const { openUntil, readAt, ...isolated } = await storage.load("api");
    expect(isolated.state).toBe("OPEN");
    const left = Number(openUntil) - Number(readAt);
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(30_001);
    // Said again it is no new isolation, as long as that one lasts.
    const insert =
      "INSERT INTO rc_circuit_breakers (resource_key, namespace, state) VALUES ('api', 'default', 'OPEN')";
    const python = `${insert} ON CONFLICT (resource_key, namespace) DO UPDATE
      SET state = EXCLUDED.state, open_until = EXCLUDED.open_until`;
    for (const again of [isolate, `${isolate}, open_until = NULL`, python]) {
      await database.query(again);
      expect(await storage.load("api")).toMatchObject({ ...isolated, openUntil });
    }
    await database.query("UPDATE rc_circuit_breakers SET open_until = now() - interval '1 s'");
    await database.query(python);
    expect(Number((await storage.load("api")).openUntil)).toBeGreaterThan(Number(openUntil));
    await database.query("DELETE FROM rc_circuit_breakers");
    await database.query(insert);
    expect(Number((await storage.load("api")).openUntil)).toBeGreaterThan(Number(openUntil));
  });

  it("gets every column that it lacks, also those that Python's tables have", async () => {
    await database.query(
      "CREATE TABLE rc_circuit_breakers (resource_key text PRIMARY KEY, state text NOT NULL)",
    );
    await database.query("INSERT INTO rc_circuit_breakers VALUES ('api', 'CLOSED')");
    expect(await open().load("api")).toMatchObject({ state: "CLOSED", failureCount: 0 });
    expect(await isInPlace()).toBe(true);
  });

  it("keeps a reason as long as the circuit is open, whoever wrote it and whoever ends it", async () => {
    const storage = open();
    await storage.load("api");
    const isolate = "UPDATE rc_circuit_breakers SET state = 'OPEN', reason = 'migration'";
    await database.query(isolate);
    const isolated = await storage.load("api");
    expect(isolated).toMatchObject({ state: "OPEN", reason: "migration" });
    await database.query("UPDATE rc_circuit_breakers SET open_until = now() + interval '1 hour'");
    expect(await storage.getState("api")).toMatchObject({ state: "OPEN", reason: "migration" });
    await database.query("UPDATE rc_circuit_breakers SET reason = 'move'");
    const told = await storage.load("api");
    expect(told.reason).toBe("move");
    expect(told.version).toBeGreaterThan(isolated.version);
    for (const state of ["HALF_OPEN", "CLOSED"]) {
      await database.query(isolate);
      await database.query(`UPDATE rc_circuit_breakers SET state = '${state}'`);
      expect(await storage.getState("api")).toMatchObject({ state, reason: null });
    }
  });

  it("gets the column of reasons when it is of an older version", async () => {
    await database.query(SCHEMA_SQL);
    await database.query("ALTER TABLE rc_circuit_breakers DROP COLUMN reason");
    expect(await isInPlace()).toBe(false);
    await expect(open({ ensureSchema: false }).load("api")).rejects.toThrow(
      /older version; run "bulkman pg-setup"/,
    );
    expect(await open().load("api")).toMatchObject({ reason: null });
    expect(await isInPlace()).toBe(true);
  });

  it("has higher versions after it was emptied or made again", async () => {
    const storage = open();
    let { version } = await storage.load("api");
    for (const statement of [
      "DELETE FROM rc_circuit_breakers",
      "TRUNCATE rc_circuit_breakers",
      "DROP TABLE rc_circuit_breakers",
    ]) {
      const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
      const { record } = await storage.change("api", change);
      await database.query(statement);
      const again = await storage.load("api");
      expect(again.state).toBe("CLOSED");
      expect(again.version).toBeGreaterThan(record.version);
      version = again.version;
    }
  });
});

describe("a user who may not create the table", () => {
  const user = { user: "", password: "pass-word" };
  beforeEach(async () => {
    user.user = `user_${database.name}`;
    await database.query(`CREATE ROLE ${user.user} LOGIN PASSWORD '${user.password}'`);
  });
  afterEach(async () => {
    await database.query(`DROP OWNED BY ${user.user}`);
    await database.query(`DROP ROLE ${user.user}`);
  });
  const limited = (options: PostgresStorageOptions = {}) =>
    open({ connectionString: database.urlFor(user), ...options });

  it("gets the advice to run pg-setup, with and without ensureSchema", async () => {
    await expect(limited().load("api")).rejects.toThrow(/permission denied.*"bulkman pg-setup"/);
    await expect(limited({ ensureSchema: false }).load("api")).rejects.toThrow(
      /is missing; run "bulkman pg-setup"/,
    );
  });

  it("gets the same advice for an old table, which is left as it was", async () => {
    await database.query(PYTHON_NOW);
    await database.query(`GRANT ALL ON rc_circuit_breakers TO ${user.user}`);
    await expect(limited().load("api")).rejects.toThrow(/permission denied.*"bulkman pg-setup"/);
    await expect(limited({ ensureSchema: false }).load("api")).rejects.toThrow(
      /older version; run "bulkman pg-setup"/,
    );
  });

  it("needs only SELECT, INSERT and UPDATE when it is there", async () => {
    await database.query(SCHEMA_SQL);
    await expect(limited().load("api")).rejects.toThrow(/needs SELECT, INSERT and UPDATE/);
    await database.query(`GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${user.user}`);
    const storage = limited();
    const { version } = await storage.load("api");
    const change = { to: "OPEN", version, owner: "a", openSeconds: 9, failureCount: 1 } as const;
    expect(await storage.change("api", change)).toMatchObject({ changed: true });
  });

  it("gets the error of a read-only database", async () => {
    await database.query(SCHEMA_SQL);
    const connectionString = `${database.url}?options=-c%20default_transaction_read_only%3Don`;
    await expect(open({ connectionString }).load("api")).rejects.toThrow(
      /read-only.*bulkman pg-setup/,
    );
  });

  it("reads what is there from a read-only database, as a standby is", async () => {
    const { version } = await open().load("open");
    const change = { to: "OPEN", version, owner: "a", openSeconds: 60, failureCount: 3 } as const;
    await open().change("open", change);
    const connectionString = `${database.url}?options=-c%20default_transaction_read_only%3Don`;
    const standby = open({ connectionString });
    const loading = Promise.allSettled([standby.load("open"), standby.load("missing")]);
    expect(await loading).toMatchObject([
      { status: "fulfilled", value: { state: "OPEN", failureCount: 3 } },
      { status: "rejected", reason: { code: "25006" } },
    ]);
    const bulkhead = new Bulkhead({ name: "open" }, { circuitStorage: standby });
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
    });
    await bulkhead.shutdown();
  });
});
