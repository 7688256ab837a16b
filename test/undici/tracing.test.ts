import { tracingChannel } from "node:diagnostics_channel";
import { expect, it, onTestFinished } from "vitest";
import { fakeGuard, turn } from "./fakes.js";

/** What the channel of calls publishes from now on. */
function subscribe(): string[] {
  const seen: string[] = [];
  const note = (word: string) => (message: unknown) => {
    const { bulkheadName } = message as { bulkheadName: string };
    seen.push(`${word} ${bulkheadName}`);
  };
  const subscribers = {
    start: note("start"),
    end: note("end"),
    asyncStart: note("asyncStart"),
    asyncEnd: note("asyncEnd"),
    error: note("error"),
  };
  const channel = tracingChannel("bulkman:call");
  channel.subscribe(subscribers);
  onTestFinished(() => channel.unsubscribe(subscribers));
  return seen;
}

it("publishes a guarded request on the tracing channel, until its response has ended", async () => {
  const guard = fakeGuard("new", { key: () => "api" });
  const seen = subscribe();
  await guard.dispatch("new");
  const request = guard.base.at(0);
  request.start();
  request.headers(200);
  await turn();
  expect(seen).toEqual(["start api", "end api"]);
  request.end();
  await turn();
  expect(seen).toEqual(["start api", "end api", "asyncStart api", "asyncEnd api"]);
});

it("publishes the error of a request that is rejected", async () => {
  const guard = fakeGuard("new", {
    key: () => "api",
    defaults: { maxConcurrentCalls: 1, maxQueueSize: 0 },
  });
  await guard.dispatch("new");
  const seen = subscribe();
  const client = await guard.dispatch("new");
  await turn();
  expect(client.told.at(-1)?.[0]).toBe("error");
  expect(seen).toContain("error api");
});
