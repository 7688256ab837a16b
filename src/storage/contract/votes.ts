import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { CircuitChange, CircuitRecord, CircuitStorage } from "../circuit-storage.js";
import {
  assertClosed,
  assertNear,
  assertRejected,
  assertSame,
  type Cases,
  leased,
  opening,
  secondsLeft,
} from "./trial.js";

/** Votes to open a circuit, for storages that keep them. */
export const voteCases: Cases = {
  "opens by the vote that completes the quorum, with the shortest isolation of all": async ({
    storage,
    open,
    name,
  }) => {
    const before = await storage.load(name);
    if (before.votes === undefined) return;
    const first = await voted(storage, name, { owner: "a", host: "web-1", openSeconds: 60 });
    assertSame({ ...first, votes: [] }, { ...before, version: first.version });
    assert.ok(first.version > before.version);
    const { host, owner, openSeconds, quorum, until } = first.votes?.[0] ?? {};
    assert.deepEqual([host, owner, openSeconds, quorum], ["web-1", "a", 60, 2]);
    assertNear(secondsLeft(until ?? null, first), 60);
    const second = await voted(await open(), name, {
      ...{ owner: "b", host: "web-2", openSeconds: 300, openings: 5, opening: "b 5" },
    });
    assert.deepEqual([second.state, second.openedBy, second.votes], ["OPEN", "b 5", []]);
    assertNear(secondsLeft(second.openUntil, second), 60);
    assert.equal(second.openings ?? 0, 0);
  },

  "counts a host once, and a process once": async ({ storage, name }) => {
    const { votes } = await storage.load(name);
    if (votes === undefined) return;
    await voted(storage, name, { owner: "a", host: "web-1" });
    await voted(storage, name, { owner: "a", host: "web-1" });
    const record = await voted(storage, name, { owner: "b", host: "web-1" });
    assert.equal(record.state, "CLOSED");
    assert.deepEqual(record.votes?.map(({ owner }) => owner).sort(), ["a", "b"]);
  },

  "is opened by one of two votes that race, after the other has learnt of the first": async ({
    storage,
    open,
    name,
  }) => {
    const { version, votes } = await storage.load(name);
    if (votes === undefined) return;
    const voters = [storage, await open()];
    const results = await Promise.all(
      voters.map((each, n) =>
        each.change(name, vote(version, { owner: `${n}`, host: `web-${n}` })),
      ),
    );
    assert.deepEqual(results.map(({ changed }) => changed).sort(), [false, true]);
    const late = results.findIndex(({ changed }) => !changed);
    const { record } = await storage.change(
      name,
      vote(results[late]?.record.version ?? 0, { owner: `${late}`, host: `web-${late}` }),
    );
    assert.equal(record.state, "OPEN");
  },

  "forgets a vote when its isolation is over, or it is withdrawn": async ({ storage, name }) => {
    const { votes } = await storage.load(name);
    if (votes === undefined) return;
    await voted(storage, name, { owner: "a", host: "web-1", openSeconds: 0.05 });
    await sleep(100);
    const kept = await voted(storage, name, { owner: "b", host: "web-2" });
    assert.deepEqual(
      kept.votes?.map(({ owner }) => owner),
      ["b"],
    );
    const { version } = kept;
    const withdrawn = await storage.change(name, {
      ...{ to: "CLOSED", version, owner: "b", withdraws: true },
    });
    assert.ok(withdrawn.changed);
    assertSame(withdrawn.record, { ...kept, votes: [], version: withdrawn.record.version });
    // Also what was sent before, and arrives late.
    await assertRejected(storage, name, vote(version, { owner: "b", host: "web-2" }));
    assert.equal((await voted(storage, name, { owner: "c", host: "web-3" })).state, "CLOSED");
  },

  "returns the lease of a prober that votes, and opens again by a quorum alone": async ({
    storage,
    name,
  }) => {
    const { votes } = await leased(storage, name, "a");
    if (votes === undefined) return;
    const returned = await voted(storage, name, { owner: "a", host: "web-1" });
    assert.deepEqual([returned.state, returned.probeOwner], ["HALF_OPEN", null]);
    for (const owner of ["a", "b"]) {
      const { version } = returned;
      await assertRejected(storage, name, { to: "HALF_OPEN", version, owner, host: "web-1" });
    }
    const { version } = returned;
    const claim = { to: "HALF_OPEN", version, owner: "c", host: "web-2" } as const;
    const { changed, record } = await storage.change(name, claim);
    assert.ok(changed);
    assert.equal(record.probeOwner, "c");
    assert.equal(record.votes?.length, 1);
    const again = await voted(storage, name, { owner: "c", host: "web-2" });
    assert.deepEqual([again.state, again.votes], ["OPEN", []]);
  },

  "keeps a vote under the lease of another, whose probes decide": async ({ storage, name }) => {
    const before = await leased(storage, name, "a");
    if (before.votes === undefined) return;
    await voted(storage, name, { owner: "b", host: "web-2" });
    const record = await voted(storage, name, { owner: "c", host: "web-3" });
    assertSame({ ...record, votes: [] }, { ...before, version: record.version });
    const { version } = record;
    const closing = await storage.change(name, { to: "CLOSED", version, owner: "a" });
    assertClosed(closing.record);
    assert.deepEqual(closing.record.votes, []);
  },

  "needs no quorum for a manual change, and rejects a vote while the circuit is isolated": async ({
    storage,
    name,
  }) => {
    const { votes } = await storage.load(name);
    if (votes === undefined) return;
    const { version } = await voted(storage, name, { owner: "a", host: "web-1" });
    const manual = { ...vote(version, { owner: "b", host: "web-1" }), byHand: true };
    const { record } = await storage.change(name, manual);
    assert.deepEqual([record.state, record.votes], ["OPEN", []]);
    await assertRejected(storage, name, vote(record.version, { owner: "c", host: "web-3" }));
  },
};

type Voter = Partial<Extract<CircuitChange, { to: "OPEN" }>>;

function vote(version: number, voter: Voter): CircuitChange {
  return { ...opening(version, "a", 60), quorum: 2, ...voter };
}

async function voted(storage: CircuitStorage, name: string, voter: Voter): Promise<CircuitRecord> {
  const { version } = await storage.load(name);
  const { changed, record } = await storage.change(name, vote(version, voter));
  assert.ok(changed);
  return record;
}
