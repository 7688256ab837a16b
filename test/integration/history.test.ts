import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, type CircuitChange } from "../../src/index.js";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { permitRequest } from "./permit-pool.js";
import { PythonProcess } from "./python.js";

let database: TestDatabase;
let name = "";
let tests = 0;
beforeAll(async () => {
  database = await createDatabase();
  await database.query(SCHEMA_SQL);
});
beforeEach(() => {
  name = `api ${tests++}`;
});
afterEach(() => database.closeStorages());
afterAll(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);

interface Entry {
  readonly old_state: string;
  readonly new_state: string;
  readonly changed_by: string | null;
}

const history = (circuit = name) =>
  database.query<Entry>(
    `SELECT namespace, old_state, new_state, changed_by, reason, opening_rule, failure_name, failure_code, failure_count
     FROM bulkman_history WHERE resource_key = $1 ORDER BY id`,
    [circuit],
  );
const states = async (circuit = name) =>
  (await history(circuit)).map(({ old_state, new_state }) => `${old_state} ${new_state}`);

const CAUSE = { rule: "5 consecutive failures", failure: "Error", code: "ECONNREFUSED" };

/** Opens, probes and closes. */
async function cycle(storage = open()): Promise<void> {
  const { version } = await storage.load(name);
  const opening = { to: "OPEN", owner: "web-1 42", openSeconds: 0, failureCount: 5 } as const;
  const changes: ReadonlyArray<(version: number) => CircuitChange> = [
    (version) => ({ ...opening, version, cause: CAUSE }),
    (version) => ({ to: "HALF_OPEN", version, owner: "web-2 43" }),
    (version) => ({ to: "HALF_OPEN", version, owner: "web-2 43", successes: 1 }),
    (version) => ({ to: "CLOSED", version, owner: "web-2 43" }),
  ];
  let newest = version;
  for (const change of changes) {
    const { changed, record } = await storage.change(name, change(newest));
    expect(changed).toBe(true);
    newest = record.version;
  }
}

describe("the history of a circuit", () => {
  it("has each change of the state, with who made it, and why", async () => {
    await cycle(open({ namespace: "my_app" }));
    const failure = { opening_rule: CAUSE.rule, failure_name: "Error", failure_code: CAUSE.code };
    const common = { namespace: "my_app", reason: null, ...failure, failure_count: 5 };
    expect(await history()).toEqual([
      { ...common, old_state: "CLOSED", new_state: "OPEN", changed_by: "web-1 42" },
      { ...common, old_state: "OPEN", new_state: "HALF_OPEN", changed_by: "web-2 43" },
      {
        ...{ namespace: "my_app", reason: null, opening_rule: null, failure_name: null },
        ...{ failure_code: null, failure_count: 0 },
        ...{ old_state: "HALF_OPEN", new_state: "CLOSED", changed_by: "web-2 43" },
      },
    ]);
  });

  it("has an operator's reason, and the session of SQL and Python", async () => {
    await open().load(name);
    await database.edit(name, "state = 'OPEN', reason = 'moving house'");
    const session = `${database.server.user} in test`;
    expect(await history()).toEqual([
      expect.objectContaining({ new_state: "OPEN", reason: "moving house", changed_by: session }),
    ]);
    const python = database.pool({ application_name: "python" });
    await new PythonProcess(python, "0.7").write(`new ${name}`, "OPEN", 60);
    expect(await history(`new ${name}`)).toEqual([
      expect.objectContaining({
        ...{ old_state: "CLOSED", new_state: "OPEN" },
        changed_by: `${database.server.user} in python`,
      }),
    ]);
    await python.end();
  });

  it("has the removal of a circuit that is not closed, and of no other", async () => {
    const storage = open();
    await storage.load(name);
    await database.edit(name, "state = 'OPEN'");
    const remove = "DELETE FROM rc_circuit_breakers WHERE resource_key = $1";
    await database.query(remove, [name]);
    await storage.load(name);
    await database.query(remove, [name]);
    expect(await states()).toEqual(["CLOSED OPEN", "OPEN REMOVED"]);
  });

  it("has nothing while nothing changes", async () => {
    const inserted = async () => {
      // The statistics of a session arrive when it ends, or after a while.
      const [row] = await database.query<{ count: number; xid: string }>(
        "SELECT count(*)::int, max(id)::text AS xid FROM bulkman_history",
      );
      return row;
    };
    const storage = open();
    const bulkhead = new Bulkhead({ name, failureThreshold: 100 }, { circuitStorage: storage });
    await bulkhead.ready();
    const before = await inserted();
    for (let n = 0; n < 500; n++) {
      await passCalls(bulkhead, 3);
      await failCalls(bulkhead, 1);
    }
    const python = database.pool({ max: 1 });
    for (let n = 0; n < 20; n++) await new PythonProcess(python, "0.7").write(name, "CLOSED");
    const { version } = await storage.load(name);
    const settings = { values: {}, until: null, reason: null, by: null };
    await storage.configure(name, { version, settings });
    expect(await inserted()).toEqual(before);
    // Nor was the function called: no number of the identity was used and rolled back.
    await cycle();
    expect(Number((await inserted())?.xid)).toBe(Number(before?.xid) + 3);
    await python.end();
    await bulkhead.shutdown();
  });

  it("is written by the processes of a fleet in the order of their changes", async () => {
    const config = { name, failureThreshold: 1, successThreshold: 1, isolationDuration: 0 };
    const bulkheads = [1, 2, 3].map(() => new Bulkhead(config, { circuitStorage: open() }));
    await Promise.all(bulkheads.map((bulkhead) => bulkhead.ready()));
    for (let round = 0; round < 5; round++) {
      await Promise.all(bulkheads.map((bulkhead) => failCalls(bulkhead, 1).catch(() => {})));
      await Promise.all(bulkheads.map((bulkhead) => passCalls(bulkhead, 1).catch(() => {})));
    }
    await Promise.all(bulkheads.map((bulkhead) => bulkhead.shutdown()));
    const entries = await history();
    expect(entries.length).toBeGreaterThan(0);
    for (const [i, { old_state }] of entries.entries()) {
      expect(old_state).toBe(entries[i - 1]?.new_state ?? "CLOSED");
    }
    expect(entries.at(-1)?.new_state).toBe((await open().load(name)).state);
  });
});

