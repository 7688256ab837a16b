import assert from "node:assert/strict";
import { assertClosed, assertSame, type Cases, opened, opening } from "./trial.js";

/** Creating, reading and closing. */
export const circuitCases: Cases = {
  "returns null for a circuit that was never loaded": async ({ storage, name }) => {
    assert.equal(await storage.getState(name), null);
    assert.equal(await storage.getState(name), null);
  },

  "creates a circuit closed when it is loaded": async ({ storage, name }) => {
    const loaded = await storage.load(name);
    assertClosed(loaded);
    assert.ok(Number.isSafeInteger(loaded.version));
    assert.ok(loaded.updatedAt <= loaded.readAt);
    assertSame(await storage.getState(name), loaded);
    assertSame(await storage.load(name), loaded);
  },

  "creates a circuit once when many load it": async ({ storage, open, name }) => {
    const storages = [storage, await open(), await open()];
    const loaded = await Promise.all(storages.map((each) => each.load(name)));
    for (const record of loaded) assertSame(record, loaded[0]);
  },

  "rejects a change of a past version, and returns the record": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    const { record } = await storage.change(name, opening(version, "a", 60));
    const late = [
      opening(version, "b", 90),
      { to: "HALF_OPEN", version, owner: "b", early: true },
      { to: "CLOSED", version, owner: "b", byHand: true },
    ] as const;
    for (const change of late) {
      const result = await storage.change(name, change);
      assert.equal(result.changed, false);
      assertSame(result.record, record);
    }
  },

  "creates a missing circuit when it is changed, and does not change it": async ({
    storage,
    name,
  }) => {
    const { changed, record } = await storage.change(name, opening(1, "a", 60));
    assert.equal(changed, false);
    assertClosed(record);
    assertSame(await storage.getState(name), record);
  },

  "keeps circuits of different names apart, whatever the names are": async ({ storage, name }) => {
    const strange = ["'; --", "%_\\", "__proto__", "\u{1f600} é\n", " ", '"{}'];
    const names = [name, ...strange.map((text) => `${name} ${text}`), name.padEnd(255, "é")];
    for (const each of names) await opened(storage, each, 60, each.length);
    for (const each of names) {
      assert.equal((await storage.getState(each))?.failureCount, each.length, each);
    }
  },

  "reads the result of changes that were requested before": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    const changing = storage.change(name, opening(version, "a", 60));
    assert.equal((await storage.getState(name))?.state, "OPEN");
    assert.ok((await changing).changed);
  },

  "closes more than once": async ({ storage, name }) => {
    await storage.load(name);
    await Promise.all([storage.close(), storage.close()]);
    await storage.close();
  },
};
