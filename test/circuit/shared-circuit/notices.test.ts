import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type CircuitRecord,
  type CircuitSubscriber,
  InMemoryStorage,
} from "../../../src/index.js";
import { failCalls, passCalls } from "../../helpers/failing.js";
import { CIRCUIT_OPEN } from "../../helpers/rejections.js";
import { UnreliableStorage } from "../../helpers/unreliable-storage.js";

const config = { name: "api", failureThreshold: 1, successThreshold: 2, isolationDuration: 10 };
/** The longest time after which a notice is confirmed. */
const CONFIRM_MS = 1000;
const YEARS = 1e12;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A bulkhead to which anyone can send notices, and the storage with what was asked of it. */
async function listening() {
  let subscriber: CircuitSubscriber | undefined;
  const inner = new InMemoryStorage();
  const subscribe = inner.subscribe.bind(inner);
  inner.subscribe = (name, given) => {
    subscriber = given;
    return subscribe(name, given);
  };
  const storage = new UnreliableStorage(inner);
  const bulkhead = new Bulkhead(config, { circuitStorage: storage });
  const errors = vi.fn();
  bulkhead.on("storageError", errors);
  await bulkhead.ready();
  storage.asked.length = 0;
  const forge = async (changes: Partial<CircuitRecord>) => {
    const record = await inner.load("api");
    const version = Number.MAX_SAFE_INTEGER;
    subscriber?.onRecord({ ...record, version, ...changes });
  };
  const change = async (to: "OPEN" | "CLOSED", openSeconds = 60) => {
    const { version } = await inner.load("api");
    const common = { version, owner: "another", byHand: true } as const;
    if (to === "CLOSED") await inner.change("api", { to, ...common });
    else await inner.change("api", { to, openSeconds, failureCount: 1, ...common });
    await vi.advanceTimersByTimeAsync(0);
  };
  return { inner, storage, bulkhead, errors, forge, change };
}

function isolation(ms = YEARS) {
  return { state: "OPEN", openUntil: new Date(Date.now() + ms) } as const;
}

describe("a notice of new settings", () => {
  async function configured() {
    const all = await listening();
    await failCalls(all.bulkhead, 1);
    await vi.advanceTimersByTimeAsync(5000);
    const changes = vi.fn();
    all.bulkhead.on("stateChange", changes);
    const { version } = await all.inner.load("api");
    const settings = { values: { maxQueueSize: 1 }, until: null, reason: null, by: "me@host" };
    await all.inner.configure("api", { version, settings });
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    return { ...all, changes };
  }

  it("leaves an open circuit its end and its cause, and is no change of the state", async () => {
    const { bulkhead, changes } = await configured();
    expect(changes).not.toHaveBeenCalled();
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 4,
      cause: expect.any(Error),
    });
  });

  it("does not keep the process from probing, and from closing the circuit", async () => {
    const { bulkhead, inner } = await configured();
    await vi.advanceTimersByTimeAsync(4000);
    await passCalls(bulkhead, 2);
    await vi.advanceTimersByTimeAsync(0);
    expect(await inner.getState("api")).toMatchObject({
      state: "CLOSED",
      settings: { by: "me@host" },
    });
  });
});

