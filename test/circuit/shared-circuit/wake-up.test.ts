import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, InMemoryStorage } from "../../../src/index.js";
import { failCalls } from "../../helpers/failing.js";

const config = { name: "api", failureThreshold: 1, successThreshold: 1, isolationDuration: 0 };
/** More than there are between a question and the end of everything that its answer leads to. */
const MICROTASKS = Array.from({ length: 60 }, (_, n) => n);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function pass(microtasks: number): Promise<void> {
  for (let n = 0; n < microtasks; n++) await undefined;
}

/** "hangs" unless the call settles without time passing. */
async function outcome(call: Promise<{ result: unknown }>): Promise<unknown> {
  let seen: unknown = "hangs";
  call.then(
    ({ result }) => {
      seen = result;
    },
    ({ code }) => {
      seen = code;
    },
  );
  await vi.advanceTimersByTimeAsync(0);
  return seen;
}

describe("what comes up while the storage answers is sent, in whichever microtask it comes", () => {
  it("serves a call that asks for the lease, and the next one", async () => {
    const outcomes = new Set<unknown>();
    for (const microtasks of MICROTASKS) {
      const bulkhead = new Bulkhead(config, { circuitStorage: new InMemoryStorage() });
      await bulkhead.ready();
      await failCalls(bulkhead, 1);
      await pass(microtasks);
      outcomes.add(await outcome(bulkhead.execute(() => "first")));
      outcomes.add(await outcome(bulkhead.execute(() => "second")));
      await bulkhead.shutdown();
    }
    expect(outcomes).toEqual(new Set(["first", "second"]));
  });

  it("writes an opening", async () => {
    const states = new Set<unknown>();
    for (const microtasks of MICROTASKS) {
      const storage = new InMemoryStorage();
      const settings = { ...config, isolationDuration: 60 };
      const bulkhead = new Bulkhead(settings, { circuitStorage: storage });
      await pass(microtasks);
      bulkhead.breaker?.open();
      await vi.advanceTimersByTimeAsync(0);
      states.add((await storage.getState("api"))?.state);
      await bulkhead.shutdown();
    }
    expect(states).toEqual(new Set(["OPEN"]));
  });

  it("writes an opening that a listener makes of a change that the storage reports", async () => {
    const storage = new InMemoryStorage();
    const bulkhead = new Bulkhead(
      { ...config, isolationDuration: 60 },
      { circuitStorage: storage },
    );
    await bulkhead.ready();
    bulkhead.on("stateChange", ({ to }) => {
      if (to === "CLOSED") bulkhead.breaker?.open();
    });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(0);
    const { version } = await storage.load("api");
    await storage.change("api", { to: "CLOSED", version, owner: "operator", byHand: true });
    await vi.advanceTimersByTimeAsync(0);
    expect((await storage.getState("api"))?.state).toBe("OPEN");
    expect(bulkhead.getState()).toBe("isolated");
    await bulkhead.shutdown();
  });

  it("writes an opening that a listener makes of a storage error, when it asks again", async () => {
    const storage = new InMemoryStorage();
    const load = storage.load.bind(storage);
    storage.load = () => Promise.reject(new Error("down"));
    const bulkhead = new Bulkhead(
      { ...config, isolationDuration: 60 },
      { circuitStorage: storage },
    );
    bulkhead.on("storageError", () => bulkhead.breaker?.open());
    await bulkhead.ready();
    storage.load = load;
    await vi.advanceTimersByTimeAsync(1000);
    expect((await storage.getState("api"))?.state).toBe("OPEN");
    await bulkhead.shutdown();
  });
});
