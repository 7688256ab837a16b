import {
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  CountBreaker,
  circuitBreaker,
  bulkhead as cockatielBulkhead,
  ExponentialBackoff,
  handleAll,
  handleWhenResult,
  type IBreaker,
  noJitterGenerator,
  wrap,
} from "cockatiel";
import { Bulkhead, InMemoryStorage } from "../../src/index.js";
import { gate } from "../helpers/gate.js";
import {
  breaker,
  type Call,
  down,
  firing,
  limited,
  never,
  pass,
  type Row,
  through,
  up,
  watch,
  yesIf,
} from "./peers.js";

const ISOLATION_MS = 1000;

function policy(rule: IBreaker = new ConsecutiveBreaker(1), options = {}): CircuitBreakerPolicy {
  return circuitBreaker(handleAll, { halfOpenAfter: ISOLATION_MS, breaker: rule, ...options });
}

function executing(circuit: CircuitBreakerPolicy): Call {
  return async (work) => circuit.execute(work);
}

/** Opens at the first failure, for a second; closes at the first success. */
const touchy = {
  bulkman: () => through({ failureThreshold: 1, successThreshold: 1, isolationDuration: 1 }),
  opossum: () => firing(breaker({ resetTimeout: ISOLATION_MS })),
  cockatiel: () => executing(policy()),
};

/** p-limit and p-queue call a function that fails for ever. */
const WITHOUT_CIRCUIT = {
  "p-limit": () => noCircuit(limited(1, 0)["p-limit"]),
  "p-queue": () => noCircuit(limited(1, 0)["p-queue"]),
};

async function noCircuit(call: Call): Promise<string> {
  for (let i = 0; i < 1000; i++) await call(down).catch(() => {});
  return (await isRefusing(call)) ? "" : "no circuit";
}

async function isRefusing(call: Call): Promise<boolean> {
  let started = false;
  await call(async () => {
    started = true;
  }).catch(() => {});
  return !started;
}

async function opensAfter(outcomes: string, call: Call): Promise<string> {
  for (const outcome of outcomes) await call(outcome === "x" ? down : up).catch(() => {});
  return yesIf(await isRefusing(call));
}

/** Whether calls that were refused because all places were taken have opened the circuit. */
async function opensWhenFull(call: Call): Promise<boolean> {
  const running = gate();
  const first = call(() => running.promise);
  for (let i = 0; i < 10; i++) await call(up).catch(() => {});
  running.open();
  await first;
  return isRefusing(call);
}

/** What a call sees that comes while a probe runs. */
async function duringProbe(call: Call): Promise<string> {
  await call(down).catch(() => {});
  await pass(1);
  const probe = gate();
  watch(call(() => probe.promise));
  const other = watch(call(up));
  await pass(0);
  if (other.state === "rejected") return "rejected";
  probe.open();
  await pass(0);
  return other.state === "resolved" ? "held until the probe ends" : "";
}

/** Whether results of calls from before the circuit opened leave a half-open circuit as it is. */
async function ignoresLateResults(call: () => Call, isHalfOpen: () => boolean): Promise<string> {
  const stayed: boolean[] = [];
  for (const ending of ["open", "fail"] as const) {
    const circuit = call();
    const old = gate<unknown>();
    watch(circuit(() => old.promise));
    await circuit(down).catch(() => {});
    await pass(1);
    watch(circuit(never));
    await pass(0);
    if (!isHalfOpen()) throw new Error("The circuit is not half-open");
    old[ending](new Error("late"));
    await pass(0);
    stayed.push(isHalfOpen());
  }
  return yesIf(stayed.every(Boolean));
}

/** Whether the isolation after a failed probe is longer than the one before. */
async function isolationGrows(call: Call): Promise<string> {
  await call(down).catch(() => {});
  await pass(1);
  await call(down).catch(() => {});
  await pass(1);
  return yesIf(await isRefusing(call));
}

