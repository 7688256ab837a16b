import { AsyncLocalStorage } from "node:async_hooks";
import * as version4 from "cockatiel";
import * as version3 from "cockatiel-3";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as bulkman from "../../src/index.js";
import { gate } from "../helpers/gate.js";
import { readPage } from "./examples.js";
import { type Call, down, never, outcomes, pass, sleep, through, up, watch } from "./peers.js";
import { codeIn, tableBelow, titlesBelow } from "./tables.js";

const { Bulkhead } = bulkman;
const { CircuitState } = version3;

type Cockatiel = typeof version3;
/** Their exports have the same names, and the types of an error differ. */
const VERSIONS: ReadonlyArray<readonly [number, Cockatiel]> = [
  [3, version3],
  [4, version4 as unknown as Cockatiel],
];
let cockatiel = version3;

const GUIDE = readPage("docs/migration/from-cockatiel.md");

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function circuit(breaker: version3.IBreaker = new cockatiel.ConsecutiveBreaker(1)) {
  return cockatiel.circuitBreaker(cockatiel.handleAll, { halfOpenAfter: 1000, breaker });
}

function aggressive() {
  return cockatiel.timeout(1000, cockatiel.TimeoutStrategy.Aggressive);
}

function executing(policy: Pick<version3.IPolicy, "execute">): Call {
  return async (work) => policy.execute(work);
}

/** With a rule that opens the circuit beside that of consecutive failures. */
const RATE = { name: "x", failureRateThreshold: 50 };

/** Opens at the first failure, for a second; closes at the first success. */
const TOUCHY = { failureThreshold: 1, successThreshold: 1, isolationDuration: 1 };

async function refuses(call: Call): Promise<boolean> {
  const work = vi.fn(up);
  await call(work).catch(() => {});
  return work.mock.calls.length === 0;
}

function classOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "none",
    (error: Error) => error.constructor.name,
  );
}