describe("a notice", () => {
  it("is followed at once, and confirmed by one read", async () => {
    const { bulkhead, storage, change } = await listening();
    await change("OPEN");
    expect(bulkhead.getState()).toBe("isolated");
    expect(storage.asked).toEqual([]);
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    expect(storage.asked).toEqual(["load"]);
    expect(bulkhead.getState()).toBe("isolated");
    expect(vi.getTimerCount()).toBe(0);
    await bulkhead.shutdown();
  });

  it("is confirmed together with those that follow it soon", async () => {
    const { bulkhead, storage, change } = await listening();
    for (let n = 0; n < 20; n++) {
      await change("OPEN");
      await change("CLOSED");
    }
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    expect(storage.asked).toEqual(["load"]);
    await bulkhead.shutdown();
  });

  it("of what is known is not confirmed: a process reads nothing for its own changes", async () => {
    const { bulkhead, storage, forge } = await listening();
    await failCalls(bulkhead, 1);
    await forge({ ...isolation(), version: 1 });
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    expect(storage.asked).toEqual(["change to OPEN"]);
    await bulkhead.shutdown();
  });

  it("is confirmed by the answer to whatever else is asked after it", async () => {
    const { bulkhead, storage, change } = await listening();
    await change("OPEN", 0);
    await passCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    expect(storage.asked).not.toContain("load");
    await bulkhead.shutdown();
  });

  it("leaves no timer when the bulkhead is shut down before it is confirmed", async () => {
    const { bulkhead, change } = await listening();
    await change("OPEN");
    expect(vi.getTimerCount()).toBe(1);
    await bulkhead.shutdown();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("does not keep a process alive until it is confirmed", async () => {
    const { bulkhead, change } = await listening();
    const setTimeout = vi.spyOn(globalThis, "setTimeout");
    await change("OPEN");
    const timers = setTimeout.mock.results.map(({ value }) => value as NodeJS.Timeout);
    expect(timers.map((timer) => timer.hasRef())).toEqual([false]);
    setTimeout.mockRestore();
    await bulkhead.shutdown();
  });

  it("that cannot be confirmed is confirmed when the storage is back", async () => {
    const { bulkhead, storage, errors, forge } = await listening();
    storage.mood = "down";
    await forge(isolation());
    await vi.advanceTimersByTimeAsync(3000);
    expect(bulkhead.getState()).toBe("isolated");
    expect(errors).toHaveBeenCalledTimes(1);
    storage.mood = "well";
    await vi.advanceTimersByTimeAsync(30_000);
    expect(bulkhead.getState()).toBe("healthy");
    await bulkhead.shutdown();
  });
});

describe("a forged notice", () => {
  it.each(["far ahead of all versions", "of the version that comes next", "a little ahead"])(
    "%s opens the circuit for a moment only, and the changes after it are followed",
    async (which) => {
      const { bulkhead, inner, forge, change } = await listening();
      const { version } = await inner.load("api");
      const ahead = { far: Number.MAX_SAFE_INTEGER, of: version + 1, a: version + 3 };
      await forge({ ...isolation(), version: ahead[which.split(" ")[0] as keyof typeof ahead] });
      expect(bulkhead.getState()).toBe("isolated");
      await vi.advanceTimersByTimeAsync(CONFIRM_MS);
      expect(bulkhead.getState()).toBe("healthy");
      for (const [state, expected] of [
        ["OPEN", "isolated"],
        ["CLOSED", "healthy"],
        ["OPEN", "isolated"],
      ] as const) {
        await change(state);
        await vi.advanceTimersByTimeAsync(CONFIRM_MS);
        expect(bulkhead.getState()).toBe(expected);
      }
      await bulkhead.shutdown();
    },
  );

  it("with the version of a true one does not make the isolation longer", async () => {
    const { bulkhead, inner, forge, change } = await listening();
    const { version } = await inner.load("api");
    await forge({ ...isolation(), version: version + 1 });
    await change("OPEN", 10);
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
      ...CIRCUIT_OPEN,
      retryAfterSeconds: 9,
    });
    await bulkhead.shutdown();
  });

  it.each([false, true])(
    "closes an open circuit for a moment only (opened by this process: %s)",
    async (isOwn) => {
      const { bulkhead, inner, forge, change } = await listening();
      if (isOwn) await failCalls(bulkhead, 1);
      else await change("OPEN", 10);
      const { openedBy } = await inner.load("api");
      await forge({ state: "CLOSED", openUntil: null, openedBy });
      expect(bulkhead.getState()).toBe("healthy");
      await vi.advanceTimersByTimeAsync(CONFIRM_MS);
      await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
        ...CIRCUIT_OPEN,
        retryAfterSeconds: 9,
      });
      expect(await inner.getState("api")).toMatchObject({ state: "OPEN" });
      await bulkhead.shutdown();
    },
  );

  it("that another process probes rejects calls only for a moment", async () => {
    const { bulkhead, forge, change } = await listening();
    await change("OPEN", 0);
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    const probeUntil = new Date(Date.now() + YEARS);
    await forge({ state: "HALF_OPEN", openUntil: null, probeOwner: "nobody", probeUntil });
    await expect(bulkhead.execute(() => 1)).rejects.toMatchObject(CIRCUIT_OPEN);
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    await passCalls(bulkhead, 2);
    expect(bulkhead.getState()).toBe("healthy");
    await bulkhead.shutdown();
  });

  it.each([isolation(), { state: "CLOSED" } as const])(
    "stops a prober for a moment only: $state",
    async (changes) => {
      const { bulkhead, forge, change } = await listening();
      await change("OPEN", 0);
      await passCalls(bulkhead, 1);
      await vi.advanceTimersByTimeAsync(1);
      await forge({ probeOwner: null, probeUntil: null, openUntil: null, ...changes });
      expect(bulkhead.getState()).not.toBe("degraded");
      await vi.advanceTimersByTimeAsync(CONFIRM_MS);
      expect(bulkhead.getState()).toBe("degraded");
      await passCalls(bulkhead, 1);
      expect(bulkhead.getState()).toBe("healthy");
      await bulkhead.shutdown();
    },
  );

  it("that hides a true one delays it for a moment only", async () => {
    const { bulkhead, storage, forge, inner } = await listening();
    // While an answer is under way, the newest notice is kept.
    const { load } = storage;
    storage.load = async (name) => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      return load.call(storage, name);
    };
    await forge({ state: "CLOSED" });
    await vi.advanceTimersByTimeAsync(CONFIRM_MS);
    await forge({ state: "CLOSED" });
    const { version } = await inner.load("api");
    const common = { version, owner: "another", openSeconds: 60, failureCount: 1 };
    await inner.change("api", { to: "OPEN", ...common });
    await vi.advanceTimersByTimeAsync(2 * CONFIRM_MS);
    expect(bulkhead.getState()).toBe("isolated");
    await bulkhead.shutdown();
  });
});
