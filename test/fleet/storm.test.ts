import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  InMemoryStorage,
  type PermitGrant,
  type PermitRequest,
} from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";

/** What becomes of a request. */
type Fate = "answered" | "refused" | "lost" | "late";

class UnreliableStorage extends InMemoryStorage {
  fates: Fate[] = [];
  latency = () => 0;

  override async lease(requests: readonly PermitRequest[]): Promise<readonly PermitGrant[]> {
    const fate = this.fates.shift() ?? "answered";
    if (fate === "refused") throw new Error("refused");
    await delay(fate === "late" ? 1500 : this.latency());
    const grants = await super.lease(requests);
    await delay(this.latency());
    if (fate === "lost") throw new Error("lost");
    return grants;
  }
}

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const action = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("calls" as const),
      who: fc.nat(),
      count: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("time" as const),
      ms: fc.integer({ min: 1, max: 4000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("fate" as const),
      fate: fc.constantFrom<Fate>("refused", "lost", "late"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("shutdown" as const), who: fc.nat() }) },
);

const RUNS = runs(150);

describe("the fleet's limit in a storm", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("is never exceeded, every ledger is exact, and in the end every call is settled and every permit is back", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(action, { minLength: 5, maxLength: 40 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 9000 })),
        fc.infiniteStream(fc.integer({ min: 0, max: 400 })),
        async (actions, limit, size, durations, latencies) => {
          const storage = new UnreliableStorage({ permitLeaseSeconds: 12, permitRenewSeconds: 3 });
          storage.latency = () => latencies.next().value ?? 0;
          const open = () =>
            new Bulkhead(
              {
                name: "partner",
                maxConcurrentCalls: 4,
                maxQueueSize: 5,
                fleetMaxConcurrentCalls: limit,
                fleetFallback: "reject",
                circuitBreakerEnabled: false,
              },
              { circuitStorage: storage },
            );
          const fleet = Array.from({ length: size }, open);
          let running = 0;
          let most = 0;
          const calls: Array<Promise<unknown>> = [];
          const call = async () => {
            running++;
            most = Math.max(most, running);
            await delay(durations.next().value ?? 0);
            running--;
          };
          for (const step of actions) {
            if (step.kind === "time") await vi.advanceTimersByTimeAsync(step.ms);
            else if (step.kind === "fate") storage.fates.push(step.fate);
            else {
              const index = step.who % fleet.length;
              const bulkhead = fleet[index];
              if (step.kind === "shutdown") {
                calls.push(bulkhead?.shutdown() ?? Promise.resolve());
                fleet[index] = open();
              } else {
                for (let n = 0; n < step.count; n++) {
                  calls.push(bulkhead?.call(call).catch(() => {}) ?? Promise.resolve());
                }
              }
            }
            expect(most).toBeLessThanOrEqual(limit);
          }
          await vi.advanceTimersByTimeAsync(300_000);
          await Promise.all(calls);
          expect(most).toBeLessThanOrEqual(limit);
          expect(running).toBe(0);
          for (const bulkhead of fleet) {
            expect(bulkhead.getStats()).toMatchObject({
              activeTasks: 0,
              queuedTasks: 0,
              fleet: { permits: 0 },
            });
          }
          expect(vi.getTimerCount()).toBe(0);
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  });
});
