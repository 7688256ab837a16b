import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  InMemoryStorage,
  type PermitNotice,
} from "../../src/index.js";

/** A custom storage whose subscriptions are as a test has them. */
class BrokenStorage extends InMemoryStorage {
  subscription: unknown = () => {};
  emit: ((notice: PermitNotice) => void) | undefined = undefined;

  override subscribe(): () => void {
    return this.subscription as () => void;
  }

  override subscribeToPermits(_name: string, onNotice: (notice: PermitNotice) => void): () => void {
    this.emit = onNotice;
    return this.subscription as () => void;
  }
}

let storage: BrokenStorage;

function open(config: Partial<BulkheadConfig> = {}) {
  const bulkhead = new Bulkhead({ name: "api", ...config }, { circuitStorage: storage });
  const errors: unknown[] = [];
  bulkhead.on("storageError", (error) => errors.push(error));
  return { bulkhead, errors };
}

beforeEach(() => {
  vi.useFakeTimers();
  storage = new BrokenStorage();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

const throws = () => {
  throw new Error("broken");
};

describe.each([
  ["is no function", 5],
  ["is a promise", Promise.resolve(() => {})],
  ["throws", throws],
])("a bulkhead whose storage returns what %s instead of the end of a subscription", (_, given) => {
  beforeEach(() => {
    storage.subscription = given;
  });

  it("can be shut down with a fleet's limit", async () => {
    const { bulkhead } = open({ fleetMaxConcurrentCalls: 2 });
    const call = bulkhead.call(() => "value");
    await vi.advanceTimersByTimeAsync(0);
    expect(await call).toBe("value");
    await expect(bulkhead.shutdown()).resolves.toBeUndefined();
  });

  it("can lose its fleet's limit", async () => {
    const { bulkhead } = open({ fleetMaxConcurrentCalls: 2 });
    bulkhead.configure({ fleetMaxConcurrentCalls: null });
    await vi.advanceTimersByTimeAsync(0);
    expect(bulkhead.getStats()).not.toHaveProperty("fleet");
    await bulkhead.shutdown();
  });

  it("can begin and end to enforce, and be shut down while it only watches", async () => {
    const { bulkhead } = open({ enforce: false });
    bulkhead.configure({ enforce: true });
    bulkhead.configure({ enforce: false });
    await expect(bulkhead.shutdown()).resolves.toBeUndefined();
  });
});

describe("a malformed notice of permits", () => {
  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["a string", "fair"],
    ["an empty object", {}],
    ["a fair share that is NaN", { fair: Number.NaN, lastTurn: 0, gives: false }],
    ["a fair share below 0", { fair: -1, lastTurn: 0, gives: false }],
    ["a fair share that is text", { fair: "0", lastTurn: 0, gives: false }],
    ["a turn that is no number", { fair: 1, lastTurn: null, gives: false }],
    ["gives that is no boolean", { fair: 1, lastTurn: 0, gives: 1 }],
  ])("changes nothing, and is a storageError once: %s", async (_, notice) => {
    const { bulkhead, errors } = open({ fleetMaxConcurrentCalls: 4 });
    const permits = await Promise.all(Array.from({ length: 4 }, () => bulkhead.acquire()));
    const before = bulkhead.getStats().fleet;
    expect(before).toMatchObject({ permits: 4 });
    storage.emit?.(notice as PermitNotice);
    storage.emit?.(notice as PermitNotice);
    expect(bulkhead.getStats().fleet).toEqual(before);
    expect(errors).toHaveLength(1);
    expect(String(errors[0])).toMatch(/notice of permits/);
    storage.emit?.({ fair: 4, lastTurn: 0, gives: false });
    storage.emit?.(notice as PermitNotice);
    expect(errors).toHaveLength(2);
    for (const permit of permits) permit.succeed();
    await bulkhead.shutdown();
  });
});
