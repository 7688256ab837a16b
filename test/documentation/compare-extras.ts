import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import {
  ConsecutiveBreaker,
  ConstantBackoff,
  circuitBreaker,
  bulkhead as cockatielBulkhead,
  fallback,
  handleAll,
  retry,
  usePolicy,
} from "cockatiel";
import pLimit from "p-limit";
import PQueue from "p-queue";
import { vi } from "vitest";
import { Bulkhead, withBulkhead } from "../../src/index.js";
import { ROOT } from "./examples.js";
import {
  breaker,
  type Call,
  down,
  eachOf,
  limited,
  type Peer,
  packageOf,
  pass,
  type Row,
  sleep,
  through,
  up,
  watch,
  yesIf,
} from "./peers.js";

interface PrometheusMetrics {
  readonly metrics: Promise<string> | string;
  clear(): void;
}
type PrometheusMetricsClass = new (options: { circuits: unknown[] }) => PrometheusMetrics;

// The package has no types.
const Metrics: PrometheusMetricsClass = createRequire(import.meta.url)("opossum-prometheus");

/** Whether a call that fails is made again. */
async function retries(call: Call): Promise<string> {
  let attempts = 0;
  const outcome = watch(
    call(async () => {
      attempts++;
      throw new Error("down");
    }),
  );
  await pass(60);
  return yesIf(outcome.state === "rejected" && attempts > 1);
}

async function fallsBack(call: Call): Promise<string> {
  const outcome = watch(call(down));
  await pass(0);
  return yesIf(outcome.state === "resolved" && outcome.value === "instead");
}

/** Whether two equal calls at once, and a third one later, are one call of the function. */
async function caches(call: Call): Promise<string> {
  let runs = 0;
  const work = async () => {
    runs++;
    return "up";
  };
  await Promise.all([call(work), call(work)]);
  await call(work);
  return yesIf(runs === 1);
}

/** Whether the Prometheus metrics that are made for opossum count the calls of a library. */
async function isMeasured(circuit: unknown, call: Call): Promise<string> {
  const metrics = new Metrics({ circuits: [] });
  try {
    Reflect.get(metrics, "add").call(metrics, circuit);
    await call(up);
    return yesIf(/^circuit\{.*event="success"\} 1$/m.test(await metrics.metrics));
  } catch {
    return "no";
  } finally {
    metrics.clear();
  }
}

/** How many timers a thousand instances own that nobody has called yet. */
function timersOf(make: () => unknown): string {
  const before = vi.getTimerCount();
  for (let i = 0; i < 1000; i++) make();
  return (vi.getTimerCount() - before).toLocaleString("en");
}

function dependenciesOf(path: string): string {
  const manifest = JSON.parse(readFileSync(join(ROOT, path, "package.json"), "utf8"));
  const names = Object.keys(manifest.dependencies ?? {});
  return String(names.filter((name) => !name.startsWith("@types/")).length);
}

/** Whether something that decorates is exported. */
function exportsDecorator(peer: Peer, known: string[]): Promise<string> {
  return import(packageOf(peer)).then((module) => {
    const names = Object.keys(module).filter((name) => !known.includes(name));
    return names.length === 0 ? "no" : names.join();
  });
}

