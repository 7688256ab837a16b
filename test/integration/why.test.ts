import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { PythonProcess } from "./python.js";
import { subscribed } from "./subscriber.js";

let database: TestDatabase;
let name = "";
let tests = 0;
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(() => {
  name = `api ${tests++}`;
});
afterEach(() => database.closeStorages());
afterAll(() => database.drop());

const open: TestDatabase["storage"] = (options) => database.storage(options);
const PROCESS = expect.stringMatching(new RegExp(`^\\S+ ${process.pid}$`));

class ConnectError extends Error {
  override name = "ConnectError";
  readonly code = "ECONNREFUSED";
}

describe("the row of an open circuit", () => {
  it("has the name and the code of the failure, never its message, and the process that opened it", async () => {
    const storage = open();
    const { heard } = await subscribed(storage, name);
    const bulkhead = new Bulkhead(
      { name, failureThreshold: 2, successThreshold: 1, isolationDuration: 0 },
      { circuitStorage: storage },
    );
    await bulkhead.ready();
    const fail = () => {
      throw new ConnectError("password is secret");
    };
    for (let n = 0; n < 2; n++) await bulkhead.execute(fail);
    const opened = await eventually(() => heard.find(({ state }) => state === "OPEN"));
    const cause = { rule: "2 consecutive failures", failure: "ConnectError", code: "ECONNREFUSED" };
    expect(opened).toMatchObject({ cause, changedBy: PROCESS });
    expect(JSON.stringify(await database.query("SELECT * FROM rc_circuit_breakers"))).not.toContain(
      "secret",
    );
    await eventually(() =>
      bulkhead
        .execute(() => 1)
        .then(
          ({ success }) => success,
          () => false,
        ),
    );
    const closed = await eventually(() => heard.find(({ state }) => state === "CLOSED"));
    expect(closed).toMatchObject({ cause: null, changedBy: PROCESS });
    const probed = heard.find(({ state }) => state === "HALF_OPEN");
    expect(probed).toMatchObject({ cause, changedBy: PROCESS });
    await bulkhead.shutdown();
  });

  it("has the rule alone when the failure of no call opened it", async () => {
    const storage = open();
    const bulkhead = new Bulkhead(
      { name, healthCheck: () => false, healthCheckInterval: 0.02 },
      { circuitStorage: storage },
    );
    const opened = await eventually(async () => {
      const record = await storage.getState(name);
      return record?.state === "OPEN" ? record : undefined;
    });
    expect(opened?.cause).toMatchObject({ rule: "the health check failed" });
    await bulkhead.shutdown();
  });

  it("has the session of SQL and Python, and no failure of a process that opened it before", async () => {
    const storage = open();
    const { version } = await storage.load(name);
    const cause = { rule: "a probe failed", failure: "Error", code: null };
    const opening = { to: "OPEN", owner: "a", openSeconds: 0, failureCount: 1, cause } as const;
    await storage.change(name, { ...opening, version });
    await database.edit(name, "state = 'OPEN', open_until = now() + interval '1 hour'");
    const session = `${database.server.user} in test`;
    expect(await storage.load(name)).toMatchObject({ cause: null, changedBy: session });
    await database.edit(name, "state = 'CLOSED'");
    const python = database.pool({ application_name: "a service in Python" });
    await new PythonProcess(python, "0.4.1").write(name, "OPEN", 60);
    expect(await storage.load(name)).toMatchObject({
      ...{ state: "OPEN", cause: null },
      changedBy: `${database.server.user} in a service in Python`,
    });
    await new PythonProcess(python, "0.4.1").write(`new ${name}`, "OPEN", 60);
    expect(await storage.load(`new ${name}`)).toMatchObject({
      changedBy: `${database.server.user} in a service in Python`,
    });
    await python.end();
  });

  it("lacks a failure that the database cannot store, and is open all the same", async () => {
    const latin = `latin_${database.name}`;
    await database.query(
      `CREATE DATABASE ${latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`,
    );
    const connectionString = database.url.replace(/[^/]*$/, latin);
    const storage = open({ connectionString });
    const { version } = await storage.load(name);
    const opening = { to: "OPEN", version, owner: "a", openSeconds: 60, failureCount: 1 } as const;
    const cause = { rule: "1 consecutive failure", failure: "\u{1f600}Error", code: null };
    const { changed, record } = await storage.change(name, { ...opening, cause });
    expect(changed).toBe(true);
    expect(record).toMatchObject({ state: "OPEN", cause: null, changedBy: "a" });
    await storage.close();
    await database.query(`DROP DATABASE ${latin} WITH (FORCE)`);
  });
});
