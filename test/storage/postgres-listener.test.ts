import { Client } from "pg";
import { expect, it, vi } from "vitest";
import { PostgresListener } from "../../src/storage/postgres-listener.js";

const delays = vi.hoisted((): number[] => []);
vi.mock("node:timers/promises", async (original) => ({
  ...(await original<object>()),
  setTimeout: async (ms: number) => void delays.push(ms),
}));

it("tries again later and later, but never waits longer than 5 s, and not in lockstep", async () => {
  const listener = new PostgresListener(
    // Where nobody listens.
    {
      connect: () => new Client({ host: "127.0.0.1", port: 1 }),
      namespace: "default",
      queryTimeoutMs: 5000,
    },
    {
      onChange: () => {},
      prepare: async () => {},
      schema: () => undefined,
      reread: async () => true,
      onTrouble: () => {
        if (delays.length === 20) listener.stop();
      },
      onHearing: () => {},
    },
  );
  listener.start();
  await vi.waitFor(() => expect(delays.length).toBeGreaterThanOrEqual(20), { timeout: 20_000 });
  expect(delays[0]).toBeLessThanOrEqual(100);
  const late = delays.slice(8);
  for (const delay of late) {
    expect(delay).toBeGreaterThanOrEqual(2500);
    expect(delay).toBeLessThanOrEqual(5000);
  }
  expect(new Set(late).size).toBeGreaterThan(1);
});
