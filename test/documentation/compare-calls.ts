import { AsyncLocalStorage } from "node:async_hooks";
import {
  bulkhead as cockatielBulkhead,
  timeout as cockatielTimeout,
  type IDefaultPolicyContext,
  TimeoutStrategy,
  wrap,
} from "cockatiel";
import pLimit from "p-limit";
import PQueue from "p-queue";
import { Bulkhead } from "../../src/index.js";
import {
  breaker,
  type Call,
  eachOf,
  firing,
  limited,
  never,
  pass,
  type Row,
  sleep,
  through,
  up,
  watch,
  yesIf,
} from "./peers.js";

const cut = () => cockatielTimeout(1000, TimeoutStrategy.Aggressive);

/** What happens to a second call while the first one holds the only place. */
async function secondOf(call: Call) {
  watch(call(never));
  const second = watch(call(up));
  await pass(0);
  return second;
}

/** Whether the place of a call that timed out after a second stays taken while its work goes on. */
async function keepsPlace(call: Call): Promise<boolean> {
  const first = watch(call(never));
  await pass(1);
  if (first.state !== "rejected") throw new Error("The call did not time out");
  let started = false;
  watch(
    call(async () => {
      started = true;
    }),
  );
  await pass(0.1);
  return !started;
}

/** The signals of two calls, half a second apart, when the first one times out after a second. */
async function signalsOf(call: (task: (signal: AbortSignal) => unknown) => Promise<unknown>) {
  const signals: AbortSignal[] = [];
  const task = (signal: AbortSignal) => {
    signals.push(signal);
    return never();
  };
  watch(call(task));
  await pass(0.5);
  watch(call(task));
  await pass(0.5);
  const [first, second] = signals.map((signal) => signal?.aborted);
  if (!first) return "no";
  return second ? "one signal for all calls" : "yes";
}

async function noTimeLimit(call: Call): Promise<string> {
  const first = watch(call(never));
  await pass(24 * 3600);
  return first.state === "pending" ? "no time limit" : "";
}

