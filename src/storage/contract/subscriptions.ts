import assert from "node:assert/strict";
import {
  assertNear,
  assertSame,
  type Cases,
  newName,
  opening,
  secondsLeft,
  subscribed,
  until,
} from "./trial.js";

/** Changes that subscribers receive. */
export const subscriptionCases: Cases = {
  "emits each change to every subscriber, in every storage": async (trial) => {
    const { storage, open, name } = trial;
    const [here, there, other] = [
      subscribed(storage, name),
      subscribed(await open(), name),
      subscribed(storage, newName()),
    ];
    const { version } = await storage.load(name);
    const { record: open60 } = await storage.change(name, opening(version, "a", 60, 3));
    for (const { heard } of [here, there]) {
      const news = await until(trial, () => heard.findLast((each) => each.state === "OPEN"));
      assertSame(news, open60);
      assertNear(secondsLeft(news.openUntil, news), 60);
    }
    const { record: closed } = await storage.change(name, {
      to: "CLOSED",
      version: open60.version,
      owner: "a",
      byHand: true,
    });
    for (const { heard } of [here, there]) {
      const news = await until(trial, () => heard.find((each) => each.version === closed.version));
      assertSame(news, closed);
    }
    assert.deepEqual(
      other.heard.filter(({ state }) => state !== "CLOSED"),
      [],
    );
  },

  "emits nothing after a subscriber has unsubscribed": async (trial) => {
    const { storage, name } = trial;
    const [gone, stays] = [subscribed(storage, name), subscribed(storage, name)];
    const { version } = await storage.load(name);
    gone.unsubscribe();
    gone.unsubscribe();
    await storage.change(name, opening(version, "a", 60));
    await until(trial, () => stays.heard.some(({ state }) => state === "OPEN"));
    assert.equal(
      gone.heard.some(({ state }) => state === "OPEN"),
      false,
    );
    stays.unsubscribe();
  },
};
