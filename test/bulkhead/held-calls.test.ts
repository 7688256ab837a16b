import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type BulkheadConfig, InMemoryStorage } from "../../src/index.js";

// What waits for the storage's answer does not wait for a permit.

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

class SlowStorage extends InMemoryStorage {
  override async load(name: string) {
    await sleep(30);
    return super.load(name);
  }
  override async change(...args: Parameters<InMemoryStorage["change"]>) {
    await sleep(30);
    return super.change(...args);
  }
}

function slow(config: Partial<BulkheadConfig>) {
  const circuit = { failureThreshold: 1, successThreshold: 1, isolationDuration: 1 };
  return new Bulkhead(
    { name: "api", ...circuit, ...config },
    { circuitStorage: new SlowStorage() },
  );
}

describe.each<[string, Partial<BulkheadConfig>]>([
  ["queueTargetSeconds", { queueTargetSeconds: 0.005 }],
  ["maxWaitSeconds", { maxWaitSeconds: 0.005 }],
])("%s", (_, config) => {
  it("does not reject a call that waits for the circuit to be loaded while a permit is free", async () => {
    const bulkhead = slow(config);
    const call = bulkhead.execute(() => "served");
    await pass(30);
    expect(await call).toMatchObject({ result: "served", queuedTime: 0.03 });
    await bulkhead.shutdown();
  });

  it("does not reject a probe that waits for the lease", async () => {
    const bulkhead = slow(config);
    await pass(30);
    await bulkhead.execute(() => Promise.reject(new Error("down")));
    await pass(1100);
    const probe = bulkhead.execute(() => "served");
    await pass(60);
    expect(await probe).toMatchObject({ result: "served" });
    expect(bulkhead.getStats().circuitStatus).toBe("CLOSED");
    const left = bulkhead.shutdown();
    await pass(100);
    await left;
  });

  it("counts from the storage's answer for a call that then finds no permit free", async () => {
    const bulkhead = slow({ ...config, maxConcurrentCalls: 1 });
    const first = bulkhead.execute(sleep, 100);
    const others = [1, 2].map(() => bulkhead.execute(sleep, 1).catch((error: unknown) => error));
    await pass(34);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1, queuedTasks: 2 });
    await pass(200);
    await first;
    const codes = (await Promise.all(others)).map((error) => Reflect.get(Object(error), "code"));
    const code = config.maxWaitSeconds ? "ERR_BULKHEAD_TIMEOUT" : "ERR_BULKHEAD_FULL";
    expect(codes).toEqual([code, code]);
    await bulkhead.shutdown();
  });
});

describe("a call that waits for the storage, with maxWaitSeconds and timeoutSeconds", () => {
  it("has no timer left when it is over", async () => {
    const bulkhead = slow({ maxWaitSeconds: 1, timeoutSeconds: 60, maxConcurrentCalls: 1 });
    const calls = [1, 2].map(() => bulkhead.execute(sleep, 10));
    await pass(50);
    expect(await Promise.all(calls)).toMatchObject([{ success: true }, { success: true }]);
    expect(vi.getTimerCount()).toBe(0);
    await bulkhead.shutdown();
  });

  it("has the rest of timeoutSeconds when it starts", async () => {
    const bulkhead = slow({ maxWaitSeconds: 0.5, timeoutSeconds: 1 });
    const call = bulkhead.execute(sleep, 2000).catch((error: unknown) => error);
    await pass(999);
    expect(bulkhead.getStats()).toMatchObject({ activeTasks: 1 });
    await pass(1);
    expect(await call).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", phase: "running" });
    await Promise.all([bulkhead.shutdown(), pass(2000)]);
  });
});

describe("ready()", () => {
  it("resolves when the storage has answered, and at once without a storage", async () => {
    const bulkhead = slow({});
    const ready = vi.fn();
    const waiting = bulkhead.ready().then(ready);
    await pass(29);
    expect(ready).not.toHaveBeenCalled();
    await pass(1);
    await waiting;
    await new Bulkhead({ name: "api" }).ready();
    await bulkhead.shutdown();
  });
});
