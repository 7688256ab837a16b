import assert from "node:assert/strict";
import {
  assertNear,
  assertRejected,
  assertSame,
  at,
  type Cases,
  leased,
  opened,
  opening,
  secondsLeft,
} from "./trial.js";

/** Opening, and what an open or closed circuit rejects. */
export const openingCases: Cases = {
  "opens a closed circuit for the requested seconds": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    const { changed, record } = await storage.change(name, opening(version, "a", 60, 7));
    assert.ok(changed);
    assert.equal(record.state, "OPEN");
    assert.equal(record.failureCount, 7);
    assert.ok(record.version > version);
    assert.deepEqual([record.probeOwner, record.probeUntil], [null, null]);
    assertNear(secondsLeft(record.openUntil, record), 60);
    assertSame(await storage.getState(name), record);
  },

  "keeps who opened last, also after the circuit closes": async ({ storage, name }) => {
    const { version, openedBy } = await storage.load(name);
    assert.equal(openedBy, null);
    const byHand = { owner: "b", byHand: true } as const;
    const { record } = await storage.change(name, opening(version, "a", 60));
    assert.equal(record.openedBy, "a");
    const closing = { to: "CLOSED", version: record.version, ...byHand } as const;
    assert.equal((await storage.change(name, closing)).record.openedBy, "a");
    assert.equal((await storage.getState(name))?.openedBy, "a");
  },

  "keeps what opened it until it closes, if it keeps that at all": async ({ storage, name }) => {
    const { version, cause: none } = await storage.load(name);
    if (none === undefined) return;
    assert.equal(none, null);
    const cause = { rule: "a probe failed", failure: "TypeError", code: "'; -- \u{1f600}" };
    const first = await storage.change(name, { ...opening(version, "a", 0), cause });
    assert.deepEqual(first.record.cause, cause);
    assertSame(await storage.getState(name), first.record);
    const probing = { to: "HALF_OPEN", version: first.record.version, owner: "b" } as const;
    const probed = await storage.change(name, probing);
    assert.deepEqual(probed.record.cause, cause);
    const long = { rule: "x".repeat(300), failure: "\u{1f600}".repeat(300), code: null };
    const again = { ...opening(probed.record.version, "b", 60), cause: long };
    const second = await storage.change(name, again);
    assert.deepEqual(second.record.cause, {
      rule: "x".repeat(255),
      failure: "\u{1f600}".repeat(255),
      code: null,
    });
    const closing = { to: "CLOSED", version: second.record.version, owner: "b" } as const;
    const closed = await storage.change(name, { ...closing, byHand: true });
    assert.equal(closed.record.cause, null);
  },

  "keeps who changed it last, if it keeps that at all": async ({ storage, name }) => {
    const { version, changedBy } = await storage.load(name);
    if (changedBy === undefined) return;
    assert.equal(changedBy, null);
    const owner = "host 42 01234567-89ab-cdef-0123-456789abcdef";
    const { record } = await storage.change(name, opening(version, owner, 60));
    assert.equal(record.changedBy, "host 42");
    const closing = { to: "CLOSED", version: record.version, owner: "ann@laptop" } as const;
    await storage.change(name, { ...closing, byHand: true });
    assert.equal((await storage.getState(name))?.changedBy, "ann@laptop");
  },

  "keeps which opening it was, and recognises the owner of a lease": async (trial) => {
    const { storage, name } = trial;
    const { version } = await leased(storage, name, "a");
    const reopening = { ...opening(version, "a", 60), opening: "a 2" };
    const { changed, record } = await storage.change(name, reopening);
    assert.ok(changed);
    assert.equal(record.openedBy, "a 2");
    const closing = { to: "CLOSED", version: record.version, owner: "b", byHand: true } as const;
    assert.equal((await storage.change(name, closing)).record.openedBy, "a 2");
    assert.equal((await storage.getState(name))?.openedBy, "a 2");
  },

  "counts the openings until the circuit closes": async ({ storage, name }) => {
    const { version, openings: atFirst } = await storage.load(name);
    assert.equal(atFirst, 0);
    const second = { ...opening(version, "a", 0), openings: 2 };
    const { record } = await storage.change(name, second);
    assert.equal(record.openings, 2);
    const probing = { to: "HALF_OPEN", version: record.version, owner: "b" } as const;
    const probed = await storage.change(name, probing);
    assert.equal(probed.record.openings, 2);
    // Without a count, as a manual change: as many as before.
    const reopened = await storage.change(name, opening(probed.record.version, "b", 0));
    assert.equal(reopened.record.openings, 2);
    assertSame(await storage.getState(name), reopened.record);
    const closing = {
      to: "CLOSED",
      version: reopened.record.version,
      owner: "b",
      byHand: true,
    } as const;
    assert.equal((await storage.change(name, closing)).record.openings, 0);
  },

  "lets one of many simultaneous openings win, and returns its record to all": async (trial) => {
    const { storage, open, name } = trial;
    const { version } = await storage.load(name);
    const storages = [storage, await open(), await open()];
    const results = await Promise.all(
      Array.from({ length: 15 }, (_, n) =>
        at(storages, n).change(name, opening(version, `owner ${n}`, 60 + n, 1 + n)),
      ),
    );
    assert.equal(results.filter(({ changed }) => changed).length, 1);
    for (const { record } of results) assertSame(record, at(results, 0).record);
    assertSame(await storage.getState(name), at(results, 0).record);
  },

  "rejects every change of an open circuit until its isolation is over": async ({
    storage,
    name,
  }) => {
    const { version } = await opened(storage, name, 60);
    await assertRejected(storage, name, { to: "HALF_OPEN", version, owner: "a" });
    await assertRejected(storage, name, opening(version, "a", 90));
    await assertRejected(storage, name, { to: "CLOSED", version, owner: "a" });
  },

  "rejects half-open for a closed circuit": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    await assertRejected(storage, name, { to: "HALF_OPEN", version, owner: "a" });
    await assertRejected(storage, name, { to: "HALF_OPEN", version, owner: "a", early: true });
    await assertRejected(storage, name, { to: "CLOSED", version, owner: "a" });
  },
};
