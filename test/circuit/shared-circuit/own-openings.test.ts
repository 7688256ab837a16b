import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, type CircuitChange, InMemoryStorage } from "../../../src/index.js";
import { failCalls, passCalls } from "../../helpers/failing.js";

const config = { name: "api", failureThreshold: 1, successThreshold: 1, isolationDuration: 10 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Makes changes, but loses its answer to the first of them that is asked for as `to`. */
class Lossy extends InMemoryStorage {
  lost: CircuitChange["to"] | undefined = undefined;
  /** As a custom storage does that was written before `opening`. */
  knowsOpenings = true;

  override async change(name: string, { ...change }: CircuitChange) {
    if (!this.knowsOpenings && change.to === "OPEN")
      delete (change as { opening?: string }).opening;
    const result = await super.change(name, change);
    if (change.to !== this.lost) return result;
    this.lost = undefined;
    await new Promise((resolve) => setTimeout(resolve, 20));
    throw new Error("the answer was lost");
  }
}

async function loaded(circuitStorage = new Lossy()) {
  const bulkhead = new Bulkhead(config, { circuitStorage });
  await bulkhead.ready();
  return { storage: circuitStorage, bulkhead };
}

/** Opens, closes, and opens again while the answer to the closing is on its way to be lost. */
async function reopened(storage = new Lossy()) {
  const { bulkhead } = await loaded(storage);
  await failCalls(bulkhead, 1);
  await vi.advanceTimersByTimeAsync(10_000);
  storage.lost = "CLOSED";
  await passCalls(bulkhead, 1);
  await failCalls(bulkhead, 1);
  return { storage, bulkhead };
}

describe("an opening", () => {
  it.each([true, false])(
    "is not ended by the record of an earlier closing whose answer was lost (tags kept: %s)",
    async (knowsOpenings) => {
      const { storage, bulkhead } = await reopened(Object.assign(new Lossy(), { knowsOpenings }));
      const changes: string[] = [];
      bulkhead.on("stateChange", ({ to }) => changes.push(to));
      await vi.advanceTimersByTimeAsync(2000);
      expect(changes).toEqual([]);
      expect(bulkhead.getState()).toBe("isolated");
      expect(await storage.getState("api")).toMatchObject({
        state: "OPEN",
        openUntil: new Date(Date.now() + 8000),
      });
      await bulkhead.shutdown();
    },
  );

  it("is ended when another process closes it, also when it was written unseen", async () => {
    const { storage, bulkhead } = await reopened();
    storage.lost = "OPEN";
    // The lost answer to the closing has the record read, and the opening written.
    await vi.advanceTimersByTimeAsync(520);
    const { version, state } = await storage.load("api");
    expect(state).toBe("OPEN");
    await storage.change("api", { to: "CLOSED", version, owner: "another", byHand: true });
    await vi.advanceTimersByTimeAsync(2000);
    expect([bulkhead.getState(), (await storage.load("api")).state]).toEqual(["healthy", "CLOSED"]);
    await bulkhead.shutdown();
  });

  it("has a name that no other opening has, and that begins with its process", async () => {
    const { storage, bulkhead } = await loaded();
    const names: string[] = [];
    for (let n = 0; n < 3; n++) {
      await failCalls(bulkhead, 1);
      names.push((await storage.load("api")).openedBy ?? "");
      bulkhead.breaker?.close();
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(new Set(names).size).toBe(3);
    for (const name of names) expect(name).toContain(` ${process.pid} `);
    await bulkhead.shutdown();
  });

  it("is distinguished from another process's when the circuit follows the record back to it", async () => {
    const storage = new InMemoryStorage();
    const bulkhead = new Bulkhead(config, { circuitStorage: storage });
    await bulkhead.ready();
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(0);
    const opened = await storage.load("api");
    const reasons: string[] = [];
    bulkhead.on("stateChange", ({ to, reason }) => reasons.push(`${to}: ${reason}`));
    const closing = { to: "CLOSED", version: opened.version, owner: "a", byHand: true } as const;
    const closed = await storage.change("api", closing);
    await vi.advanceTimersByTimeAsync(0);
    const again = { ...closing, to: "OPEN", version: closed.record.version } as const;
    const opening = opened.openedBy ?? "";
    await storage.change("api", { ...again, openSeconds: 5, failureCount: 1, opening });
    await vi.advanceTimersByTimeAsync(0);
    expect(reasons).toEqual([
      "CLOSED: closed by another process",
      "OPEN: opened by this process before",
    ]);
    await bulkhead.shutdown();
  });
});