describe("a change goes through", () => {
  it("when the history is dropped, and it stays dropped until pg-setup", async () => {
    const alone = await createDatabase();
    await alone.query(SCHEMA_SQL);
    await alone.query("DROP TABLE bulkman_history");
    await cycle(alone.storage());
    await expect(alone.query("SELECT FROM bulkman_history")).rejects.toThrow("does not exist");
    await alone.query(SCHEMA_SQL);
    await cycle(alone.storage());
    expect(await alone.query("SELECT FROM bulkman_history")).toHaveLength(3);
    await alone.drop();
  });

  it("when the history is locked", async () => {
    const pool = database.pool({ max: 1 });
    const locking = await pool.connect();
    await locking.query("BEGIN; LOCK TABLE bulkman_history");
    await cycle();
    await locking.query("COMMIT");
    locking.release();
    await pool.end();
    expect(await states()).toEqual([]);
  });

  it("when a constraint or a trigger of the history rejects it", async () => {
    await database.query(
      "ALTER TABLE bulkman_history ADD CONSTRAINT none CHECK (new_state <> 'OPEN') NOT VALID",
    );
    await cycle();
    expect(await states()).toEqual(["OPEN HALF_OPEN", "HALF_OPEN CLOSED"]);
    await database.query("ALTER TABLE bulkman_history DROP CONSTRAINT none");
  });

  it("in every isolation level", async () => {
    for (const level of ["repeatable read", "serializable"]) {
      const options = encodeURIComponent(
        `-c default_transaction_isolation=${level.replace(" ", "\\ ")}`,
      );
      await cycle(open({ connectionString: `${database.url}?options=${options}` }));
    }
    expect(await states()).toHaveLength(6);
  });
});

describe("a role", () => {
  const role = () => `service_${database.name}`;
  const url = () => database.urlFor({ user: role(), password: "x" });
  beforeEach(async () => {
    await database.query(`CREATE ROLE ${role()} LOGIN PASSWORD 'x'`);
  });
  afterEach(async () => {
    await database.closeStorages();
    await database.query(`DROP OWNED BY ${role()}`);
    await database.query(`DROP ROLE ${role()}`);
  });

  it("that may not write the history changes circuits without one", async () => {
    await database.query(`GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${role()}`);
    await cycle(open({ connectionString: url() }));
    expect(await states()).toEqual([]);
    await database.query(`GRANT INSERT ON bulkman_history TO ${role()}`);
    await cycle(open({ connectionString: url() }));
    expect(await states()).toHaveLength(3);
  });

  it("that owns the table of an older version may write its history and permits after another role migrated it", async () => {
    const old = await createDatabase();
    await old.query(readFileSync(new URL("schemas/openings.sql", import.meta.url), "utf8"));
    await old.query(`ALTER TABLE rc_circuit_breakers OWNER TO ${role()}`);
    await old.query(SCHEMA_SQL);
    const storage = old.storage({ connectionString: old.urlFor({ user: role(), password: "x" }) });
    await cycle(storage);
    expect(await old.query("SELECT FROM bulkman_history")).toHaveLength(3);
    expect(await storage.lease([permitRequest("a", 3)])).toMatchObject([{ permits: 3 }]);
    await old.drop();
  });

  it("that might change circuits of an older version may write their history and permits after the migration", async () => {
    const old = await createDatabase();
    const schema = readFileSync(new URL("schemas/openings.sql", import.meta.url), "utf8");
    await old.query(schema);
    await old.query(`GRANT SELECT, INSERT, UPDATE ON rc_circuit_breakers TO ${role()}`);
    await old.query(SCHEMA_SQL);
    const storage = old.storage({
      connectionString: old.urlFor({ user: role(), password: "x" }),
    });
    await cycle(storage);
    expect(await old.query("SELECT FROM bulkman_history")).toHaveLength(3);
    expect(await storage.lease([permitRequest("a", 3)])).toMatchObject([{ permits: 3 }]);
    await storage.close();
    await old.query(`DROP OWNED BY ${role()}`);
    await old.drop();
  });
});

it("keeps a history of what a process of an older schema writes", async () => {
  const storage = open();
  await cycle(storage);
  // What its statement sets; the columns of today are unknown to it.
  await database.edit(
    name,
    `state = 'OPEN', failure_count = 3, open_until = now() + interval '1 min', opened_by = 'old 1 01234567-89ab-cdef-0123-456789abcdef 1',
     version = version + 1, updated_at = clock_timestamp()`,
  );
  expect((await history()).at(-1)).toMatchObject({
    ...{ old_state: "CLOSED", new_state: "OPEN", changed_by: "old 1" },
    ...{ opening_rule: null, failure_count: 3 },
  });
});
