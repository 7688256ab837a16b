import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import {
  assertClosed,
  assertNear,
  assertRejected,
  assertSame,
  type Cases,
  leased,
  opened,
  opening,
  secondsLeft,
} from "./trial.js";

/** The probe lease of a half-open circuit. */
export const probeCases: Cases = {
  "grants the probe lease to one owner when the isolation is over": async (trial) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const { version } = await opened(storage, name, 0);
    const owners = ["a", "b", "c"];
    const results = await Promise.all(
      owners.map((owner) => storage.change(name, { to: "HALF_OPEN", version, owner })),
    );
    const [winner, ...more] = results.filter(({ changed }) => changed);
    assert.equal(more.length, 0);
    assert.ok(winner !== undefined);
    assert.equal(winner.record.state, "HALF_OPEN");
    assert.equal(winner.record.openUntil, null);
    assert.ok(owners.includes(winner.record.probeOwner ?? ""));
    assertNear(secondsLeft(winner.record.probeUntil, winner.record), probeLeaseSeconds);
    for (const { record } of results) assertSame(record, winner.record);
  },

  "lets only the owner of the lease close or open the circuit": async ({ storage, name }) => {
    const { version } = await leased(storage, name, "a");
    for (const owner of ["b", ""]) {
      await assertRejected(storage, name, { to: "CLOSED", version, owner });
      await assertRejected(storage, name, opening(version, owner, 60));
      await assertRejected(storage, name, { to: "HALF_OPEN", version, owner });
    }
    const { changed, record } = await storage.change(name, { to: "CLOSED", version, owner: "a" });
    assert.ok(changed);
    assertClosed(record);
    const again = await leased(storage, name, "a");
    const reopened = await storage.change(name, opening(again.version, "a", 60));
    assert.ok(reopened.changed);
    assert.equal(reopened.record.state, "OPEN");
  },

  "grants an expired lease to another owner, and rejects the first": async (trial) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const first = await leased(storage, name, "a");
    await sleep(probeLeaseSeconds * 1000 + 50);
    await assertRejected(storage, name, { to: "CLOSED", version: first.version, owner: "a" });
    const next = { to: "HALF_OPEN", version: first.version, owner: "b" } as const;
    const { changed, record } = await storage.change(name, next);
    assert.ok(changed);
    assert.equal(record.probeOwner, "b");
    for (const version of [first.version, record.version]) {
      await assertRejected(storage, name, { to: "CLOSED", version, owner: "a" });
      await assertRejected(storage, name, opening(version, "a", 60));
    }
  },

  "renews the lease of its owner, with the successful probes": async (trial) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const first = await leased(storage, name, "a");
    assert.equal(first.probeSuccesses, 0);
    await sleep((probeLeaseSeconds / 2) * 1000);
    const renewal = { to: "HALF_OPEN", version: first.version, owner: "a", successes: 2 } as const;
    const { changed, record } = await storage.change(name, renewal);
    assert.ok(changed);
    assert.equal(record.probeSuccesses, 2);
    assertNear(secondsLeft(record.probeUntil, record), probeLeaseSeconds);
    const closed = await storage.change(name, {
      to: "CLOSED",
      version: record.version,
      owner: "a",
    });
    assert.ok(closed.changed);
    assertClosed(closed.record);
  },

  "keeps the successful probes for the next owner, and resets them with the next isolation": async (
    trial,
  ) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const first = await leased(storage, name, "a");
    const renewal = {
      to: "HALF_OPEN",
      version: first.version,
      owner: "a",
      successes: 1,
    } as const;
    const { record } = await storage.change(name, renewal);
    await sleep(probeLeaseSeconds * 1000 + 50);
    const next = { to: "HALF_OPEN", version: record.version, owner: "b" } as const;
    const taken = await storage.change(name, next);
    assert.ok(taken.changed);
    assert.equal(taken.record.probeSuccesses, 1);
    const reopened = await storage.change(name, opening(taken.record.version, "b", 0));
    assert.equal(reopened.record.probeSuccesses, 0);
    const again = { to: "HALF_OPEN", version: reopened.record.version, owner: "a" } as const;
    assert.equal((await storage.change(name, again)).record.probeSuccesses, 0);
  },

  "opens a half-open circuit for any owner when its lease has expired": async (trial) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const { version } = await leased(storage, name, "a");
    await sleep(probeLeaseSeconds * 1000 + 50);
    const { changed } = await storage.change(name, opening(version, "b", 60));
    assert.ok(changed);
  },

  "ends an isolation early, and grants the lease to the next request": async (trial) => {
    const { storage, name } = trial;
    const { version } = await opened(storage, name, 60);
    const early = { to: "HALF_OPEN", version, owner: "a", early: true } as const;
    const ended = await storage.change(name, early);
    assert.ok(ended.changed);
    assert.equal(ended.record.state, "HALF_OPEN");
    assert.deepEqual([ended.record.probeOwner, ended.record.probeUntil], [null, null]);
    const { version: next } = ended.record;
    await assertRejected(storage, name, { to: "CLOSED", version: next, owner: "a" });
    const taken = await storage.change(name, { to: "HALF_OPEN", version: next, owner: "b" });
    assert.ok(taken.changed);
    assert.equal(taken.record.probeOwner, "b");
  },

  "releases the lease of its owner early, with the successful probes": async (trial) => {
    const { storage, name } = trial;
    const { version } = await leased(storage, name, "a");
    const back = { to: "HALF_OPEN", version, early: true, successes: 2 } as const;
    await assertRejected(storage, name, { ...back, owner: "b" });
    const { changed, record } = await storage.change(name, { ...back, owner: "a" });
    assert.ok(changed);
    assert.deepEqual(
      [record.state, record.probeOwner, record.probeUntil],
      ["HALF_OPEN", null, null],
    );
    assert.equal(record.probeSuccesses, 2);
    await assertRejected(storage, name, { to: "CLOSED", version: record.version, owner: "a" });
    const next = { to: "HALF_OPEN", version: record.version, owner: "b" } as const;
    const taken = await storage.change(name, next);
    assert.ok(taken.changed);
    assert.equal(taken.record.probeSuccesses, 2);
  },
};
