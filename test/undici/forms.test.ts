import { describe, expect, it, onTestFinished } from "vitest";
import { guardDispatcher } from "../../src/undici/index.js";
import { started } from "../helpers/gate.js";
import { UNDICIS } from "./clients.js";
import { FakeBase, FakeCaller } from "./fake-base.js";
import { serve } from "./server.js";

/** Of each handler that the base is given, whether it has the form of undici 7 and 8. */
function noteForms(base: { dispatch(options: never, handler: never): unknown }) {
  const areNew: boolean[] = [];
  const dispatch = (options: object, handler: object) => {
    areNew.push(typeof Reflect.get(handler, "onRequestStart") === "function");
    return base.dispatch(options as never, handler as never);
  };
  return { areNew, base: { dispatch } };
}

describe("the form of the handler that the base is given", () => {
  it.each(UNDICIS)("is the one that %s has inside, from its second request on", async (name, u) => {
    const { url } = await serve((_request, response) => {
      response.setHeader("X-Case", "kept");
      response.end("hello");
    });
    const agent = new u.Agent();
    onTestFinished(() => agent.destroy());
    const { areNew, base } = noteForms(agent);
    const dispatcher = guardDispatcher({ dispatcher: base });
    for (let n = 0; n < 3; n++) {
      const { headers, body } = await u.request(url, { dispatcher });
      expect([headers["x-case"], await body.text()]).toEqual(["kept", "hello"]);
    }
    // undici 6 does not look at it.
    expect(areNew).toEqual(name === "undici-7" ? [true, false, false] : [true, true, true]);
  });

  it("is the new one for a caller of that form, also over undici 7", async () => {
    const { url } = await serve((_request, response) => response.end("hello"));
    const undici7 = new Map(UNDICIS).get("undici-7");
    if (undici7 === undefined) throw new Error("undici 7 is missing");
    const agent = new undici7.Agent();
    onTestFinished(() => agent.destroy());
    const { areNew, base } = noteForms(agent);
    const dispatcher = guardDispatcher({ dispatcher: base });
    for (let n = 0; n < 2; n++) {
      const caller = new FakeCaller("new");
      const ended = new Promise<void>((resolve, reject) => {
        caller.on = { end: resolve, error: () => reject(new Error("failed")) };
      });
      dispatcher.dispatch(
        { origin: url, path: "/", method: "GET" } as never,
        caller.handler as never,
      );
      await ended;
      expect(caller.told.map(([what]) => what)).toEqual(["start", "headers", "data", "end"]);
    }
    expect(areNew).toEqual([true, true]);
  });

  it("stays both over a base that is not undici 7", async () => {
    const fake = new FakeBase("new");
    const { areNew, base } = noteForms(fake);
    const dispatcher = guardDispatcher({ dispatcher: base });
    for (let n = 0; n < 2; n++) {
      dispatcher.dispatch(
        { origin: "http://a.test", path: "/", method: "GET" } as never,
        new FakeCaller("old").handler as never,
      );
      await started();
      fake.at(n).start();
      fake.at(n).headers(200);
      fake.at(n).end();
    }
    expect(areNew).toEqual([true, true]);
  });
});
