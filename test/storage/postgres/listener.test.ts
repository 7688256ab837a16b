import { EventEmitter } from "node:events";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MAX_TIMER_MS } from "../../../src/common/clock.js";
import type { ChangeHooks } from "../../../src/storage/postgres/change-source.js";
import { PostgresListener } from "../../../src/storage/postgres/listener.js";
import type { ListenerOptions } from "../../../src/storage/postgres/listening.js";

const delays = vi.hoisted((): number[] => []);
vi.mock("node:timers/promises", async (original) => ({
  ...(await original<object>()),
  // In a later turn of the event loop, so that a test can stop what would go on for good.
  setTimeout: async (ms: number) => {
    delays.push(ms);
    await new Promise((resolve) => setImmediate(resolve));
  },
}));

let listener: PostgresListener | undefined;
beforeEach(() => {
  delays.length = 0;
});
afterEach(() => listener?.stop());

function start(options: Partial<ListenerOptions>, hooks: Partial<ChangeHooks> = {}): void {
  listener = new PostgresListener(
    {
      // Where nobody listens.
      connect: () => new Client({ host: "127.0.0.1", port: 1 }),
      namespace: "default",
      queryTimeoutMs: 5000,
      ...options,
    },
    {
      onChange: () => {},
      prepare: async () => {},
      schema: () => undefined,
      reread: async () => true,
      onInterrupted: () => {},
      onSynced: () => {},
      ...hooks,
    },
  );
  listener.start();
}

/** A connection to a server that answers at once: every LISTEN with what `listen` does. */
function connection(listen: () => Promise<void> = async () => {}): Client {
  const client = Object.assign(new EventEmitter(), { connect: async () => {}, query: listen });
  return client as unknown as Client;
}

const enough = (count: number) =>
  vi.waitFor(() => expect(delays.length).toBeGreaterThanOrEqual(count), { timeout: 20_000 });

function expectBetween(values: readonly number[], least: number, most: number): void {
  for (const value of values) {
    expect(value).toBeGreaterThanOrEqual(least);
    expect(value).toBeLessThanOrEqual(most);
  }
  expect(new Set(values).size).toBeGreaterThan(1);
}

describe("a listener", () => {
  it("tries again later and later, but never waits longer than 5 s, and not in lockstep", async () => {
    start({});
    await enough(20);
    expect(delays[0]).toBeLessThanOrEqual(100);
    expectBetween(delays.slice(8), 2500, 5000);
  });

  it.each([
    ["30 s by default", undefined, 30_000],
    ["heartbeatMs", 2000, 2000],
    ["as long as a timer can hold when it is null", null, MAX_TIMER_MS],
  ])("waits for its next sign of life %s, and not in lockstep", async (_, heartbeatMs, most) => {
    start({ connect: connection, ...(heartbeatMs === undefined ? {} : { heartbeatMs }) });
    await enough(20);
    expectBetween(delays, most * 0.9, most);
  });

  it("reads again after 30 s without heartbeat, when it could not read everything", async () => {
    start({ connect: connection, heartbeatMs: null }, { reread: async () => delays.length > 3 });
    await enough(6);
    expectBetween(delays.slice(0, 4), 27_000, 30_000);
    expect(delays[4]).toBeGreaterThan(30_000);
  });

  it("tries to listen again every 5 s where LISTEN is refused, and reports that once", async () => {
    let refusals = 10;
    const reports: string[] = [];
    let delivered = 0;
    start(
      {
        heartbeatMs: null,
        connect: () =>
          connection(async () => {
            if (refusals-- > 0) throw Object.assign(new Error("in recovery"), { code: "25006" });
          }),
      },
      { onUndelivered: ({ message }) => reports.push(message), onDelivered: () => delivered++ },
    );
    await vi.waitFor(() => expect(delivered).toBe(1));
    expectBetween(delays.slice(0, 10), 4500, 5000);
    expect(reports).toEqual([expect.stringContaining("read every 5 s")]);
  });
});
