import type { Pool } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, type CircuitChange, type PostgresStorage } from "../../src/index.js";
import { CommandLine } from "../cli/command.js";
import { failCalls } from "../helpers/failing.js";
import type { TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { PythonProcess, type PythonState, type PythonVersion } from "./python.js";
import { subscribed } from "./subscriber.js";

let commandLine: CommandLine;
let database: TestDatabase;
let pool: Pool;
let storage: PostgresStorage;
let name = "";
let tests = 0;
beforeAll(async () => {
  commandLine = await CommandLine.create();
  database = commandLine.database;
  pool = database.pool({ max: 4, options: "-c TimeZone=UTC" });
}, 60_000);
beforeEach(async () => {
  name = `api ${tests++}`;
  storage = database.storage();
  await storage.load(name);
});
afterEach(() => database.closeStorages());
afterAll(async () => {
  await pool.end();
  await commandLine.close();
});

const OLD: readonly PythonVersion[] = ["0.4.1", "0.4.6"];
const ALL: readonly PythonVersion[] = [...OLD, "0.5", "0.7"];
const STATES: readonly PythonState[] = ["CLOSED", "HALF_OPEN", "OPEN"];

const python = (version: PythonVersion, options?: { minutesAhead: number }) =>
  new PythonProcess(pool, version, options);
const state = async () => (await storage.getState(name))?.state;

async function change(wanted: Partial<CircuitChange> & Pick<CircuitChange, "to">) {
  const { version } = await storage.load(name);
  const opening = wanted.to === "OPEN" ? { openSeconds: 60, failureCount: 5 } : {};
  const all = { version, owner: "node", ...opening, ...wanted } as CircuitChange;
  const result = await storage.change(name, all);
  expect(result.changed).toBe(true);
  return result.record;
}

/** Opens the circuit, with an end that is over, and gets the lease to probe. */
async function probe(): Promise<void> {
  await change({ to: "OPEN", openSeconds: 0 });
  await change({ to: "HALF_OPEN" });
}

/** No process of Python ends this isolation, whatever it believes. */
async function expectGuarded(): Promise<void> {
  const before = await storage.load(name);
  expect(before.state).toBe("OPEN");
  for (const version of ALL) {
    for (const written of STATES) {
      expect(await python(version).write(name, written, 5)).toBe(false);
    }
  }
  expect(await storage.load(name)).toMatchObject({ ...before, readAt: expect.any(Date) });
}

describe("an isolation that is not over, where Python still takes the circuit for closed", () => {
  it("stays as a process of Node made it", async () => {
    const { heard } = await subscribed(storage, name);
    await change({ to: "OPEN" });
    await expectGuarded();
    await change({ to: "CLOSED", byHand: true });
    await eventually(() => heard.some((record) => record.state === "CLOSED"));
    expect(heard.map((record) => record.state)).toEqual(["OPEN", "CLOSED"]);
  });

  it("keeps out the calls of Node, while Python goes on calling", async () => {
    const bulkhead = new Bulkhead({ name }, { circuitStorage: storage });
    await bulkhead.ready();
    await failCalls(bulkhead, 5);
    await eventually(async () => (await state()) === "OPEN");
    let calls = 0;
    for (let i = 0; i < 20; i++) {
      await python(OLD[i % OLD.length] ?? "0.4.1").write(name, "CLOSED");
      const call = bulkhead.execute(() => ++calls);
      await expect(call).rejects.toMatchObject({ code: "ERR_BULKHEAD_CIRCUIT_OPEN" });
    }
    expect(calls).toBe(0);
    await bulkhead.shutdown();
  });

  it.each([
    ["without a time", "state = 'OPEN'"],
    ["for an hour", "state = 'OPEN', open_until = now() + '1 hour'"],
    [
      "for an hour, with a reason",
      "state = 'OPEN', open_until = now() + '1 hour', reason = 'moving'",
    ],
    ["again, over Python's", "state = 'OPEN', open_until = now() + '2 hours', updated_at = now()"],
  ])("stays as SQL by hand made it %s", async (_, set) => {
    await python("0.4.1").write(name, "OPEN", 20);
    await database.edit(name, set);
    await expectGuarded();
  });

  it("stays as `bulkman isolate` made it, until `bulkman release`", async () => {
    const run = (...args: string[]) => commandLine.run([...args, name, "--namespace", "default"]);
    expect(await run("isolate", "--for", "1h")).toMatchObject({ status: 0 });
    await expectGuarded();
    expect(await run("release")).toMatchObject({ status: 0 });
    expect(await state()).toBe("CLOSED");
    expect(await python("0.4.1").write(name, "CLOSED")).toBe(true);
  });

  it.each([
    ["the state alone", "state = 'CLOSED'"],
    ["its time as well", "state = 'CLOSED', updated_at = now()"],
    [
      "every column of Python's",
      "state = 'CLOSED', failure_count = 0, open_until = NULL, updated_at = now()",
    ],
  ])("is ended by an UPDATE by hand that sets %s", async (_, set) => {
    await change({ to: "OPEN", reason: "moving", byHand: true });
    await database.edit(name, set);
    expect(await storage.getState(name)).toMatchObject({ state: "CLOSED", reason: null });
  });

  it.each(["0.5", "0.7"] as const)("is ended by update_state of %s", async (version) => {
    await change({ to: "OPEN" });
    expect(await python(version).reset(name, "CLOSED")).toBe(true);
    expect(await state()).toBe("CLOSED");
  });

  it.each(ALL)("stays as %s made it, for other processes of Python, too", async (version) => {
    expect(await python(version).write(name, "OPEN", 30)).toBe(true);
    const opened = await storage.load(name);
    expect(opened).toMatchObject({ state: "OPEN", openedBy: null });
    for (const other of ALL) expect(await python(other).write(name, "CLOSED")).toBe(false);
    expect(await storage.load(name)).toMatchObject({ version: opened.version });
    await database.edit(name, "open_until = now()");
    expect(await python("0.4.1").write(name, "CLOSED")).toBe(true);
    expect(await state()).toBe("CLOSED");
  });

  it("stays in a table that Python's command line has given a trigger for updated_at", async () => {
    await database.query(
      `CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
       CREATE TRIGGER update_rc_circuit_breakers_updated_at BEFORE UPDATE ON rc_circuit_breakers
         FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION touch()`,
    );
    await change({ to: "OPEN" });
    await expectGuarded();
    await database.edit(name, "state = 'CLOSED'");
    expect(await state()).toBe("CLOSED");
    await database.query("DROP FUNCTION touch CASCADE");
  });
});

describe("an isolation that is over", () => {
  it.each(ALL)("is ended by %s, whoever made it", async (version) => {
    for (const open of [
      () => change({ to: "OPEN", openSeconds: 0 }),
      () => database.edit(name, "state = 'OPEN', open_until = now()"),
      () => python("0.4.1").write(name, "OPEN", -1),
    ]) {
      await open();
      expect(await state()).toBe("OPEN");
      expect(await python(version).write(name, "HALF_OPEN")).toBe(true);
      expect(await python(version).write(name, "CLOSED")).toBe(true);
      expect(await state()).toBe("CLOSED");
    }
  });
});

describe("an isolation that Python makes", () => {
  it("does not have the reason of an earlier one", async () => {
    await database.edit(name, "state = 'OPEN', open_until = now(), reason = 'moving'");
    expect(await python("0.4.1").write(name, "OPEN", 30)).toBe(true);
    expect(await storage.getState(name)).toMatchObject({ state: "OPEN", reason: null });
    await database.edit(name, "state = 'CLOSED'");
    await database.edit(name, "reason = 'moving'");
    expect(await python("0.4.1").write(name, "OPEN", 30)).toBe(true);
    expect(await storage.getState(name)).toMatchObject({ state: "OPEN", reason: null });
  });
});

describe("a half-open circuit", () => {
  it.each(ALL)("with a prober in Node is not closed by %s, which missed the opening", async (v) => {
    await probe();
    expect(await python(v).write(name, "CLOSED")).toBe(false);
    expect(await storage.getState(name)).toMatchObject({ state: "HALF_OPEN", probeOwner: "node" });
    await change({ to: "CLOSED" });
    expect(await state()).toBe("CLOSED");
  });

  it.each(ALL)("with probers in both is closed by %s when its probe succeeds", async (version) => {
    await probe();
    const { version: before } = await storage.load(name);
    expect(await python(version).write(name, "HALF_OPEN")).toBe(true);
    // That it probes as well is no change for anybody.
    expect(await storage.load(name)).toMatchObject({ version: before, probeOwner: "node" });
    expect(await python(version).write(name, "CLOSED")).toBe(true);
    expect(await storage.getState(name)).toMatchObject({ state: "CLOSED", probeOwner: null });
  });

  it("that Python has left is closed by it, also after a process of Node got the lease", async () => {
    await python("0.4.1").write(name, "HALF_OPEN");
    await change({ to: "HALF_OPEN" });
    expect(await python("0.4.1").write(name, "CLOSED")).toBe(true);
    expect(await state()).toBe("CLOSED");
  });

  it("is opened by a failed probe of Python, whoever else probes", async () => {
    await probe();
    expect(await python("0.4.1").write(name, "OPEN", 30)).toBe(true);
    expect(await state()).toBe("OPEN");
  });

  it("whose prober in Node is gone is closed by Python", async () => {
    await probe();
    await database.edit(name, "probe_until = now()");
    expect(await python("0.4.1").write(name, "CLOSED")).toBe(true);
    expect(await state()).toBe("CLOSED");
  });

  it("was probed by Python in one isolation, which says nothing of the next", async () => {
    await probe();
    await python("0.4.1").write(name, "HALF_OPEN");
    await change({ to: "OPEN", openSeconds: 0 });
    await change({ to: "HALF_OPEN" });
    expect(await python("0.4.1").write(name, "CLOSED")).toBe(false);
  });
});

describe("a host of Python in another time zone than its database session", () => {
  it.each([
    ["0.4.1", 15],
    ["0.4.6", 60],
    ["0.5", 330],
    ["0.5", 840],
  ] as const)(
    "closes what it opened itself, by %s and %i minutes ahead",
    async (version, minutesAhead) => {
      const ahead = python(version, { minutesAhead });
      expect(await ahead.write(name, "OPEN", 0)).toBe(true);
      const { openUntil, readAt } = await storage.load(name);
      expect(Number(openUntil) - Number(readAt)).toBeGreaterThan((minutesAhead - 1) * 60_000);
      for (const written of ["HALF_OPEN", "CLOSED"] as const) {
        expect(await ahead.write(name, written)).toBe(true);
        expect(await state()).toBe(written);
      }
    },
  );

  it("closes what it opened itself, when it is behind", async () => {
    const behind = python("0.4.1", { minutesAhead: -60 });
    for (const written of ["OPEN", "HALF_OPEN", "CLOSED"] as const) {
      expect(await behind.write(name, written, 30)).toBe(true);
      expect(await state()).toBe(written);
    }
  });

  it.each([-60, 60])("neither ends nor prolongs what Node isolated, %i minutes off", async (m) => {
    const { version, openUntil } = await change({ to: "OPEN" });
    for (const each of OLD) {
      for (const written of STATES) {
        await python(each, { minutesAhead: m }).write(name, written, 30);
      }
    }
    expect(await storage.load(name)).toMatchObject({ state: "OPEN", version, openUntil });
  });
});

describe("Python's execution_log", () => {
  const log = async () => {
    const rows = await database.query<{ log: unknown }>(
      "SELECT execution_log AS log FROM rc_circuit_breakers WHERE resource_key = $1",
      [name],
    );
    return rows[0]?.log;
  };
  const FAILED = [false, false, false, false];

  it.each<[string, () => Promise<unknown>]>([
    ["a process of Node", () => change({ to: "CLOSED", byHand: true })],
    ["`bulkman release`", () => commandLine.run(["release", name])],
    ["SQL by hand", () => database.edit(name, "state = 'CLOSED'")],
    ["SQL by hand, half-open", () => database.edit(name, "state = 'HALF_OPEN'")],
    ["0.4.1, which does not know it", () => python("0.4.1").write(name, "CLOSED")],
    ["update_state", () => python("0.7").reset(name, "CLOSED")],
  ])("is cleared when the circuit is closed by %s", async (_, close) => {
    await change({ to: "OPEN", openSeconds: 0 });
    await database.edit(name, `execution_log = '${JSON.stringify(FAILED)}'`);
    expect(await log()).toEqual(FAILED);
    await close();
    expect(await state()).not.toBe("OPEN");
    expect((await log()) ?? []).toEqual([]);
  });

  it("is left alone while the circuit stays closed, and when it opens", async () => {
    await database.edit(name, `execution_log = '${JSON.stringify(FAILED)}'`);
    await database.edit(name, "failure_count = 4");
    expect(await log()).toEqual(FAILED);
    await change({ to: "OPEN" });
    expect(await log()).toEqual(FAILED);
  });
});

describe("a write of Python", () => {
  const CALLS = `SELECT coalesce(sum(calls), 0)::int AS count FROM pg_stat_user_functions
    WHERE starts_with(funcname, 'rc_circuit_breakers')`;
  const CONNECTED = `SELECT count(*)::int FROM pg_stat_activity
    WHERE application_name = 'counting' AND datname = current_database()`;

  async function count(query: string): Promise<number> {
    const [row = { count: Number.NaN }] = await database.query<{ count: number }>(query);
    return row.count;
  }

  /** How often a process calls our functions by what it does. */
  async function callsOf(work: (client: PythonProcess) => Promise<unknown>): Promise<number> {
    const before = await count(CALLS);
    const options = "-c track_functions=pl -c TimeZone=UTC";
    const counting = database.pool({ max: 1, options, application_name: "counting" });
    await work(new PythonProcess(counting, "0.7"));
    await counting.end();
    // A connection reports what it has counted when it ends.
    await eventually(async () => (await count(CONNECTED)) === 0);
    return (await count(CALLS)) - before;
  }

  it("that leaves a closed circuit closed calls no function", async () => {
    expect(await callsOf((client) => client.write(name, "CLOSED"))).toBe(0);
  });

  it("that opens or closes the circuit calls them", async () => {
    expect(await callsOf((client) => client.write(name, "OPEN", 30))).toBeGreaterThanOrEqual(2);
    await database.edit(name, "open_until = now()");
    expect(await callsOf((client) => client.write(name, "CLOSED"))).toBeGreaterThanOrEqual(2);
  });
});
