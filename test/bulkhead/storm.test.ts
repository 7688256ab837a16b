import { getEventListeners } from "node:events";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadError,
  type BulkheadStats,
  InMemoryStorage,
  type Permit,
} from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";
import { type Gate, gate } from "../helpers/gate.js";

const RUNS = runs(300);

const config = fc.record({
  maxConcurrentCalls: fc.integer({ min: 1, max: 3 }),
  maxQueueSize: fc.integer({ min: 0, max: 4 }),
  timeoutSeconds: fc.constantFrom(null, 1, 3),
  reclaimAfterSeconds: fc.constantFrom(null, 0, 2),
  failureThreshold: fc.integer({ min: 1, max: 3 }),
  successThreshold: fc.integer({ min: 1, max: 3 }),
  failureWindowSeconds: fc.constantFrom(null, 1),
  isolationDuration: fc.constantFrom<NonNullable<BulkheadConfig["isolationDuration"]>>(0, 2, {
    min: 0.5,
    max: 4,
  }),
  circuitBreakerEnabled: fc.boolean(),
  failureRateThreshold: fc.constantFrom(null, 60),
  minimumCalls: fc.constant(3),
  maxWaitSeconds: fc.constantFrom(null, 0.4),
  queueTargetSeconds: fc.constantFrom(null, 0.2),
  slowCallSeconds: fc.constantFrom(null, 0.7),
  slowCallRateThreshold: fc.constantFrom(50, 100),
  classify: fc.constantFrom<BulkheadConfig["classify"]>(
    undefined,
    () => "ignore",
    ({ error }) => (error ? "success" : "failure"),
    ({ error }) => (error ? { outcome: "failure", retryAfterSeconds: 1 } : undefined),
    () => {
      throw new Error("a fault in classify");
    },
  ),
});

