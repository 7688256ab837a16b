import { isDeepStrictEqual } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Bulkhead, BulkheadManager } from "../../src/index.js";
import { SEED } from "../fuzz.js";
import { failCalls, passCalls } from "../helpers/failing.js";
import { gate } from "../helpers/gate.js";
import { countEvents, expectedOf, type Figures, REPORTERS, type Reporter } from "./reporters.js";
import { everyKindOfCall, SMALL } from "./traffic.js";

describe.each(REPORTERS)("metrics by $name", ({ start }) => {
  let reporter: Reporter;
  beforeEach(async () => {
    reporter = await start();
  });
  afterEach(() => reporter.stop());

  /** What is reported of one bulkhead. */
  async function figuresOf(name: string): Promise<Figures> {
    const figures = Object.entries(await reporter.read());
    return Object.fromEntries(figures.filter(([key]) => key.match(/\{(.*?)[,}]/s)?.[1] === name));
  }

  it("agree with getStats() at every moment, whatever becomes of a call", async () => {
    const bulkhead = new Bulkhead(SMALL);
    reporter.add(bulkhead);
    const events = countEvents(bulkhead);
    await everyKindOfCall(bulkhead, async (moment) => {
      const expected = { ...expectedOf(bulkhead.getStats()), ...events };
      expect(await reporter.read(), moment).toEqual(expected);
    });
    const { rejections, timedOutExecutions, successfulExecutions } = bulkhead.getStats();
    expect(Object.values(rejections).every((count) => count > 0)).toBe(true);
    expect([timedOutExecutions > 0, successfulExecutions > 0]).toEqual([true, true]);
  });

  it("have every series from the start, at 0, so that a first failure shows as a rise", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    reporter.add(bulkhead);
    expect(await reporter.read()).toEqual(expectedOf(bulkhead.getStats()));
    expect(await reporter.read()).toMatchObject({
      "calls{api,failure}": 0,
      "rejections{api,circuit_open}": 0,
      "would_be_rejections{api,full}": 0,
      "circuit.transitions{api,open}": 0,
      "reclaimed_permits{api}": 0,
      "storage.errors{api}": 0,
      "health_checks{api,failed}": 0,
      "circuit.opened_timestamp{api}": 0,
      "retry_after{api}": 0,
      "state{api,healthy}": 1,
      "circuit.state{api,closed}": 1,
      "circuit.state{api,open}": 0,
    });
  });

  it("begin with what was counted before", async () => {
    const bulkhead = new Bulkhead(SMALL);
    await everyKindOfCall(bulkhead, async () => {});
    reporter.add(bulkhead);
    // Of the calls before, only the times are unknown.
    const expected = Object.entries(expectedOf(bulkhead.getStats()));
    expect(await reporter.read()).toEqual(
      Object.fromEntries(expected.filter(([key]) => !key.includes(".duration"))),
    );
  });

  it("never go down by resetStats(), and lose nothing that was counted since the last reading", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 100 });
    reporter.add(bulkhead);
    await passCalls(bulkhead, 3);
    expect(await reporter.read()).toMatchObject({ "calls{api,success}": 3 });
    await passCalls(bulkhead, 2); // not read before the reset
    bulkhead.isolate();
    await expect(bulkhead.execute(() => 1)).rejects.toThrow();
    bulkhead.release();
    bulkhead.resetStats();
    expect(await reporter.read()).toMatchObject({
      "calls{api,success}": 5,
      "rejections{api,isolated}": 1,
    });
    await passCalls(bulkhead, 1);
    await failCalls(bulkhead, 2);
    bulkhead.resetStats();
    bulkhead.resetStats();
    expect(await reporter.read()).toMatchObject({
      "calls{api,success}": 6,
      "calls{api,failure}": 2,
      "execution.duration{api,success}": 6,
      "wait.duration{api}": 8,
    });
  });

  it("agree in a storm of calls, resets and readings", async () => {
    const seed = SEED;
    const random = randomOf(seed);
    const manager = new BulkheadManager();
    reporter.add(manager);
    const names = ["a", "b"];
    /** What `resetStats()` has taken away. */
    const taken = new Map<string, Figures>();
    const counters = (figures: Figures) =>
      Object.entries(figures).filter(([key]) => /^(calls|rejections|\w+\.duration)/.test(key));
    /** Only counters: the state moves with the clock. */
    const expected = () => {
      const figures = expectedOf(...Array.from(manager, (each) => each.getStats()));
      for (const sum of taken.values()) {
        for (const [key, value] of Object.entries(sum)) figures[key] = (figures[key] ?? 0) + value;
      }
      return counters(figures).sort();
    };
    for (const name of names) {
      await manager.createBulkhead({
        ...SMALL,
        name,
        failureThreshold: 4,
        isolationDuration: 0.001,
      });
    }
    const calls: Array<Promise<unknown>> = [];
    for (let step = 0; step < 300; step++) {
      const name = names[random(names.length)] ?? "";
      const bulkhead = manager.getBulkhead(name);
      if (bulkhead === undefined) throw new Error("no bulkhead");
      const kind = random(20);
      if (kind === 0) {
        const sum = taken.get(name) ?? {};
        for (const [key, value] of counters(expectedOf(bulkhead.getStats()))) {
          sum[key] = (sum[key] ?? 0) + value;
        }
        taken.set(name, sum);
        bulkhead.resetStats();
      } else if (kind === 1) {
        const before = expected();
        const figures = await reporter.read();
        // A call that settles during the reading may be in it or not.
        if (isDeepStrictEqual(before, expected())) {
          expect(counters(figures).sort(), `seed ${seed}, step ${step}`).toEqual(before);
        }
      } else {
        const turns = random(4);
        const task = async () => {
          for (let i = 0; i < turns; i++) await null;
          if (random(3) === 0) throw new Error("down");
        };
        const timeoutSeconds = random(4) === 0 ? 0.001 : null;
        const signal = random(6) === 0 ? AbortSignal.timeout(1) : undefined;
        calls.push(bulkhead.run(task, { timeoutSeconds, signal }).catch(() => {}));
        if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(3)));
      }
    }
    await Promise.all(calls);
    const settled = expected();
    expect(counters(await reporter.read()).sort(), `seed ${seed}`).toEqual(settled);
  });

  it("include bulkheads that a manager makes later", async () => {
    const manager = new BulkheadManager();
    reporter.add(manager);
    expect(await reporter.read()).toEqual({});
    const api = await manager.createBulkhead({ name: "api" });
    const db = await manager.getOrCreateBulkhead({ name: "db" });
    await passCalls(api, 1);
    await passCalls(db, 2);
    expect(await reporter.read()).toEqual(expectedOf(api.getStats(), db.getStats()));
  });

  it("leave alone what a listener before them removes or undoes", async () => {
    const manager = new BulkheadManager();
    let undo = () => {};
    manager.once("created", ({ name }) => manager.removeBulkhead(name));
    manager.on("created", ({ name }) => {
      if (name === "undone") undo();
    });
    undo = reporter.add(manager);
    const all = [
      await manager.createBulkhead({ name: "removed" }),
      await manager.createBulkhead({ name: "undone" }),
    ];
    expect(all.map((bulkhead) => bulkhead.eventNames())).toEqual([[], []]);
    expect(await reporter.read()).toEqual({});
  });

  it("show nothing of a removed bulkhead as if it were there", async () => {
    const manager = new BulkheadManager();
    await manager.createBulkhead({ name: "api" });
    const db = await manager.createBulkhead({ name: "db" });
    reporter.add(manager);
    await passCalls(db, 1);
    await reporter.read();
    manager.removeBulkhead("api");
    // The SDK of OpenTelemetry has no way to end a series of cumulative values: it is 0 there.
    const left = Object.values(await figuresOf("api"));
    expect(left.filter((value) => value !== 0)).toEqual([]);
    expect(await figuresOf("db")).toEqual(expectedOf(db.getStats()));
  });

  it("know a bulkhead that is made again by the same name", async () => {
    const manager = new BulkheadManager();
    reporter.add(manager);
    await manager.createBulkhead({ name: "api", maxConcurrentCalls: 1 });
    await reporter.read();
    manager.removeBulkhead("api");
    const again = await manager.createBulkhead({ name: "api", maxConcurrentCalls: 2 });
    await passCalls(again, 2);
    expect(await reporter.read()).toEqual(expectedOf(again.getStats()));
  });

  it("count a bulkhead once that is added by itself, in its manager, and again", async () => {
    const manager = new BulkheadManager();
    const api = await manager.createBulkhead({ name: "api" });
    const undo = [reporter.add(api), reporter.add(manager), reporter.add(manager)];
    await passCalls(api, 2);
    expect(await reporter.read()).toEqual(expectedOf(api.getStats()));
    undo[0]?.();
    undo[1]?.();
    await passCalls(api, 1);
    expect(await reporter.read()).toEqual(expectedOf(api.getStats()));
    undo[2]?.();
    expect(api.eventNames()).toEqual([]);
  });

  it("add up bulkheads of one name", async () => {
    const [reads, writes] = [new Bulkhead({ name: "db" }), new Bulkhead({ name: "db" })];
    const undoReads = reporter.add(reads);
    reporter.add(writes);
    await passCalls(reads, 2);
    await passCalls(writes, 3);
    writes.isolate();
    const both = {
      "calls{db,success}": 5,
      "wait.duration{db}": 5,
      "concurrency.limit{db}": 20,
      "state{db,healthy}": 1,
      "state{db,isolated}": 1,
      "circuit.state{db,closed}": 2,
    };
    expect(await reporter.read()).toMatchObject(both);
    undoReads();
    await passCalls(reads, 7);
    expect(await reporter.read()).toMatchObject({
      ...both,
      "concurrency.limit{db}": 10,
      "state{db,healthy}": 0,
      "circuit.state{db,closed}": 1,
    });
  });

  it("leave nothing behind when they are undone, as often as one likes", async () => {
    const manager = new BulkheadManager();
    const api = await manager.createBulkhead({ name: "api" });
    const undo = reporter.add(manager);
    const undoBulkhead = reporter.add(api);
    await passCalls(api, 1);
    await reporter.read();
    for (let i = 0; i < 2; i++) {
      undo();
      undoBulkhead();
    }
    await manager.createBulkhead({ name: "later" });
    await passCalls(api, 5);
    const counted = { "calls{api,success}": 1, "execution.duration{api,success}": 1 };
    const left = Object.entries(await reporter.read()).filter(([, value]) => value !== 0);
    // Counters of an SDK keep what they have.
    for (const [key, value] of left)
      expect({ ...counted, "wait.duration{api}": 1 }[key]).toBe(value);
    expect([...manager.eventNames(), ...api.eventNames()]).toEqual([]);
  });

  it("undone once, are not undone again by the same function after they were added anew", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = reporter.add(bulkhead);
    await passCalls(bulkhead, 2);
    undo();
    reporter.add(bulkhead);
    undo();
    await passCalls(bulkhead, 1);
    expect(await reporter.read()).toMatchObject({
      "calls{api,success}": 3,
      "concurrency.limit{api}": 10,
    });
  });

  it("have as many series as there are bulkheads times fixed labels, whatever calls carry", async () => {
    const manager = new BulkheadManager();
    reporter.add(manager);
    const series = async () => Object.keys(await reporter.read()).length;
    const counts: number[] = [];
    for (const name of ["api", "db", "mail"]) {
      const bulkhead = await manager.createBulkhead({ ...SMALL, name });
      await everyKindOfCall(bulkhead, async () => {});
      counts.push(await series());
    }
    const [one = 0] = counts;
    expect(counts).toEqual([one, one * 2, one * 3]);
    await manager.shutdown();
    for (let user = 0; user < 20; user++) {
      await manager
        .getBulkhead("api")
        ?.execute((id) => id, user)
        .catch(() => {});
    }
    expect(await series()).toBe(one * 3);
    expect(JSON.stringify(await reporter.read())).not.toContain("Mallory");
  });

  it("accept every name as it is", async () => {
    const manager = new BulkheadManager();
    reporter.add(manager);
    for (const name of [
      "__proto__",
      "constructor",
      'a "quoted" one',
      "back\\slash",
      "é\u2028€",
      " ",
    ]) {
      const bulkhead = await manager.createBulkhead({ name });
      await passCalls(bulkhead, 1);
      expect(await figuresOf(name)).toEqual(expectedOf(bulkhead.getStats()));
      manager.removeBulkhead(name);
    }
  });

  it("have no circuit in any state when it is switched off", async () => {
    const bulkhead = new Bulkhead({ name: "api", circuitBreakerEnabled: false });
    reporter.add(bulkhead);
    const figures = await reporter.read();
    expect(figures).toEqual(expectedOf(bulkhead.getStats()));
    expect(figures["circuit.state{api,closed}"]).toBe(0);
  });

  it("change nothing for the caller of a call that is under way when they are undone", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    const undo = reporter.add(bulkhead);
    const busy = gate<string>();
    const call = bulkhead.execute(() => busy.promise);
    undo();
    busy.open("done");
    expect((await call).result).toBe("done");
    expect(bulkhead.getStats().successfulExecutions).toBe(1);
  });

  it("throw for what is neither bulkhead nor manager", () => {
    for (const wrong of [undefined, null, "api", {}, [], new Map(), () => {}]) {
      expect(() => reporter.add(wrong as never)).toThrow(TypeError);
    }
  });
});

/** mulberry32: whole numbers below `limit`. */
function randomOf(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}
