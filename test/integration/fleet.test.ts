import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, service, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { withChildren } from "./fleet.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const config = (name: string, settings = {}) => ({
  name,
  failureThreshold: 1,
  successThreshold: 1,
  isolationDuration: 60,
  ...settings,
});
const start = (name: string, settings = {}, options = {}) => ({
  config: config(name, settings),
  storage: { connectionString: database.url, queryTimeoutSeconds: 10, ...options },
});
const stateOf = async (name: string) => {
  const [row] = await database.query<{ state: string; probe_owner: string | null }>(
    "SELECT state, probe_owner FROM rc_circuit_breakers WHERE resource_key = $1",
    [name],
  );
  return row?.state;
};

describe("a fleet of processes", () => {
  it("creates the table once, however many start at once on an empty database", async () => {
    const empty = await createDatabase();
    try {
      await withChildren(12, async (children) => {
        const storage = { connectionString: empty.url, queryTimeoutSeconds: 10 };
        const looks = await Promise.all(
          children.map((child, n) =>
            child.ask("start", { config: config(`api ${n % 3}`), storage }),
          ),
        );
        expect(looks).toEqual(looks.map(() => ({ status: "CLOSED", troubles: [] })));
        const rows = await empty.query("SELECT state FROM rc_circuit_breakers");
        expect(rows).toEqual([{ state: "CLOSED" }, { state: "CLOSED" }, { state: "CLOSED" }]);
        await Promise.all(children.map((child) => child.stop()));
      });
      // The server takes a moment to see that a connection was closed.
      await eventually(async () => {
        const left = await empty.query(
          "SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name = 'bulkman'",
          [empty.name],
        );
        return left.length === 0;
      });
    } finally {
      await empty.drop();
    }
  });

  it("rejects the first call of a process that starts while the circuit is open", async () => {
    await withChildren(2, async ([first, second]) => {
      await first?.ask("start", start("late"));
      await first?.ask("call", "fail");
      await eventually(async () => (await stateOf("late")) === "OPEN");
      const outcome = await second?.ask("startAndCall", start("late"));
      expect(outcome).toMatchObject({ outcome: "refused", code: "ERR_BULKHEAD_CIRCUIT_OPEN" });
      expect(outcome?.retryAfterSeconds).toBeGreaterThan(30);
      expect(outcome?.retryAfterSeconds).toBeLessThanOrEqual(60);
    });
  });

  it("is probed by the first call of a process that starts when the isolation is over", async () => {
    await withChildren(2, async ([first, second]) => {
      const begin = start("restarted", { isolationDuration: 0.2, successThreshold: 2 });
      await first?.ask("start", begin);
      await first?.ask("call", "fail");
      await eventually(async () => (await stateOf("restarted")) === "OPEN");
      await first?.kill();
      await new Promise((resolve) => setTimeout(resolve, 250));
      expect(await second?.ask("startAndCall", begin)).toMatchObject({ outcome: "succeeded" });
      expect(await second?.ask("call", "succeed")).toMatchObject({ outcome: "succeeded" });
      await eventually(async () => (await stateOf("restarted")) === "CLOSED");
    });
  });

  it("spreads an opening to another process, and how fast", async () => {
    const rounds = Number(process.env["SPREAD_ROUNDS"] ?? 100);
    await withChildren(2, async ([a, b]) => {
      if (a === undefined || b === undefined) throw new Error("no children");
      await Promise.all([a.ask("start", start("spread")), b.ask("start", start("spread"))]);
      // Until both listen, a change may be read instead of notified.
      await eventually(async () => (await listeners(database)) >= 2);
      const spreads: number[] = [];
      for (let round = 0; round < rounds; round++) {
        await b.ask("watch");
        const failed = await a.ask("call", "fail");
        const refused = await b.ask("watched");
        expect(refused).toMatchObject({ outcome: "refused", code: "ERR_BULKHEAD_CIRCUIT_OPEN" });
        spreads.push((refused?.at ?? Number.NaN) - failed.at);
        await a.ask("close");
        await eventually(async () => (await b.ask("look")).status === "CLOSED");
        await eventually(async () => (await stateOf("spread")) === "CLOSED");
      }
      spreads.sort((one, other) => one - other);
      const at = (part: number) => spreads[Math.ceil(spreads.length * part) - 1]?.toFixed(2);
      console.log(`spread over ${rounds} openings: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
      expect(spreads).toHaveLength(rounds);
    });
  }, 60_000);

  it("has one opener: the others follow it", async () => {
    await withChildren(4, async (children) => {
      await Promise.all(
        children.map((child, n) =>
          child.ask("start", start("race", { isolationDuration: 100 + 50 * n })),
        ),
      );
      await Promise.all(children.map((child) => child.ask("call", "fail")));
      await eventually(async () => {
        const looks = await Promise.all(children.map((child) => child.ask("look")));
        return looks.every(({ status }) => status === "OPEN");
      });
      // Each gets the isolation of the one that won.
      await eventually(async () => {
        const [row] = await database.query<{ left: number }>(
          `SELECT extract(epoch FROM open_until - clock_timestamp())::float AS left
           FROM rc_circuit_breakers WHERE resource_key = 'race'`,
        );
        const calls = await Promise.all(children.map((child) => child.ask("call", "succeed")));
        return calls.every(
          ({ outcome, retryAfterSeconds }) =>
            outcome === "refused" && Math.abs((retryAfterSeconds ?? 0) - (row?.left ?? 0)) < 20,
        );
      });
    });
  });

  it("has one prober, who closes the circuit for all", async () => {
    await withChildren(4, async (children) => {
      const settings = { isolationDuration: 0.3 };
      await Promise.all(children.map((child) => child.ask("start", start("probe", settings))));
      await children[0]?.ask("call", "fail");
      await eventually(async () => (await stateOf("probe")) === "OPEN");
      await eventually(async () => {
        const looks = await Promise.all(children.map((child) => child.ask("look")));
        return looks.every(({ status }) => status === "HALF_OPEN");
      });
      const outcomes = await Promise.all(children.map((child) => child.ask("hold")));
      expect(outcomes.map(({ outcome }) => outcome).toSorted()).toEqual([
        "refused",
        "refused",
        "refused",
        "started",
      ]);
      await children[outcomes.findIndex(({ outcome }) => outcome === "started")]?.ask("letGo");
      await eventually(async () => {
        const looks = await Promise.all(children.map((child) => child.ask("look")));
        return looks.every(({ status }) => status === "CLOSED");
      });
      expect(await stateOf("probe")).toBe("CLOSED");
    });
  });

  it("replaces a prober that was killed, when its lease has run out", async () => {
    await withChildren(3, async (children) => {
      const begin = start("killed", { isolationDuration: 0.2 }, { probeLeaseSeconds: 1.5 });
      await Promise.all(children.map((child) => child.ask("start", begin)));
      await children[0]?.ask("call", "fail");
      await eventually(async () => (await stateOf("killed")) === "OPEN");
      const prober = await eventually(async () => {
        for (const child of children) {
          if ((await child.ask("hold")).outcome === "started") return child;
        }
        return undefined;
      });
      const killedAt = performance.now();
      await prober.kill();
      const survivors = children.filter((child) => child !== prober);
      expect(await Promise.all(survivors.map((child) => child.ask("hold")))).toEqual(
        survivors.map(() => ({ outcome: "refused", code: "ERR_BULKHEAD_CIRCUIT_OPEN" })),
      );
      const next = await eventually(async () => {
        const outcomes = await Promise.all(survivors.map((child) => child.ask("hold")));
        const started = outcomes.filter(({ outcome }) => outcome === "started").length;
        expect(started).toBeLessThanOrEqual(1);
        return survivors[outcomes.findIndex(({ outcome }) => outcome === "started")];
      });
      console.log(
        `a killed prober was replaced after ${Math.round(performance.now() - killedAt)} ms`,
      );
      await next.ask("letGo");
      await eventually(async () => {
        const looks = await Promise.all(survivors.map((child) => child.ask("look")));
        return looks.every(({ status }) => status === "CLOSED");
      });
    });
  });

  it("lets a script exit that forgets close()", async () => {
    const file = join(await service<string>("child"), "child.js");
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [file, JSON.stringify(start("forgetful"))],
      { timeout: 20_000 },
    );
    expect(stdout).toBe("failed ERR_BULKHEAD_CIRCUIT_OPEN\n");
    expect(await stateOf("forgetful")).toBe("OPEN");
  });
});

async function listeners({ name, query }: TestDatabase): Promise<number> {
  const [row] = await query<{ count: number }>(
    `SELECT count(*)::int FROM pg_stat_activity
     WHERE datname = $1 AND application_name = 'bulkman' AND query LIKE 'LISTEN%'`,
    [name],
  );
  return row?.count ?? 0;
}