export const CALLS: Record<string, Row> = {
  "Limits how many run at once": eachOf(async (peer) => {
    const call = limited(2, 1)[peer];
    let started = 0;
    for (let i = 0; i < 3; i++) {
      watch(
        call(() => {
          started++;
          return never();
        }),
      );
    }
    await pass(0);
    return yesIf(started === 2);
  }),

  "Further calls wait in a queue": eachOf(async (peer) => {
    const second = await secondOf(limited(1, 1)[peer]);
    return yesIf(second.state === "pending");
  }),

  "Limits how many wait": eachOf(
    async (peer) => {
      const call = limited(1, 1)[peer];
      await secondOf(call);
      const third = watch(call(up));
      await pass(0);
      return yesIf(third.state === "rejected");
    },
    {
      opossum: async () => {
        const second = await secondOf(limited(1, 0).opossum);
        return second.state === "rejected" ? "no queue" : "";
      },
    },
  ),

  "The time limit covers the wait": {
    bulkman: async () => {
      const bulkhead = new Bulkhead({ name: "x", maxConcurrentCalls: 1 });
      watch(bulkhead.execute(never));
      const second = watch(bulkhead.run(up, { timeoutSeconds: 1 }));
      await pass(1);
      return yesIf(second.state === "rejected");
    },
    opossum: async () => {
      const second = await secondOf(firing(breaker({ capacity: 1, timeout: 1000 })));
      return second.state === "rejected" ? "no queue" : "";
    },
    cockatiel: async () => {
      const bulkhead = cockatielBulkhead(1, 1);
      watch(bulkhead.execute(never));
      const second = watch(wrap(cut(), bulkhead).execute(up));
      await pass(1);
      return yesIf(second.state === "rejected");
    },
    "p-limit": () => noTimeLimit(limited(1, 1)["p-limit"]),
    "p-queue": async () => {
      const queue = new PQueue({ concurrency: 1 });
      watch(queue.add(never));
      const second = watch(queue.add(up, { timeout: 1000 }));
      await pass(1);
      return yesIf(second.state === "rejected");
    },
  },

  "A waiting call leaves the queue when its caller aborts": {
    bulkman: async () => {
      const bulkhead = new Bulkhead({ name: "x", maxConcurrentCalls: 1 });
      const caller = new AbortController();
      watch(bulkhead.execute(never));
      const second = watch(bulkhead.run(up, { signal: caller.signal }));
      caller.abort();
      await pass(0);
      return yesIf(second.state === "rejected" && bulkhead.getStats().queuedTasks === 0);
    },
    opossum: async () => {
      const second = await secondOf(limited(1, 0).opossum);
      return second.state === "rejected" ? "no queue" : "";
    },
    cockatiel: async () => {
      const bulkhead = cockatielBulkhead(1, 1);
      const caller = new AbortController();
      watch(bulkhead.execute(never));
      const second = watch(bulkhead.execute(up, caller.signal));
      caller.abort();
      await pass(0);
      return yesIf(second.state === "rejected" && bulkhead.queueSlots === 1);
    },
    "p-limit": async () => {
      const limit = pLimit(1);
      const caller = new AbortController();
      watch(limit(never));
      // p-limit has no option for a signal; the function gets it, and has not started.
      const second = watch(limit((signal: AbortSignal) => signal.aborted, caller.signal));
      caller.abort();
      await pass(0);
      return yesIf(second.state === "rejected" && limit.pendingCount === 0);
    },
    "p-queue": async () => {
      const queue = new PQueue({ concurrency: 1 });
      const caller = new AbortController();
      watch(queue.add(never));
      const second = watch(queue.add(up, { signal: caller.signal }));
      caller.abort();
      await pass(0);
      return yesIf(second.state === "rejected" && queue.size === 0);
    },
  },

  "Work that outlives its time limit keeps its permit": {
    bulkman: async () => {
      const call = through({ maxConcurrentCalls: 1, timeoutSeconds: 1 });
      return yesIf(await keepsPlace(call));
    },
    opossum: async () => {
      const options = { capacity: 1, timeout: 1000, errorThresholdPercentage: 100 };
      return yesIf(await keepsPlace(firing(breaker(options))));
    },
    cockatiel: async () => {
      const outside = wrap(cut(), cockatielBulkhead(1, 1));
      const inside = wrap(cockatielBulkhead(1, 1), cut());
      const kept = [
        await keepsPlace((work) => outside.execute(work)),
        await keepsPlace((work) => inside.execute(work)),
      ];
      return kept.join() === "true,false" ? "in `wrap(timeout, bulkhead)`" : "";
    },
    "p-limit": () => noTimeLimit(limited(1, 1)["p-limit"]),
    "p-queue": async () => {
      const queue = new PQueue({ concurrency: 1, timeout: 1000 });
      return yesIf(await keepsPlace((work) => queue.add(work)));
    },
  },

  "The time limit aborts a signal of that call": {
    bulkman: () => {
      const bulkhead = new Bulkhead({ name: "x", timeoutSeconds: 1 });
      return signalsOf((task) => bulkhead.run(({ signal }) => task(signal)));
    },
    opossum: () => {
      const abortController = new AbortController();
      const circuit = breaker({ timeout: 1000, abortController });
      return signalsOf((task) => circuit.fire(() => task(abortController.signal)));
    },
    cockatiel: () => {
      const policy = cut();
      return signalsOf((task) =>
        policy.execute(({ signal }: IDefaultPolicyContext) => task(signal)),
      );
    },
    "p-limit": () => noTimeLimit(limited(1, 1)["p-limit"]),
    "p-queue": async () => {
      const queue = new PQueue({ concurrency: 2, timeout: 1000 });
      // Without a caller's signal the function gets none, so there is nothing to abort.
      const given: unknown[] = [];
      watch(
        queue.add(({ signal }) => {
          given.push(signal);
          return never();
        }),
      );
      await pass(1);
      return yesIf(given[0] !== undefined);
    },
  },

  "A call that waited keeps its AsyncLocalStorage": eachOf(
    async (peer) => {
      const call = limited(1, 1)[peer];
      const storage = new AsyncLocalStorage<string>();
      watch(storage.run("first", () => call(() => sleep(1))));
      const second = storage.run("second", () => watch(call(async () => storage.getStore())));
      await pass(1);
      return yesIf(second.value === "second");
    },
    {
      opossum: async () => {
        const second = await secondOf(limited(1, 0).opossum);
        return second.state === "rejected" ? "no queue" : "";
      },
    },
  ),

  Priorities: eachOf((peer) => startsFirst(limited(1, 9)[peer]), {
    "p-queue": () => {
      const queue = new PQueue({ concurrency: 1 });
      return startsFirst(
        (work) => queue.add(work),
        (work) => queue.add(work, { priority: 1 }),
      );
    },
  }),

  "Pause, and resume later": eachOf(startsAtOnce, {
    "p-queue": async () => {
      const queue = new PQueue({ concurrency: 9 });
      queue.pause();
      const call = watch(queue.add(up));
      await pass(3600);
      const before = call.state;
      queue.start();
      await pass(0);
      return yesIf(before === "pending" && call.state === "resolved");
    },
  }),

  "So many starts per interval": eachOf(startsAtOnce, {
    "p-queue": async () => {
      const queue = new PQueue({ interval: 1000, intervalCap: 2 });
      const calls = [1, 2, 3].map(() => watch(queue.add(up)));
      await pass(0.5);
      const third = calls[2]?.state;
      await pass(0.5);
      return yesIf(third === "pending" && calls[2]?.state === "resolved");
    },
  }),

  "Change the limit while it is in use": {
    bulkman: () => {
      const { config } = new Bulkhead({ name: "x" });
      return yesIf(Reflect.set(config, "maxConcurrentCalls", 2));
    },
    opossum: async () => {
      const circuit = breaker({ capacity: 1 });
      Reflect.set(Reflect.get(circuit, "options"), "capacity", 2);
      return yesIf((await secondOf(firing(circuit))).state === "resolved");
    },
    cockatiel: () => yesIf(Reflect.set(cockatielBulkhead(1), "executionSlots", 2)),
    "p-limit": async () => {
      const limit = pLimit(1);
      limit.concurrency = 2;
      return yesIf((await secondOf((work) => limit(work))).state === "resolved");
    },
    "p-queue": async () => {
      const queue = new PQueue({ concurrency: 1 });
      queue.concurrency = 2;
      return yesIf((await secondOf((work) => queue.add(work))).state === "resolved");
    },
  },

  "Shutdown rejects new calls and waits for the others": {
    bulkman: async () => {
      const bulkhead = new Bulkhead({ name: "x" });
      return drains(
        (work) => bulkhead.execute(work),
        () => bulkhead.shutdown({ drainSeconds: 60 }),
      );
    },
    opossum: async () => {
      const circuit = breaker({});
      return drains(firing(circuit), async () => circuit.shutdown());
    },
    cockatiel: () => yesIf("shutdown" in cockatielBulkhead(1)),
    "p-limit": async () => {
      const limit = pLimit(1);
      return drains(
        (work) => limit(work),
        async () => limit.clearQueue(),
      );
    },
    "p-queue": async () => {
      const queue = new PQueue();
      return drains(
        (work) => queue.add(work),
        () => queue.onIdle(),
      );
    },
  },
};

/** Whether the last of three calls runs before the one that came earlier. */
async function startsFirst(ordinary: Call, urgent = ordinary): Promise<string> {
  const order: string[] = [];
  const call = (way: Call, name: string) =>
    watch(
      way(async () => {
        order.push(name);
        await sleep(1);
      }),
    );
  call(ordinary, "running");
  call(ordinary, "early");
  call(urgent, "late");
  await pass(3);
  return yesIf(order.indexOf("late") < order.indexOf("early"));
}

/** A library without a pause and without a rate starts whatever its limit allows. */
async function startsAtOnce(peer: keyof Row): Promise<string> {
  const call = limited(9, 0)[peer];
  const calls = Array.from({ length: 9 }, () => watch(call(up)));
  await pass(0);
  return yesIf(calls.some(({ state }) => state !== "resolved"));
}

async function drains(call: Call, shutdown: () => Promise<unknown>): Promise<string> {
  let isOver = false;
  watch(
    call(async () => {
      await sleep(5);
      isOver = true;
    }),
  );
  await pass(0);
  let wasOver = false;
  const down = shutdown().then(() => {
    wasOver = isOver;
  });
  const late = watch(call(up));
  await pass(10);
  await down;
  return yesIf(wasOver && late.state === "rejected");
}
