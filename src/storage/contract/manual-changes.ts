import assert from "node:assert/strict";
import { assertClosed, assertRejected, assertSame, type Cases, leased, opening } from "./trial.js";

/** Changes that a person asks for. */
export const manualChangeCases: Cases = {
  "keeps the reason of a manual isolation while the circuit is open": async ({ storage, name }) => {
    const { version, reason } = await storage.load(name);
    assert.equal(reason, null);
    const text = "é".repeat(255);
    const given = { byHand: true, reason: `${text} and more` } as const;
    const first = await storage.change(name, { ...opening(version, "a", 60), ...given });
    assert.equal(first.record.reason, text);
    assertSame(await storage.getState(name), first.record);
    const again = opening(first.record.version, "a", 60);
    const second = await storage.change(name, { ...again, ...given, reason: "'; -- \u{1f600}" });
    assert.equal(second.record.reason, "'; -- \u{1f600}");
    const closing = { to: "CLOSED", version: second.record.version, owner: "b" } as const;
    const closed = await storage.change(name, { ...closing, byHand: true });
    assert.equal(closed.record.reason, null);
    const third = await storage.change(name, opening(closed.record.version, "a", 60));
    assert.equal(third.record.reason, null);
  },

  "rejects the early end of an isolation with a reason": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    const given = { byHand: true, reason: "migration" } as const;
    const open = await storage.change(name, { ...opening(version, "a", 60), ...given });
    const early = { to: "HALF_OPEN", owner: "a", early: true } as const;
    await assertRejected(storage, name, { ...early, version: open.record.version });
    const over = opening(open.record.version, "a", 0);
    const { record } = await storage.change(name, { ...over, ...given });
    const ended = await storage.change(name, { ...early, version: record.version });
    assert.ok(ended.changed);
    assert.equal(ended.record.reason, null);
  },

  "makes a manual change at any time": async ({ storage, name }) => {
    const { version } = await leased(storage, name, "a");
    const byHand = { owner: "b", byHand: true } as const;
    const open = await storage.change(name, { ...opening(version, "b", 60), ...byHand });
    assert.ok(open.changed);
    const closed = await storage.change(name, {
      to: "CLOSED",
      version: open.record.version,
      ...byHand,
    });
    assert.ok(closed.changed);
    assertClosed(closed.record);
  },
};