export const CIRCUITS: Record<string, Row> = {
  "Opens after consecutive failures": {
    bulkman: () => opensAfter(`${"-".repeat(95)}xxxxx`, through({ failureThreshold: 5 })),
    opossum: () => opensAfter(`${"-".repeat(95)}xxxxx`, firing(breaker({ volumeThreshold: 5 }))),
    cockatiel: () =>
      opensAfter(`${"-".repeat(95)}xxxxx`, executing(policy(new ConsecutiveBreaker(5)))),
    ...WITHOUT_CIRCUIT,
  },

  "Opens at a rate of failures": {
    bulkman: () =>
      opensAfter("-x-x-x-x-x", through({ failureRateThreshold: 40, failureThreshold: 100 })),
    opossum: () => opensAfter("-x-x-x-x-x", firing(breaker({ errorThresholdPercentage: 40 }))),
    cockatiel: () =>
      opensAfter("-x-x-x-x-x", executing(policy(new CountBreaker({ threshold: 0.4, size: 10 })))),
    ...WITHOUT_CIRCUIT,
  },

  "Being full never opens it": {
    bulkman: async () => {
      const call = through({ failureThreshold: 1, maxConcurrentCalls: 1, maxQueueSize: 0 });
      return yesIf(!(await opensWhenFull(call)));
    },
    opossum: async () => yesIf(!(await opensWhenFull(firing(breaker({ capacity: 1 }))))),
    cockatiel: async () => {
      const inside = wrap(policy(), cockatielBulkhead(1));
      const outside = wrap(cockatielBulkhead(1), policy());
      const opened = [
        await opensWhenFull((work) => inside.execute(work)),
        await opensWhenFull((work) => outside.execute(work)),
      ];
      return opened.join() === "true,false" ? "in `wrap(bulkhead, circuit)`" : "";
    },
    ...WITHOUT_CIRCUIT,
  },

  "Closes only after several successful probes": {
    bulkman: async () => {
      const bulkhead = new Bulkhead({ name: "x", failureThreshold: 1, isolationDuration: 1 });
      await bulkhead.execute(down);
      await pass(1);
      await bulkhead.execute(up);
      return yesIf(bulkhead.getStats().circuitStatus === "HALF_OPEN");
    },
    opossum: async () => {
      const circuit = breaker({ resetTimeout: ISOLATION_MS });
      await circuit.fire(down).catch(() => {});
      await pass(1);
      await circuit.fire(up);
      return yesIf(!circuit.closed);
    },
    cockatiel: async () => {
      const isStillProbing = async (options: object) => {
        const circuit = policy(undefined, options);
        await circuit.execute(down).catch(() => {});
        await pass(1);
        await circuit.execute(up);
        return circuit.state !== CircuitState.Closed;
      };
      const sampled = await isStillProbing({ halfOpenSampling: { calls: 3, threshold: 0.5 } });
      if (await isStillProbing({})) return "yes";
      return sampled ? "with `halfOpenSampling`" : "no";
    },
    ...WITHOUT_CIRCUIT,
  },

  "Further calls while a probe runs": {
    bulkman: () => duringProbe(touchy.bulkman()),
    opossum: () => duringProbe(touchy.opossum()),
    cockatiel: () => duringProbe(touchy.cockatiel()),
    ...WITHOUT_CIRCUIT,
  },

  "Results from before it opened move nothing": {
    bulkman: () => {
      let bulkhead: Bulkhead;
      const make = (): Call => {
        bulkhead = new Bulkhead({ name: "x", failureThreshold: 1, isolationDuration: 1 });
        return (work) => bulkhead.execute(work);
      };
      return ignoresLateResults(make, () => bulkhead.getState() === "degraded");
    },
    opossum: () => {
      let circuit: ReturnType<typeof breaker>;
      const make = () => {
        circuit = breaker({ resetTimeout: ISOLATION_MS, errorThresholdPercentage: 1 });
        return firing(circuit);
      };
      return ignoresLateResults(make, () => circuit.halfOpen);
    },
    cockatiel: () => {
      let circuit: CircuitBreakerPolicy;
      const make = () => {
        circuit = policy();
        return executing(circuit);
      };
      return ignoresLateResults(make, () => circuit.state === CircuitState.HalfOpen);
    },
    ...WITHOUT_CIRCUIT,
  },

  "Isolation can grow with each failed probe": {
    bulkman: () => {
      const isolationDuration = { min: ISOLATION_MS / 1000, max: 60 };
      return isolationGrows(
        through({ failureThreshold: 1, successThreshold: 1, isolationDuration }),
      );
    },
    opossum: () => isolationGrows(touchy.opossum()),
    cockatiel: () => {
      const generator = noJitterGenerator;
      const halfOpenAfter = new ExponentialBackoff({ initialDelay: ISOLATION_MS, generator });
      const rule = new ConsecutiveBreaker(1);
      return isolationGrows(executing(circuitBreaker(handleAll, { halfOpenAfter, breaker: rule })));
    },
    ...WITHOUT_CIRCUIT,
  },

  "Isolate by hand, until released": {
    bulkman: async () => {
      const bulkhead = new Bulkhead({ name: "x" });
      const call: Call = (work) => bulkhead.execute(work);
      bulkhead.isolate();
      await pass(3600);
      const refused = await isRefusing(call);
      bulkhead.release();
      return yesIf(refused && !(await isRefusing(call)));
    },
    opossum: async () => {
      const circuit = breaker({ resetTimeout: ISOLATION_MS });
      circuit.open();
      const refused = await isRefusing(firing(circuit));
      await pass(1);
      return refused && !(await isRefusing(firing(circuit))) ? "for `resetTimeout`" : "";
    },
    cockatiel: async () => {
      const circuit = policy();
      const isolation = circuit.isolate();
      await pass(3600);
      const refused = await isRefusing(executing(circuit));
      isolation.dispose();
      return yesIf(refused && !(await isRefusing(executing(circuit))));
    },
    ...WITHOUT_CIRCUIT,
  },

  "A health check opens it": {
    bulkman: async () => {
      const call = through({ healthCheck: down, healthCheckInterval: 1 });
      await pass(1);
      return yesIf(await isRefusing(call));
    },
    opossum: async () => {
      const circuit = breaker({});
      circuit.healthCheck(down, 1000);
      await pass(1);
      return yesIf(await isRefusing(firing(circuit)));
    },
    cockatiel: () => yesIf("healthCheck" in policy()),
    ...WITHOUT_CIRCUIT,
  },

  "A returned value can count as a failure": {
    bulkman: async () => {
      const call = through({
        failureThreshold: 1,
        classify: ({ result }) => (result?.status === 500 ? "failure" : undefined),
      });
      await call(async () => ({ status: 500 }));
      return yesIf(await isRefusing(call));
    },
    opossum: async () => {
      const circuit = breaker({ errorFilter: () => false });
      await circuit.fire(async () => ({ status: 500 }));
      return yesIf(await isRefusing(firing(circuit)));
    },
    cockatiel: async () => {
      const rule = new ConsecutiveBreaker(1);
      const is500 = handleWhenResult((value) => Object(value).status === 500);
      const circuit = circuitBreaker(is500, { halfOpenAfter: ISOLATION_MS, breaker: rule });
      await circuit.execute(async () => ({ status: 500 }));
      return yesIf(await isRefusing(executing(circuit)));
    },
    ...WITHOUT_CIRCUIT,
  },

  "Two limits can share one circuit": {
    bulkman: async () => {
      const circuitStorage = new InMemoryStorage();
      const config = { name: "x", failureThreshold: 1 };
      const [one, other] = [1, 2].map(() => new Bulkhead(config, { circuitStorage }));
      await other?.ready();
      await one?.execute(down);
      await pass(0);
      return yesIf(other?.getState() === "isolated");
    },
    opossum: async () => {
      const [one, other] = [1, 2].map(() => breaker({ name: "x", group: "x", capacity: 1 }));
      await one?.fire(down).catch(() => {});
      await pass(0);
      return yesIf(other?.opened === true);
    },
    cockatiel: async () => {
      const circuit = policy();
      const one = wrap(cockatielBulkhead(1), circuit);
      const other = wrap(cockatielBulkhead(1), circuit);
      await one.execute(down).catch(() => {});
      return yesIf(await isRefusing((work) => other.execute(work)));
    },
    ...WITHOUT_CIRCUIT,
  },

  "A new instance can take over the state": {
    bulkman: async () => {
      const circuitStorage = new InMemoryStorage();
      const make = () => new Bulkhead({ name: "x", failureThreshold: 1 }, { circuitStorage });
      const old = make();
      await old.execute(down);
      await old.shutdown();
      const bulkhead = make();
      await bulkhead.ready();
      return bulkhead.getState() === "isolated" ? "from a storage" : "";
    },
    opossum: async () => {
      const old = breaker({});
      await old.fire(down).catch(() => {});
      const { state } = old.toJSON();
      return breaker({ state }).opened ? "from `toJSON()`" : "";
    },
    cockatiel: async () => {
      const old = policy();
      await old.execute(down).catch(() => {});
      const circuit = circuitBreaker(handleAll, {
        halfOpenAfter: ISOLATION_MS,
        breaker: new ConsecutiveBreaker(1),
        initialState: old.toJSON(),
      });
      return circuit.state === CircuitState.Open ? "from `toJSON()`" : "";
    },
    ...WITHOUT_CIRCUIT,
  },
};
