import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { type Child, withChildren } from "./fleet.js";
import { PythonProcess } from "./python.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

interface Row {
  readonly state: string;
  readonly hosts: string[];
}

/** The record, and the hosts whose votes live. */
async function rowOf(name: string): Promise<Row | undefined> {
  const [row] = await database.query<Row>(
    `SELECT state, array(SELECT DISTINCT v.value->>'host' FROM jsonb_each(coalesce(votes, '{}')) v
       WHERE (v.value->'until')::numeric > extract(epoch FROM clock_timestamp()) * 1000 ORDER BY 1) AS hosts
     FROM rc_circuit_breakers WHERE resource_key = $1`,
    [name],
  );
  return row;
}

const start = (name: string, host: string, settings = {}) => ({
  config: {
    ...{ name, failureThreshold: 2, successThreshold: 1, isolationDuration: 60, openQuorum: 2 },
    ...settings,
  },
  storage: { connectionString: database.url, queryTimeoutSeconds: 10, host },
});

/** Processes on these hosts, which have loaded the circuit. */
async function withHosts(
  name: string,
  hosts: readonly string[],
  settings: object,
  body: (children: Child[]) => Promise<void>,
): Promise<void> {
  await withChildren(hosts.length, async (children) => {
    const starts = children.map((child, n) =>
      child.ask("start", start(name, hosts[n] ?? "", settings)),
    );
    await Promise.all(starts);
    await body(children);
  });
}

async function fail(child: Child | undefined, times = 2): Promise<void> {
  for (let n = 0; n < times; n++) {
    expect(await child?.ask("call", "fail")).toMatchObject({ outcome: "failed" });
  }
}

async function statuses(children: readonly Child[]): Promise<unknown[]> {
  const looks = await Promise.all(children.map((child) => child.ask("look")));
  return looks.map(({ status }) => status);
}

/** How many of the calls of each process are served, ten each. */
async function served(children: readonly Child[]): Promise<number[]> {
  return Promise.all(
    children.map(async (child) => {
      let count = 0;
      for (let n = 0; n < 10; n++) {
        if ((await child.ask("call", "succeed")).outcome === "succeeded") count++;
      }
      return count;
    }),
  );
}

describe("openQuorum in a fleet of processes", () => {
  it("2 serves every call of the healthy hosts while one host fails with all of its processes", async () => {
    await withHosts("poisoned", ["sick", "sick", "b", "c"], {}, async (children) => {
      const [one, two, ...healthy] = children;
      await fail(one);
      await fail(two);
      await eventually(async () => (await rowOf("poisoned"))?.hosts.length === 1);
      expect(await rowOf("poisoned")).toEqual({ state: "CLOSED", hosts: ["sick"] });
      expect(await served(healthy)).toEqual([10, 10]);
      expect(await statuses(children)).toEqual(["OPEN", "OPEN", "CLOSED", "CLOSED"]);
      expect(await one?.ask("call", "succeed")).toMatchObject({ outcome: "refused" });
    });
  });

  it("1 refuses the calls of the healthy hosts when one process fails", async () => {
    await withHosts("contrast", ["sick", "b"], { openQuorum: 1 }, async ([sick, healthy]) => {
      await fail(sick);
      await eventually(async () => (await healthy?.ask("look"))?.status === "OPEN");
      expect(await served(healthy ? [healthy] : [])).toEqual([0]);
      expect(await rowOf("contrast")).toEqual({ state: "OPEN", hosts: [] });
    });
  });

  it("opens the circuit of all with the vote of the second host, and spends the votes", async () => {
    await withHosts("reached", ["a", "b", "c"], {}, async (children) => {
      await fail(children[0]);
      await eventually(async () => (await rowOf("reached"))?.hosts.length === 1);
      await fail(children[1]);
      await eventually(async () => {
        return (await statuses(children)).every((status) => status === "OPEN");
      });
      expect(await rowOf("reached")).toEqual({ state: "OPEN", hosts: [] });
      expect(await served(children)).toEqual([0, 0, 0]);
    });
  });

  it("probes by itself without a quorum, and withdraws its vote when it closes", async () => {
    await withHosts("alone", ["a", "b"], { isolationDuration: 0.5 }, async ([a, b]) => {
      await fail(a);
      await eventually(async () => (await rowOf("alone"))?.hosts.length === 1);
      await eventually(async () => (await a?.ask("look"))?.status === "HALF_OPEN");
      // It needs no lease: its probe fails, and is its next vote.
      await fail(a, 1);
      await eventually(async () => (await rowOf("alone"))?.hosts.length === 1);
      await eventually(async () => (await a?.ask("look"))?.status === "HALF_OPEN");
      expect(await a?.ask("call", "succeed")).toMatchObject({ outcome: "succeeded" });
      expect((await a?.ask("look"))?.status).toBe("CLOSED");
      await eventually(async () => {
        const [row] = await database.query<{ votes: object | null }>(
          "SELECT votes FROM rc_circuit_breakers WHERE resource_key = 'alone'",
        );
        return row?.votes === null;
      });
      await fail(b);
      await eventually(async () => (await rowOf("alone"))?.hosts[0] === "b");
      expect(await rowOf("alone")).toEqual({ state: "CLOSED", hosts: ["b"] });
    });
  });

  it("counts the vote of a killed process as long as its isolation lasts, and no longer", async () => {
    await withHosts("killed", ["a", "b", "c"], { isolationDuration: 1 }, async (children) => {
      const [a, b, c] = children;
      await fail(a);
      await eventually(async () => (await rowOf("killed"))?.hosts.length === 1);
      await a?.kill();
      await eventually(async () => (await rowOf("killed"))?.hosts.length === 0);
      await fail(b);
      await eventually(async () => (await rowOf("killed"))?.hosts.length === 1);
      expect(await rowOf("killed")).toEqual({ state: "CLOSED", hosts: ["b"] });
      expect(await served(c ? [c] : [])).toEqual([10]);
    });
  });

  it("is not asked of Python, whose opening spends the votes as SQL's does", async () => {
    const pool = database.pool({ max: 1 });
    const python = new PythonProcess(pool, "0.4.1");
    await withHosts("by hand", ["a", "b"], {}, async ([a, b]) => {
      await fail(a);
      await eventually(async () => (await rowOf("by hand"))?.hosts.length === 1);
      expect(await python.write("by hand", "OPEN", 60)).toBe(true);
      await eventually(async () => (await b?.ask("look"))?.status === "OPEN");
      expect(await rowOf("by hand")).toEqual({ state: "OPEN", hosts: [] });
      await database.edit("by hand", "state = 'CLOSED'");
      await eventually(async () => (await b?.ask("look"))?.status === "CLOSED");
      // The process that found the dependency failing finds out by itself when that is over.
      await eventually(async () => (await a?.ask("look"))?.status === "HALF_OPEN");
      expect(await a?.ask("call", "succeed")).toMatchObject({ outcome: "succeeded" });
      expect((await a?.ask("look"))?.status).toBe("CLOSED");
    });
    await pool.end();
  });
});
