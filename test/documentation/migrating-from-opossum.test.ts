import { readFileSync } from "node:fs";
import { join } from "node:path";
import CircuitBreaker from "opossum-10";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadError, type BulkheadEvents, withBulkhead } from "../../src/index.js";
import { gate } from "../helpers/gate.js";
import { ROOT, readPage } from "./examples.js";
import {
  breaker,
  down,
  firing,
  never,
  outcomes,
  pass,
  sleep,
  through,
  up,
  watch,
} from "./peers.js";
import { codeIn, tableBelow, titlesBelow } from "./tables.js";

const GUIDE = readPage("docs/migration/from-opossum.md");
const SOURCE = readFileSync(join(ROOT, "node_modules/opossum-10/lib/circuit.js"), "utf8");
const { config: DEFAULTS } = new Bulkhead({ name: "x" });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Each different text that the first group of a pattern matches in opossum's source. */
function namesInSource(pattern: RegExp): string[] {
  return [...new Set(Array.from(SOURCE.matchAll(pattern), ([, name = ""]) => name))].sort();
}

function firstColumn(heading: string): string[] {
  return tableBelow(GUIDE, heading).flatMap(([cell = ""]) => codeIn(cell));
}

function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "resolved",
    (error) => error.code,
  );
}

describe("the table of opossum's options", () => {
  const rows = tableBelow(GUIDE, "## Options");

  it("has every option that opossum reads", () => {
    expect(firstColumn("## Options").sort()).toEqual(namesInSource(/options\.(\w+)/g));
  });

  it("has opossum's defaults", () => {
    const { options } = new CircuitBreaker(up) as unknown as { options: Record<string, unknown> };
    for (const [names = "", value = ""] of rows) {
      const [code] = codeIn(value);
      if (code === undefined) continue;
      for (const name of codeIn(names)) expect(options).toHaveProperty(name, JSON.parse(code));
    }
  });

  it("has the fields here with their defaults, and no others", () => {
    for (const [, , here = "", value = ""] of rows) {
      const [field] = codeIn(here);
      if (field === undefined) continue;
      expect(DEFAULTS).toHaveProperty(field);
      const [code] = codeIn(value);
      if (code !== undefined) expect(DEFAULTS).toHaveProperty(field, JSON.parse(code));
    }
  });

  it("says rightly which options are refused here", () => {
    const refused = rows
      .filter(([, , here]) => here === "–")
      .flatMap(([name = ""]) => codeIn(name));
    expect(refused).toContain("cache");
    for (const name of refused) {
      expect(() => new Bulkhead({ name: "x", [name]: 1 })).toThrow(TypeError);
    }
  });
});