export const EXTRAS: Record<string, Row> = {
  Retries: eachOf((peer) => retries(limited(9, 0)[peer]), {
    cockatiel: () => {
      const retrying = retry(handleAll, { maxAttempts: 3, backoff: new ConstantBackoff(10) });
      return retries(async (work) => retrying.execute(work));
    },
  }),

  "A fallback for what failed": eachOf((peer) => fallsBack(limited(9, 0)[peer]), {
    bulkman: () => {
      const bulkhead = new Bulkhead({ name: "x" });
      bulkhead.breaker?.fallback(() => "instead");
      return fallsBack(async (work) => {
        const outcome = await bulkhead.execute(work);
        if (!outcome.success) throw outcome.error;
        return outcome.result;
      });
    },
    opossum: () => {
      const circuit = breaker({}).fallback(() => "instead");
      return fallsBack((work) => circuit.fire(work));
    },
    cockatiel: () => {
      const falling = fallback(handleAll, "instead");
      return fallsBack(async (work) => falling.execute(work));
    },
  }),

  "A cache, and one call for equal ones": eachOf((peer) => caches(limited(9, 0)[peer]), {
    opossum: () => {
      const circuit = breaker({ cache: true, coalesce: true, cacheGetKey: () => "key" });
      return caches((work) => circuit.fire(work));
    },
  }),

  "Percentiles of latencies": {
    bulkman: async () => {
      const bulkhead = new Bulkhead({ name: "x" });
      const call = bulkhead.execute(() => sleep(0.5));
      await pass(1);
      await call;
      return yesIf(Number(bulkhead.breaker?.stats.percentiles["0.5"]) > 0);
    },
    opossum: async () => {
      const circuit = breaker({ rollingCountTimeout: 60_000 });
      const call = circuit.fire(() => sleep(0.5));
      await pass(1);
      await call;
      return yesIf(circuit.stats.percentiles["0.5"] === 500);
    },
    cockatiel: () => yesIf("stats" in cockatielBulkhead(1)),
    "p-limit": () => yesIf("stats" in pLimit(1)),
    "p-queue": () => yesIf("stats" in new PQueue()),
  },

  "opossum-prometheus works on it": {
    bulkman: () => {
      const bulkhead = new Bulkhead({ name: "x" });
      return isMeasured(bulkhead.breaker, (work) => bulkhead.execute(work));
    },
    opossum: () => {
      const circuit = breaker({ name: "x" });
      return isMeasured(circuit, (work) => circuit.fire(work));
    },
    cockatiel: () => {
      const policy = circuitBreaker(handleAll, {
        halfOpenAfter: 1000,
        breaker: new ConsecutiveBreaker(1),
      });
      return isMeasured(policy, async (work) => policy.execute(work));
    },
    "p-limit": () => {
      const limit = pLimit(1);
      return isMeasured(limit, (work) => limit(work));
    },
    "p-queue": () => {
      const queue = new PQueue();
      return isMeasured(queue, (work) => queue.add(work));
    },
  },

  "Decorates methods": {
    bulkman: async () => {
      class Api {
        readonly value = "up";
        async get() {
          return this.value;
        }
      }
      const bulkhead = new Bulkhead({ name: "x" });
      const { get } = Api.prototype;
      const context = { kind: "method", name: "get" } as ClassMethodDecoratorContext<Api>;
      const standard = withBulkhead(bulkhead)(get, context);
      const legacy = { value: get };
      withBulkhead(bulkhead)(Api.prototype, "get", legacy);
      const values = [await standard.call(new Api()), await legacy.value.call(new Api())];
      const ran = bulkhead.getStats().totalExecutions;
      return values.join() === "up,up" && ran === 2 ? "standard, `experimentalDecorators`" : "";
    },
    opossum: () => exportsDecorator("opossum", ["default"]),
    cockatiel: async () => {
      class Api {
        async get() {
          return "up";
        }
      }
      const decorate = usePolicy(cockatielBulkhead(0));
      const descriptor = Object.getOwnPropertyDescriptor(Api.prototype, "get") ?? {};
      decorate(Api.prototype, "get", descriptor);
      const refused = watch(descriptor.value.call(new Api()));
      await pass(0);
      try {
        Reflect.apply(decorate, undefined, [Api.prototype.get, { kind: "method", name: "get" }]);
      } catch {
        return refused.state === "rejected" ? "`experimentalDecorators`" : "";
      }
      return "";
    },
    "p-limit": () => exportsDecorator("p-limit", ["default", "limitFunction"]),
    "p-queue": () => exportsDecorator("p-queue", ["default", "PriorityQueue", "TimeoutError"]),
  },

  "Timers of 1,000 idle instances": {
    bulkman: () => timersOf(() => through({ timeoutSeconds: 1 })),
    opossum: () => {
      const controller = new EventEmitter().setMaxListeners(0);
      const options = { enableSnapshots: false, rotateBucketController: controller };
      return `${timersOf(() => breaker({}))}, by options ${timersOf(() => breaker(options))}`;
    },
    cockatiel: () =>
      timersOf(() =>
        circuitBreaker(handleAll, { halfOpenAfter: 1000, breaker: new ConsecutiveBreaker(1) }),
      ),
    "p-limit": () => timersOf(() => pLimit(1)),
    "p-queue": () => timersOf(() => new PQueue({ timeout: 1000 })),
  },

  "Dependencies, not counting types": eachOf(
    (peer) => dependenciesOf(`node_modules/${packageOf(peer)}`),
    {
      bulkman: () => dependenciesOf("."),
    },
  ),
};