const nth = fc.nat({ max: 30 });
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("call" as const), as: fc.nat({ max: 7 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom("succeed" as const, "fail" as const), nth }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("abort" as const), nth }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.integer({ min: 1, max: 1500 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("flush" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "isolate" as const,
        "release" as const,
        "open" as const,
        "close" as const,
      ),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

type Outcome =
  | { kind: "result"; success: boolean }
  | { kind: "rejection"; error: unknown }
  | { kind: "none" };

interface Observed {
  readonly controller: AbortController;
  readonly work: Gate<string>;
  started: boolean;
  settled: boolean;
  outcome: Outcome;
}

/** Drives one bulkhead and keeps its own books on what callers and functions saw. */
class Storm {
  readonly bulkhead: Bulkhead;
  readonly calls: Observed[] = [];
  readonly startOrder: number[] = [];
  /** Apart from it: a holder has its permit a microtask after the grant. */
  readonly grantOrder: number[] = [];
  readonly #runningIds = new Set<string>();
  readonly #reclaimedIds = new Set<string>();
  readonly #outcomes = { failure: 0, timeout: 0, aborted: 0, ignored: 0 };
  mostRunning = 0;

  constructor(settings: Omit<BulkheadConfig, "name">, storage: InMemoryStorage | undefined) {
    this.bulkhead = new Bulkhead({ name: "storm", ...settings }, { circuitStorage: storage });
    this.bulkhead.on("reclaimed", ({ executionId }) => {
      this.#runningIds.delete(executionId);
      this.#reclaimedIds.add(executionId);
    });
    this.bulkhead.on("failure", ({ outcome }) => {
      this.#outcomes[outcome]++;
      throw new Error("a listener that throws");
    });
  }

  take(step: Step): Promise<unknown> | undefined {
    if (step.do === "wait") return vi.advanceTimersByTimeAsync(step.ms);
    if (step.do === "flush") return vi.advanceTimersByTimeAsync(0);
    if (step.do === "call") this.#call(step.as);
    else if (step.do === "abort") this.#abort(step.nth);
    else if (step.do === "succeed" || step.do === "fail") this.#settle(step.nth, step.do);
    else if (step.do === "isolate") this.bulkhead.isolate();
    else if (step.do === "release") this.bulkhead.release();
    else this.bulkhead.breaker?.[step.do]();
    return undefined;
  }

  #abort(nth: number): void {
    this.calls[nth % Math.max(this.calls.length, 1)]?.controller.abort("enough");
  }

  #call(as: number): void {
    const call: Observed = {
      controller: new AbortController(),
      work: gate<string>(),
      started: false,
      settled: false,
      outcome: { kind: "none" },
    };
    const index = this.calls.push(call) - 1;
    call.work.promise.catch(() => {});
    if (as > 5) {
      void this.#hold(call, index, as === 7);
      return;
    }
    const synchronous = as === 0;
    const task = ({ executionId }: { executionId: string }): unknown => {
      call.started = true;
      this.startOrder.push(index);
      this.#runningIds.add(executionId);
      this.mostRunning = Math.max(this.mostRunning, this.#runningIds.size);
      const done = () => {
        call.settled = true;
        this.#runningIds.delete(executionId);
      };
      if (synchronous) {
        done();
        return "sync";
      }
      return call.work.promise.finally(done);
    };
    const timeoutSeconds = as === 1 ? 0.5 : undefined;
    this.bulkhead.run(task, { signal: call.controller.signal, timeoutSeconds }).then(
      ({ success }) => {
        call.outcome = { kind: "result", success };
      },
      (error: unknown) => {
        call.outcome = { kind: "rejection", error };
      },
    );
  }

  /** A call that holds a permit, and has the circuit's verdict judged in between or not. */
  async #hold(call: Observed, index: number, isJudged: boolean): Promise<void> {
    let permit: Permit;
    try {
      permit = await this.bulkhead.acquire({ signal: call.controller.signal });
    } catch (error) {
      call.outcome = { kind: "rejection", error };
      return;
    }
    const { executionId } = permit;
    call.started = true;
    this.grantOrder.push(index);
    if (!this.#reclaimedIds.has(executionId)) this.#runningIds.add(executionId);
    this.mostRunning = Math.max(this.mostRunning, this.#runningIds.size);
    const succeeded = await call.work.promise.then(
      () => true,
      () => false,
    );
    call.settled = true;
    this.#runningIds.delete(executionId);
    const { signal } = permit;
    call.outcome = signal.aborted
      ? { kind: "rejection", error: signal.reason }
      : { kind: "result", success: succeeded };
    if (isJudged) permit.judge(succeeded ? "success" : "failure");
    // After an own verdict, how it is settled says nothing.
    if (succeeded !== isJudged) permit.succeed();
    else permit.fail(new Error("held"));
    permit.drop();
  }

  #settle(nth: number, how: "succeed" | "fail"): void {
    const running = this.calls.filter(({ started, settled }) => started && !settled);
    const call = running[nth % Math.max(running.length, 1)];
    if (how === "succeed") call?.work.open("async");
    else call?.work.fail(new Error("async"));
  }

  /** What must hold at every instant, also in the middle of a tick. */
  check(): void {
    const stats = this.bulkhead.getStats();
    expect(stats.totalExecutions).toBe(
      stats.successfulExecutions + stats.failedExecutions + stats.activeTasks,
    );
    expect(stats.rejectedExecutions).toBe(sum(stats.rejections));
    expect(stats).toMatchObject({
      failedExecutions: sum(this.#outcomes),
      timedOutExecutions: this.#outcomes.timeout,
      abortedExecutions: this.#outcomes.aborted,
      ignoredExecutions: this.#outcomes.ignored,
    });
    expect(stats.activeTasks + stats.abandonedTasks).toBeLessThanOrEqual(stats.maxConcurrentCalls);
    expect(stats.queuedTasks).toBeLessThanOrEqual(stats.maxQueueSize + stats.maxConcurrentCalls);
    expect(this.calls.length).toBe(
      stats.totalExecutions + stats.rejectedExecutions + stats.queuedTasks,
    );
    expect(this.mostRunning).toBeLessThanOrEqual(stats.maxConcurrentCalls);
    for (const order of [this.startOrder, this.grantOrder]) {
      expect(order).toEqual(order.toSorted((a, b) => a - b));
    }
  }

  /** Settles all work, shuts down, and compares the counters with the answers that callers got. */
  async end(): Promise<void> {
    for (const { work } of this.calls) work.open("late");
    await vi.advanceTimersByTimeAsync(0);
    await this.bulkhead.shutdown({ drainSeconds: 5 });
    await vi.advanceTimersByTimeAsync(10_000);
    this.check();
    const told = { success: 0, failure: 0, rejected: 0, cut: 0 };
    const aborted = { waiting: 0, running: 0 };
    const codes = { waiting: new Map<unknown, number>(), running: new Map<unknown, number>() };
    for (const { outcome, started, controller } of this.calls) {
      expect(outcome.kind).not.toBe("none");
      if (outcome.kind === "result") told[outcome.success ? "success" : "failure"]++;
      if (outcome.kind === "rejection") {
        told[started ? "cut" : "rejected"]++;
        const phase = started ? "running" : "waiting";
        if (outcome.error === "enough") {
          aborted[phase]++;
        } else {
          expect(outcome.error).toBeInstanceOf(BulkheadError);
          const code: unknown = Reflect.get(Object(outcome.error), "code");
          codes[phase].set(code, (codes[phase].get(code) ?? 0) + 1);
        }
      }
      expect(getEventListeners(controller.signal, "abort")).toEqual([]);
    }
    const stats = this.bulkhead.getStats();
    expect(stats).toMatchObject({
      successfulExecutions: told.success,
      failedExecutions: told.failure + told.cut,
      rejectedExecutions: told.rejected,
      activeTasks: 0,
      queuedTasks: 0,
      abandonedTasks: 0,
      state: "failed",
      abortedExecutions: aborted.running,
      timedOutExecutions: codes.running.get("ERR_BULKHEAD_TIMEOUT") ?? 0,
      rejections: {
        full: codes.waiting.get("ERR_BULKHEAD_FULL") ?? 0,
        circuitOpen: codes.waiting.get("ERR_BULKHEAD_CIRCUIT_OPEN") ?? 0,
        timeout: codes.waiting.get("ERR_BULKHEAD_TIMEOUT") ?? 0,
        aborted: aborted.waiting,
        isolated: codes.waiting.get("ERR_BULKHEAD_ISOLATION") ?? 0,
        shutdown: codes.waiting.get("ERR_BULKHEAD_SHUTDOWN") ?? 0,
      },
    } satisfies Partial<BulkheadStats>);
    expect(stats.ignoredExecutions).toBeLessThanOrEqual(told.failure);
  }
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

describe("a storm of calls", () => {
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);

  beforeEach(() => {
    vi.useFakeTimers();
    vi.spyOn(process, "emitWarning").mockReturnValue(undefined);
    process.on("unhandledRejection", note);
  });
  afterEach(async () => {
    vi.useRealTimers();
    vi.restoreAllMocks();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });

  it.each([["a circuit of its own", false] as const, ["a shared circuit", true] as const])(
    "keeps every rule after every step, with %s",
    async (_, shared) => {
      await fc.assert(
        fc.asyncProperty(config, fc.array(step, { maxLength: 60 }), async (settings, steps) => {
          const storm = new Storm(settings, shared ? new InMemoryStorage() : undefined);
          for (const step of steps) {
            const pending = storm.take(step);
            storm.check();
            if (pending !== undefined) await pending;
            storm.check();
          }
          await storm.end();
          expect(vi.getTimerCount()).toBe(0);
        }),
        { seed: SEED, numRuns: RUNS, endOnFailure: false },
      );
    },
    120_000,
  );

  it("keeps every rule in every order of settling, aborting and shutting down", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        config,
        fc.integer({ min: 1, max: 12 }),
        async (scheduler, settings, count) => {
          const storm = new Storm({ ...settings, timeoutSeconds: null }, undefined);
          for (let n = 0; n < count; n++) {
            const later = (label: string, act: () => void) =>
              scheduler.schedule(Promise.resolve(), label).then(act);
            void later(`call ${n}`, () => storm.take({ do: "call", as: 2 }));
            void later(`settle ${n}`, () => storm.take({ do: n % 3 ? "succeed" : "fail", nth: n }));
            if (n % 4 === 0) void later(`abort ${n}`, () => storm.take({ do: "abort", nth: n }));
          }
          void scheduler
            .schedule(Promise.resolve(), "shutdown")
            .then(() => storm.bulkhead.shutdown());
          while (scheduler.count() > 0) {
            await scheduler.waitOne();
            storm.check();
          }
          await storm.end();
          expect(vi.getTimerCount()).toBe(0);
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  }, 120_000);
});
