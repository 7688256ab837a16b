import { tracingChannel } from "node:diagnostics_channel";
import { expect, it, vi } from "vitest";
import { Bulkhead, type CallTrace } from "../../src/index.js";

// Bun's tracing channels do not say as a whole whether they have subscribers.
vi.mock("node:diagnostics_channel", async (importOriginal) => {
  const original = await importOriginal<typeof import("node:diagnostics_channel")>();
  return {
    ...original,
    tracingChannel: (name: string) => {
      const { start, end, asyncStart, asyncEnd, error } = original.tracingChannel(name);
      return { start, end, asyncStart, asyncEnd, error };
    },
  };
});

it("publishes calls where the tracing channel has no hasSubscribers", async () => {
  const { asyncEnd } = tracingChannel<unknown, CallTrace>("bulkman:call");
  const bulkhead = new Bulkhead({ name: "api" });
  const results: unknown[] = [];
  const listener = (call: unknown) => results.push((call as CallTrace).result);
  await bulkhead.execute(() => "before");
  asyncEnd.subscribe(listener);
  await bulkhead.execute(() => "during");
  asyncEnd.unsubscribe(listener);
  await bulkhead.execute(() => "after");
  expect(results).toEqual(["during"]);
});