describe("the other tables of what opossum has", () => {
  it("have every method and property", () => {
    const ofPrototype = Object.getOwnPropertyNames(CircuitBreaker.prototype).filter(
      (name) => name !== "constructor" && !name.startsWith("_"),
    );
    expect(firstColumn("## Methods and properties").sort()).toEqual(ofPrototype.sort());
  });

  it("have every event, and name events that are there here", () => {
    const shown = firstColumn("## Events");
    expect(shown.sort()).toEqual(namesInSource(/emit\(\s*['"](\w+)/g));
    const here = tableBelow(GUIDE, "## Events").flatMap(([, cell = ""]) => codeIn(cell)[0] ?? []);
    const events: Array<keyof BulkheadEvents> = [
      ...(["stateChange", "success", "failure", "timeout", "rejected"] as const),
      ...(["healthCheck", "shutdown"] as const),
    ];
    expect(here).toEqual(events);
  });

  const ERRORS: Record<string, readonly [there: () => unknown, here: () => unknown]> = {
    EOPENBREAKER: [
      () => afterOpening(firing(breaker({}))),
      () => afterOpening(through({ failureThreshold: 1 })),
    ],
    ETIMEDOUT: [
      () => timingOut(firing(breaker({ timeout: 1000 }))),
      () => timingOut(through({ timeoutSeconds: 1 })),
    ],
    ESEMLOCKED: [
      () => whenFull(firing(breaker({ capacity: 1 }))),
      () => whenFull(through({ maxConcurrentCalls: 1, maxQueueSize: 0 })),
    ],
    ESHUTDOWN: [
      async () => {
        const circuit = breaker({});
        circuit.shutdown();
        return codeOf(circuit.fire(up));
      },
      async () => {
        const bulkhead = new Bulkhead({ name: "x" });
        await bulkhead.shutdown();
        return codeOf(bulkhead.execute(up));
      },
    ],
  };

  it.for(tableBelow(GUIDE, "## Errors"))("have the code of %s in both", async (row) => {
    const [there = "", here = "", type = ""] = row.map((cell) => codeIn(cell)[0] ?? "");
    const [inOpossum, inBulkman] = ERRORS[there] ?? [];
    expect(await inOpossum?.()).toBe(there);
    expect(await inBulkman?.()).toBe(here);
    const { [type]: ErrorClass } = await import("../../src/index.js").then(Object);
    expect(ErrorClass.code).toBe(here);
  });

  it("have every code", () => {
    expect(firstColumn("## Errors").sort()).toEqual(Object.keys(ERRORS).sort());
    expect(Object.keys(ERRORS).filter((code) => !SOURCE.includes(`'${code}'`))).toEqual([]);
  });

  type Calling = (work: () => unknown) => Promise<unknown>;
  async function afterOpening(call: Calling) {
    await codeOf(call(down));
    return codeOf(call(up));
  }
  async function timingOut(call: Calling) {
    const code = codeOf(call(never));
    await pass(1);
    return code;
  }
  async function whenFull(call: Calling) {
    watch(call(never));
    return codeOf(call(up));
  }
});

/** For each difference of the guide, what both libraries do. */
const DIFFERENCES: Record<string, () => Promise<void>> = {
  "One failure opens no circuit.": async () => {
    const circuit = breaker({});
    await codeOf(circuit.fire(down));
    expect(circuit.opened).toBe(true);
    const bulkhead = new Bulkhead({ name: "x", failureRateThreshold: 50 });
    for (let i = 0; i < 4; i++) await bulkhead.execute(down);
    expect(bulkhead.getState()).toBe("healthy");
    await bulkhead.execute(down);
    expect(bulkhead.getState()).toBe("isolated");
    const touchy = new Bulkhead({ name: "x", failureRateThreshold: 50, minimumCalls: 1 });
    await touchy.execute(down);
    expect(touchy.getState()).toBe("isolated");
  },

  "5 consecutive failures open the circuit": async () => {
    const circuit = breaker({ errorThresholdPercentage: 50, volumeThreshold: 10 });
    const byRate = { name: "x", failureRateThreshold: 50 };
    const [strict, same] = [null, 5]
      .map((failureThreshold) => new Bulkhead({ ...byRate, failureThreshold }))
      .reverse();
    const openings: string[] = [];
    circuit.on("open", () => openings.push("opossum"));
    same?.on("stateChange", ({ to }) => openings.push(to));
    let strictOpenings = 0;
    strict?.on("stateChange", () => strictOpenings++);
    for (const outcome of outcomes()) {
      await codeOf(circuit.fire(outcome));
      for (const bulkhead of [strict, same]) await bulkhead?.execute(outcome).catch(() => {});
    }
    expect(openings).toEqual([]);
    expect(strictOpenings).toBeGreaterThan(0);
  },

  "A percentage is reached, not exceeded.": async () => {
    const alternating = [up, down, up, down, up, down, up, down, up, down];
    const circuit = breaker({ errorThresholdPercentage: 50 });
    const bulkhead = new Bulkhead({ name: "x", failureRateThreshold: 50, failureThreshold: null });
    for (const outcome of alternating) {
      await codeOf(circuit.fire(outcome));
      await bulkhead.execute(outcome);
    }
    expect(circuit.opened).toBe(false);
    expect(bulkhead.getState()).toBe("isolated");
  },

  "The circuit closes after 3 successful probes": async () => {
    const circuit = breaker({ resetTimeout: 1000 });
    await codeOf(circuit.fire(down));
    await pass(1);
    await circuit.fire(up);
    expect(circuit.closed).toBe(true);
    for (const [successThreshold, probes] of [
      [undefined, 3],
      [1, 1],
    ] as const) {
      const config = { name: "x", failureThreshold: 1, isolationDuration: 0, successThreshold };
      const bulkhead = new Bulkhead(config);
      await bulkhead.execute(down);
      for (let probe = 1; probe <= probes; probe++) {
        expect(bulkhead.getState()).toBe("degraded");
        await bulkhead.execute(up);
      }
      expect(bulkhead.getState()).toBe("healthy");
    }
  },

  "Calls over the limit wait.": async () => {
    const second = async (call: (work: () => unknown) => Promise<unknown>) => {
      watch(call(never));
      const outcome = watch(call(up));
      await pass(0);
      return outcome.state;
    };
    expect(await second(firing(breaker({ capacity: 1 })))).toBe("rejected");
    expect(await second(through({ maxConcurrentCalls: 1 }))).toBe("pending");
    expect(await second(through({ maxConcurrentCalls: 1, maxQueueSize: 0 }))).toBe("rejected");
  },

  "Being full is no failure.": async () => {
    const running = gate();
    const circuit = breaker({ capacity: 1 });
    watch(circuit.fire(() => running.promise));
    for (let i = 0; i < 2; i++) await codeOf(circuit.fire(up));
    expect(circuit.opened).toBe(true);
    const config = { name: "x", maxConcurrentCalls: 1, maxQueueSize: 0, failureThreshold: 1 };
    const bulkhead = new Bulkhead(config);
    watch(bulkhead.execute(() => running.promise));
    for (let i = 0; i < 2; i++) await codeOf(bulkhead.execute(up));
    expect(bulkhead.getState()).toBe("healthy");
    running.open();
  },

  "There is no time limit by default.": async () => {
    const limited = watch(new CircuitBreaker(async () => never()).fire());
    const free = watch(new Bulkhead({ name: "x" }).execute(never));
    await pass(9.9);
    expect(limited.state).toBe("pending");
    await pass(0.1);
    expect(limited).toMatchObject({ state: "rejected", value: { code: "ETIMEDOUT" } });
    await pass(24 * 3600);
    expect(free.state).toBe("pending");
  },

  "Work that timed out keeps its permit": async () => {
    const startsNext = async (call: (work: () => unknown) => Promise<unknown>) => {
      watch(call(never));
      await pass(1);
      const started = vi.fn(up);
      watch(call(started));
      await pass(0.5);
      return started.mock.calls.length > 0;
    };
    const lenient = { capacity: 1, timeout: 1000, errorThresholdPercentage: 100 };
    expect(await startsNext(firing(breaker(lenient)))).toBe(true);
    const config = { maxConcurrentCalls: 1, timeoutSeconds: 1 };
    expect(await startsNext(through(config))).toBe(false);
    expect(await startsNext(through({ ...config, reclaimAfterSeconds: 0 }))).toBe(true);
  },

  "Each call has its own signal.": async () => {
    const abortController = new AbortController();
    const circuit = breaker({ timeout: 1000, abortController });
    const bulkhead = new Bulkhead({ name: "x", timeoutSeconds: 1 });
    const signals: AbortSignal[] = [];
    const task = ({ signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      return never();
    };
    watch(circuit.fire(never));
    watch(bulkhead.run(task));
    await pass(0.5);
    const later = watch(circuit.fire(never));
    watch(bulkhead.run(task));
    await pass(0.5);
    expect({ later: later.state, aborted: abortController.signal.aborted }).toEqual({
      later: "pending",
      aborted: true,
    });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  },

  "A caller that aborts moves nothing.": async () => {
    const untilAborted = (signal: AbortSignal) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      });
    const caller = new AbortController();
    const { signal } = caller;
    const circuit = breaker({});
    const bulkhead = new Bulkhead({ name: "x", failureThreshold: 1 });
    watch(circuit.fire(() => untilAborted(signal)));
    const following = watch(bulkhead.run((task) => untilAborted(task.signal), { signal }));
    const ignoring = watch(bulkhead.run(never, { signal }));
    await pass(0);
    caller.abort("no longer needed");
    await pass(0);
    expect([circuit.opened, bulkhead.getState()]).toEqual([true, "healthy"]);
    const rejected = { state: "rejected", value: "no longer needed" };
    expect([following, ignoring]).toEqual([rejected, rejected]);
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
  },

  "A failure is a result of `execute`.": async () => {
    const error = new Error("down");
    const fails = () => Promise.reject(error);
    await expect(breaker({}).fire(fails)).rejects.toBe(error);
    const bulkhead = new Bulkhead({ name: "x" });
    expect(await bulkhead.execute(fails)).toMatchObject({
      success: false,
      error: { cause: error },
    });
    const rejection = await withBulkhead(bulkhead)(fails)().catch((thrown: unknown) => thrown);
    expect(rejection).toBeInstanceOf(BulkheadError);
    expect(rejection).toMatchObject({ code: "ERR_BULKHEAD", cause: error });
  },

  "A passing health check ends the isolation.": async () => {
    let isWell = false;
    const check = async () => {
      if (!isWell) throw new Error("ill");
    };
    const circuit = breaker({ resetTimeout: 3_600_000 });
    circuit.healthCheck(check, 1000);
    const bulkhead = new Bulkhead({
      name: "x",
      isolationDuration: 3600,
      healthCheck: check,
      healthCheckInterval: 1,
    });
    await pass(1);
    expect([circuit.opened, bulkhead.getState()]).toEqual([true, "isolated"]);
    isWell = true;
    await pass(5);
    expect([circuit.opened, bulkhead.getState()]).toEqual([true, "degraded"]);
    circuit.shutdown();
    await bulkhead.shutdown();
  },

  "An open circuit has no timer.": async () => {
    const circuit = breaker({ resetTimeout: 1000 });
    const bulkhead = new Bulkhead({ name: "x", failureThreshold: 1, isolationDuration: 1 });
    const heard: string[] = [];
    circuit.on("halfOpen", () => heard.push("opossum"));
    bulkhead.on("stateChange", ({ to }) => heard.push(to));
    await codeOf(circuit.fire(down));
    await bulkhead.execute(down);
    await pass(2);
    expect(heard).toEqual(["OPEN", "opossum"]);
    expect(bulkhead.getState()).toBe("degraded");
    expect(heard).toEqual(["OPEN", "opossum", "HALF_OPEN"]);
  },

  "A result from before the circuit opened moves nothing.": async () => {
    for (const ending of ["open", "fail"] as const) {
      const late = gate<unknown>();
      const circuit = breaker({ resetTimeout: 1000, errorThresholdPercentage: 1 });
      const bulkhead = new Bulkhead({ name: "x", failureThreshold: 1, isolationDuration: 1 });
      watch(circuit.fire(() => late.promise));
      watch(bulkhead.execute(() => late.promise));
      await codeOf(circuit.fire(down));
      await bulkhead.execute(down);
      await pass(1);
      watch(circuit.fire(() => sleep(60)));
      watch(bulkhead.execute(() => sleep(60)));
      await pass(0);
      expect([circuit.halfOpen, bulkhead.getState()]).toEqual([true, "degraded"]);
      late[ending](new Error("late"));
      await pass(0);
      expect(circuit[ending === "open" ? "closed" : "opened"]).toBe(true);
      expect(bulkhead.getState()).toBe("degraded");
    }
  },
};

describe("what the guide says behaves differently from opossum", () => {
  it("is all observed here", () => {
    expect(titlesBelow(GUIDE, "## What behaves differently")).toEqual(Object.keys(DIFFERENCES));
  });

  it.for(Object.entries(DIFFERENCES))("%s", ([, observe]) => observe());
});