describe.each(VERSIONS)("the tables of what cockatiel %i has", (_version, library) => {
  beforeEach(() => {
    cockatiel = library;
  });

  it("have every export", () => {
    const rows = tableBelow(GUIDE, "## What becomes of each export");
    const exported = Object.keys(cockatiel).filter((name) => !/^(default|__esModule)$/.test(name));
    expect(rows.flatMap(([cell = ""]) => codeIn(cell)).sort()).toEqual(exported.sort());
  });

  it("have every public member of the policies that a bulkhead stands for", () => {
    const policies = [cockatiel.bulkhead(1), circuit(), aggressive()];
    const members = policies.flatMap((policy) => [
      ...Object.keys(policy).filter((name) => /^on[A-Z]/.test(name) && !name.endsWith("Emitter")),
      ...Object.getOwnPropertyNames(Object.getPrototypeOf(policy)),
    ]);
    // What the types call private, and what only lets the process end sooner.
    const inner = /^(constructor|dequeue|open|close|dangerouslyUnref|.*halfOpen.*)$/i;
    const shown = tableBelow(GUIDE, "## Members of policies")
      .flatMap(([cell = ""]) => codeIn(cell))
      .map((code) => code.replace(/\(.*/, ""))
      .filter((name) => name !== "dispose");
    const wanted = members.filter((name) => name === "onHalfOpen" || !inner.test(name));
    expect(shown.sort()).toEqual([...new Set(wanted)].sort());
  });

  it("have options that are there here", () => {
    for (const [, here = ""] of tableBelow(GUIDE, "## Options")) {
      for (const code of codeIn(here)) {
        const [field = "", value] = code.split(": ");
        if (value === undefined) expect(field).toBe("circuitStorage");
        else
          expect(
            new Bulkhead({ ...RATE, [field]: JSON.parse(value.replace("_", "")) }).config,
          ).toHaveProperty(field);
      }
    }
  });

  it("have samplers and what opens after as many failures", async () => {
    const { SamplingBreaker, CountBreaker } = cockatiel;
    const samplers: Record<string, version3.IBreaker> = {
      "new SamplingBreaker({ threshold: 0.2, duration: 30_000 })": new SamplingBreaker({
        threshold: 0.2,
        duration: 30_000,
      }),
      "new SamplingBreaker({ threshold: 0.2, duration: 30_000, minimumRps: 10 })":
        new SamplingBreaker({ threshold: 0.2, duration: 30_000, minimumRps: 10 }),
      "new CountBreaker({ threshold: 0.2, size: 100 })": new CountBreaker({
        threshold: 0.2,
        size: 100,
      }),
      "new CountBreaker({ threshold: 0.2, size: 100, minimumNumberOfCalls: 50 })": new CountBreaker(
        { threshold: 0.2, size: 100, minimumNumberOfCalls: 50 },
      ),
    };
    const failuresUntilRefused = async (call: Call) => {
      for (let failures = 0; failures <= 1000; failures++) {
        const work = vi.fn(down);
        await call(work).catch(() => {});
        if (work.mock.calls.length === 0) return failures;
      }
      return Number.NaN;
    };
    const rows = tableBelow(GUIDE, "## Options").filter(([there = ""]) =>
      /Breaker\(\{/.test(there),
    );
    expect(rows.map(([there = ""]) => codeIn(there)[0])).toEqual(Object.keys(samplers));
    for (const [there = "", here = ""] of rows) {
      const fields = codeIn(here).map((code) => code.split(": "));
      const config = Object.fromEntries(
        fields.map(([field, value = ""]) => [field, JSON.parse(value)]),
      );
      const policy = circuit(samplers[codeIn(there)[0] ?? ""]);
      const expected = await failuresUntilRefused(executing(policy));
      const bulkhead = through(config);
      expect(await failuresUntilRefused(bulkhead)).toBe(expected);
      expect(config["minimumCalls"]).toBe(expected);
    }
  });

  it("have the errors of the same occasions", async () => {
    const full = async (call: Call) => {
      watch(call(never));
      return classOf(call(up));
    };
    const open = async (call: Call) => {
      await call(down).catch(() => {});
      return classOf(call(up));
    };
    const late = async (call: Call) => {
      const name = classOf(call(never));
      await pass(1);
      return name;
    };
    const isolated = circuit();
    isolated.isolate();
    const isolatedHere = new Bulkhead({ name: "x" });
    isolatedHere.isolate();
    const occasions = [
      [
        await full(executing(cockatiel.bulkhead(1))),
        await full(through({ maxConcurrentCalls: 1, maxQueueSize: 0 })),
      ],
      [await open(executing(circuit())), await open(through(TOUCHY))],
      [await classOf(isolated.execute(up)), await classOf(isolatedHere.execute(up))],
      [await late(executing(aggressive())), await late(through({ timeoutSeconds: 1 }))],
    ];
    const rows = tableBelow(GUIDE, "## Errors").map((row) => row.map((cell) => codeIn(cell)[0]));
    expect(rows).toEqual([...occasions, ["HydratingCircuitError", undefined]]);
  });
});

/** For each difference of the guide, what both libraries do. */
const DIFFERENCES: Record<string, () => Promise<void>> = {
  "A failure is a result of `execute` and `run`.": async () => {
    const error = new Error("down");
    const fails = () => Promise.reject(error);
    await expect(circuit().execute(fails)).rejects.toBe(error);
    const bulkhead = new Bulkhead({ name: "x" });
    const outcome = { success: false, error: { cause: error } };
    expect(await bulkhead.execute(fails)).toMatchObject(outcome);
    expect(await bulkhead.run(fails)).toMatchObject(outcome);
    await expect(bulkman.withBulkhead(bulkhead)(fails)()).rejects.toMatchObject({ cause: error });
  },

  "`errorFilter` is `handleWhen` the other way round.": async () => {
    const isMissing = (error: Error) => error.message === "missing";
    const policy = cockatiel.circuitBreaker(cockatiel.handleWhen(isMissing), {
      halfOpenAfter: 1000,
      breaker: new cockatiel.ConsecutiveBreaker(1),
    });
    const calls = [executing(policy), through({ ...TOUCHY, errorFilter: isMissing })];
    for (const call of calls) {
      await call(() => Promise.reject(new Error("missing"))).catch(() => {});
    }
    expect(await Promise.all(calls.map(refuses))).toEqual([true, false]);
  },

  "A rate is reached, not exceeded.": async () => {
    const { SamplingBreaker, CountBreaker } = cockatiel;
    const calls = [
      executing(
        circuit(new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 0.1 })),
      ),
      executing(circuit(new CountBreaker({ threshold: 0.5, size: 10 }))),
      through({ failureRateThreshold: 50, failureThreshold: null }),
    ];
    for (const call of calls) {
      for (let i = 0; i < 5; i++) {
        await call(up);
        await call(down).catch(() => {});
      }
    }
    expect(await Promise.all(calls.map(refuses))).toEqual([false, false, true]);
  },

  "5 consecutive failures open the circuit": async () => {
    const { SamplingBreaker } = cockatiel;
    const sampler = new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 1 });
    const calls = [
      executing(circuit(sampler)),
      through({ failureRateThreshold: 50, failureThreshold: null }),
      through({ failureRateThreshold: 50 }),
    ];
    const runs = calls.map(async (call) => {
      let refusals = 0;
      for (const outcome of outcomes()) {
        const work = vi.fn(outcome);
        await call(work).catch(() => {});
        if (work.mock.calls.length === 0) refusals++;
      }
      return refusals > 0;
    });
    expect(await Promise.all(runs)).toEqual([false, false, true]);
  },

  "The circuit closes after 3 successful probes": async () => {
    const policy = circuit();
    await policy.execute(down).catch(() => {});
    await pass(1);
    await policy.execute(up);
    expect(policy.state).toBe(CircuitState.Closed);
    for (const [successThreshold, probes] of [
      [undefined, 3],
      [1, 1],
    ] as const) {
      const bulkhead = new Bulkhead({ name: "x", ...TOUCHY, successThreshold });
      await bulkhead.execute(down);
      await pass(1);
      for (let probe = 1; probe <= probes; probe++) {
        expect(bulkhead.getState()).toBe("degraded");
        await bulkhead.execute(up);
      }
      expect(bulkhead.getState()).toBe("healthy");
    }
  },

  "Further calls are rejected while probes run.": async () => {
    const during = async (call: Call) => {
      await call(down).catch(() => {});
      await pass(1);
      const probe = gate();
      watch(call(() => probe.promise));
      const other = watch(call(up));
      await pass(0);
      const { state } = other;
      probe.open();
      await pass(0);
      return [state, other.state];
    };
    expect(await during(executing(circuit()))).toEqual(["pending", "resolved"]);
    expect(await during(through(TOUCHY))).toEqual(["rejected", "rejected"]);
  },

  "A caller that aborts moves nothing.": async () => {
    const untilAborted = ({ signal }: { signal: AbortSignal }) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      });
    const caller = new AbortController();
    const { signal } = caller;
    const policy = circuit();
    const bulkhead = new Bulkhead({ name: "x", ...TOUCHY });
    watch(policy.execute(untilAborted, signal));
    watch(bulkhead.run(untilAborted, { signal }));
    caller.abort();
    await pass(0);
    expect(policy.state).toBe(CircuitState.Open);
    expect(bulkhead.getState()).toBe("healthy");
  },

  "An aborted call rejects at once": async () => {
    const ignoresAbort = gate();
    const caller = new AbortController();
    const { signal } = caller;
    const work = () => ignoresAbort.promise.then(() => "value");
    const bulkhead = new Bulkhead({ name: "x" });
    const there = watch(cockatiel.bulkhead(1).execute(work, signal));
    const here = watch(bulkhead.run(work, { signal }));
    await pass(0);
    caller.abort("no longer needed");
    await pass(0);
    expect(there.state).toBe("pending");
    expect(here).toEqual({ state: "rejected", value: "no longer needed" });
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
    ignoresAbort.open();
    await pass(0);
    expect(there).toEqual({ state: "resolved", value: "value" });
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  },

  "A waiting call leaves the queue when its caller aborts.": async () => {
    const caller = new AbortController();
    const policy = cockatiel.bulkhead(1, 1);
    const bulkhead = new Bulkhead({ name: "x", maxConcurrentCalls: 1, maxQueueSize: 1 });
    watch(policy.execute(never));
    watch(bulkhead.execute(never));
    const there = watch(policy.execute(up, caller.signal));
    const here = watch(bulkhead.run(up, { signal: caller.signal }));
    caller.abort();
    await pass(0);
    expect([there.state, policy.queueSlots]).toEqual(["pending", 0]);
    expect([here.state, bulkhead.getStats().queuedTasks]).toEqual(["rejected", 0]);
  },

  "A call that waited keeps its `AsyncLocalStorage`.": async () => {
    const context = new AsyncLocalStorage<string>();
    const second = async (call: Call) => {
      watch(context.run("first", () => call(() => sleep(1))));
      const outcome = context.run("second", () => watch(call(async () => context.getStore())));
      await pass(1);
      return outcome.value;
    };
    expect(await second(executing(cockatiel.bulkhead(1, 1)))).toBe("first");
    expect(await second(through({ maxConcurrentCalls: 1 }))).toBe("second");
  },

  "`isolate()` is not counted.": async () => {
    const policy = circuit();
    const bulkhead = new Bulkhead({ name: "x", ...TOUCHY });
    await policy.execute(down).catch(() => {});
    await bulkhead.execute(down);
    const handles = [policy.isolate(), policy.isolate()];
    bulkhead.isolate();
    bulkhead.isolate();
    handles[0]?.dispose();
    bulkhead.release();
    expect(await refuses(executing(policy))).toBe(true);
    expect(policy.state).toBe(CircuitState.Isolated);
    handles[1]?.dispose();
    // There it is closed; here its isolation after the failure goes on.
    expect([policy.state, bulkhead.getStats().circuitStatus]).toEqual([
      CircuitState.Closed,
      "OPEN",
    ]);
    await pass(1);
    expect(await refuses((work) => bulkhead.execute(work))).toBe(false);
  },

  "The order cannot be wrong.": async () => {
    const full = async (call: Call) => {
      const running = gate();
      const first = call(() => running.promise);
      await call(up).catch(() => {});
      running.open();
      await first;
      return refuses(call);
    };
    expect(await full(executing(cockatiel.wrap(circuit(), cockatiel.bulkhead(1))))).toBe(true);
    expect(await full(through({ ...TOUCHY, maxConcurrentCalls: 1, maxQueueSize: 0 }))).toBe(false);

    const afterTimeout = async (call: Call) => {
      watch(call(never));
      await pass(1);
      const work = vi.fn(up);
      watch(call(work));
      await pass(0.5);
      return work.mock.calls.length;
    };
    const inside = cockatiel.wrap(cockatiel.bulkhead(1, 1), aggressive());
    expect(await afterTimeout(executing(inside))).toBe(1);
    expect(await afterTimeout(through({ maxConcurrentCalls: 1, timeoutSeconds: 1 }))).toBe(0);
  },

  "A number of seconds does not grow.": async () => {
    const { ExponentialBackoff, noJitterGenerator: generator } = cockatiel;
    const growing = cockatiel.circuitBreaker(cockatiel.handleAll, {
      halfOpenAfter: new ExponentialBackoff({ initialDelay: 1000, generator }),
      breaker: new cockatiel.ConsecutiveBreaker(1),
    });
    const calls = [executing(growing), through(TOUCHY)];
    for (let i = 0; i < 2; i++) {
      for (const call of calls) await call(down).catch(() => {});
      await pass(1);
    }
    expect(await Promise.all(calls.map(refuses))).toEqual([true, false]);
  },

  "A result from before the circuit opened moves nothing.": async () => {
    const late = gate();
    const policy = circuit();
    const bulkhead = new Bulkhead({ name: "x", failureThreshold: 1, isolationDuration: 1 });
    const calls: Call[] = [executing(policy), (work) => bulkhead.execute(work)];
    for (const call of calls) watch(call(() => late.promise));
    for (const call of calls) await call(down).catch(() => {});
    await pass(1);
    for (const call of calls) watch(call(never));
    await pass(0);
    expect([policy.state, bulkhead.getState()]).toEqual([CircuitState.HalfOpen, "degraded"]);
    late.fail(new Error("late"));
    await pass(0);
    expect([policy.state, bulkhead.getState()]).toEqual([CircuitState.Open, "degraded"]);
  },
};

describe.each(VERSIONS)(
  "what the guide says behaves differently from cockatiel %i",
  (_v, library) => {
    beforeEach(() => {
      cockatiel = library;
    });

    it("is all observed here", () => {
      expect(titlesBelow(GUIDE, "## What behaves differently")).toEqual(Object.keys(DIFFERENCES));
    });

    it.for(Object.entries(DIFFERENCES))("%s", ([, observe]) => observe());
  },
);
