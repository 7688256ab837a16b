import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { InMemoryStorage } from "../../src/index.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function opened() {
  const storage = new InMemoryStorage({ probeLeaseSeconds: 5 });
  const { version } = await storage.load("api");
  const opening = { to: "OPEN", version, owner: "a", openSeconds: 30, failureCount: 1 } as const;
  const { record } = await storage.change("api", opening);
  const ask = async (owner: string) => {
    const newest = (await storage.getState("api"))?.version ?? 0;
    return (await storage.change("api", { to: "HALF_OPEN", version: newest, owner })).changed;
  };
  return { storage, record, ask };
}

it.each([-3600, 3600])(
  "counts isolation and lease right when the clock is set by %d s",
  async (seconds) => {
    const { ask, storage } = await opened();
    vi.setSystemTime(Date.now() + seconds * 1000);
    await vi.advanceTimersByTimeAsync(29_000);
    expect(await ask("a")).toBe(false);
    const { openUntil, readAt } = (await storage.getState("api")) ?? {};
    expect(Number(openUntil) - Number(readAt)).toBe(1000);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await ask("a")).toBe(true);
    vi.setSystemTime(Date.now() - seconds * 1000);
    await vi.advanceTimersByTimeAsync(4999);
    expect(await ask("b")).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(await ask("b")).toBe(true);
  },
);

it("has the isolation over for who slept for all of it, by a timer that fires a millisecond early", async () => {
  const { ask } = await opened();
  await vi.advanceTimersByTimeAsync(29_998);
  expect(await ask("a")).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(await ask("a")).toBe(true);
});

it("says when it is by the clock of when it was made", async () => {
  const made = Date.now();
  const { record } = await opened();
  await vi.advanceTimersByTimeAsync(1000);
  expect(record.readAt.getTime()).toBe(made);
  expect(record.openUntil?.getTime()).toBe(made + 30_000);
});
