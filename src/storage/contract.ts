import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { CircuitChange, CircuitRecord, CircuitStorage } from "./circuit-storage.js";

/** What the cases need to know of the storage under test. */
export interface StorageContractOptions {
  /**
   * Makes a storage whose circuits are kept in the same place as those of the storages it made
   * before. Every case uses names of its own, and closes what it made.
   */
  create: () => CircuitStorage | Promise<CircuitStorage>;
  /**
   * The probe lease of the storages that `create` makes, in seconds: the cases wait for its end.
   * Short, such as 0.5; but longer than two answers of the storage take.
   */
  probeLeaseSeconds: number;
  /** Seconds that a change may take to reach a subscriber. > 0. @default 5 */
  spreadSeconds?: number | undefined;
}

/** One rule of {@link CircuitStorage}. `run` rejects when the storage does not keep it. */
export interface StorageContractCase {
  /** The rule in words, for the title of a test. */
  readonly name: string;
  /** Tries it. Rejects with an `AssertionError`, or with what the storage rejected with. */
  readonly run: () => Promise<void>;
}

/**
 * The rules that every {@link CircuitStorage} keeps, as cases for any test runner.
 *
 * @example
 * for (const { name, run } of storageContract({ create, probeLeaseSeconds: 0.5 })) test(name, run);
 */
export function storageContract(options: StorageContractOptions): StorageContractCase[] {
  const { create, probeLeaseSeconds, spreadSeconds = 5 } = options;
  return Object.entries(RULES).map(([name, rule]) => ({
    name,
    run: async () => {
      const storages: CircuitStorage[] = [];
      const open = async () => {
        const storage = await create();
        storages.push(storage);
        return storage;
      };
      try {
        const storage = await open();
        await rule({ storage, open, name: newName(), probeLeaseSeconds, spreadSeconds });
      } finally {
        await Promise.all(storages.map((storage) => storage.close()));
      }
    },
  }));
}

interface Trial {
  readonly storage: CircuitStorage;
  /** Another storage of the same place: another process. */
  readonly open: () => Promise<CircuitStorage>;
  readonly name: string;
  readonly probeLeaseSeconds: number;
  readonly spreadSeconds: number;
}

const RULES: { readonly [name: string]: (trial: Trial) => Promise<void> } = {
  "has no circuit that nobody has loaded": async ({ storage, name }) => {
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

  "creates a circuit once, however many load it": async ({ storage, open, name }) => {
    const storages = [storage, await open(), await open()];
    const loaded = await Promise.all(storages.map((each) => each.load(name)));
    for (const record of loaded) assertSame(record, loaded[0]);
  },

  "opens a closed circuit for the seconds that are asked for": async ({ storage, name }) => {
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

  "remembers who opened last, also when it is closed again": async ({ storage, name }) => {
    const { version, openedBy } = await storage.load(name);
    assert.equal(openedBy, null);
    const byHand = { owner: "b", byHand: true } as const;
    const { record } = await storage.change(name, opening(version, "a", 60));
    assert.equal(record.openedBy, "a");
    const closing = { to: "CLOSED", version: record.version, ...byHand } as const;
    assert.equal((await storage.change(name, closing)).record.openedBy, "a");
    assert.equal((await storage.getState(name))?.openedBy, "a");
  },

  "keeps which opening it was, and takes the owner of a lease by its owner": async (trial) => {
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

  "lets one of many opening at once win, and tells the others what it did": async (trial) => {
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

  "refuses a change of a version that is past, and gives the record": async ({ storage, name }) => {
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

  "creates a circuit that is to be changed but is not there, and does not change it": async ({
    storage,
    name,
  }) => {
    const { changed, record } = await storage.change(name, opening(1, "a", 60));
    assert.equal(changed, false);
    assertClosed(record);
    assertSame(await storage.getState(name), record);
  },

  "keeps an open circuit as it is until its isolation is over": async ({ storage, name }) => {
    const { version } = await opened(storage, name, 60);
    await assertRefused(storage, name, { to: "HALF_OPEN", version, owner: "a" });
    await assertRefused(storage, name, opening(version, "a", 90));
    await assertRefused(storage, name, { to: "CLOSED", version, owner: "a" });
  },

  "gives the probe lease to one, when the isolation is over": async (trial) => {
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

  "lets only the owner of the lease close or open": async ({ storage, name }) => {
    const { version } = await leased(storage, name, "a");
    for (const owner of ["b", ""]) {
      await assertRefused(storage, name, { to: "CLOSED", version, owner });
      await assertRefused(storage, name, opening(version, owner, 60));
      await assertRefused(storage, name, { to: "HALF_OPEN", version, owner });
    }
    const { changed, record } = await storage.change(name, { to: "CLOSED", version, owner: "a" });
    assert.ok(changed);
    assertClosed(record);
    const again = await leased(storage, name, "a");
    const reopened = await storage.change(name, opening(again.version, "a", 60));
    assert.ok(reopened.changed);
    assert.equal(reopened.record.state, "OPEN");
  },

  "gives the lease to another when it has run out, and nothing more to the first": async (
    trial,
  ) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const first = await leased(storage, name, "a");
    await sleep(probeLeaseSeconds * 1000 + 50);
    await assertRefused(storage, name, { to: "CLOSED", version: first.version, owner: "a" });
    const next = { to: "HALF_OPEN", version: first.version, owner: "b" } as const;
    const { changed, record } = await storage.change(name, next);
    assert.ok(changed);
    assert.equal(record.probeOwner, "b");
    for (const version of [first.version, record.version]) {
      await assertRefused(storage, name, { to: "CLOSED", version, owner: "a" });
      await assertRefused(storage, name, opening(version, "a", 60));
    }
  },

  "renews the lease of its owner, with the probes that have succeeded": async (trial) => {
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

  "keeps the successful probes for the next prober, and forgets them with the next isolation":
    async (trial) => {
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

  "opens a half-open circuit for anybody, when its lease has run out": async (trial) => {
    const { storage, name, probeLeaseSeconds } = trial;
    const { version } = await leased(storage, name, "a");
    await sleep(probeLeaseSeconds * 1000 + 50);
    const { changed } = await storage.change(name, opening(version, "b", 60));
    assert.ok(changed);
  },

  "ends an isolation early, and leaves the lease to the next who asks": async (trial) => {
    const { storage, name } = trial;
    const { version } = await opened(storage, name, 60);
    const early = { to: "HALF_OPEN", version, owner: "a", early: true } as const;
    const ended = await storage.change(name, early);
    assert.ok(ended.changed);
    assert.equal(ended.record.state, "HALF_OPEN");
    assert.deepEqual([ended.record.probeOwner, ended.record.probeUntil], [null, null]);
    const { version: next } = ended.record;
    await assertRefused(storage, name, { to: "CLOSED", version: next, owner: "a" });
    const taken = await storage.change(name, { to: "HALF_OPEN", version: next, owner: "b" });
    assert.ok(taken.changed);
    assert.equal(taken.record.probeOwner, "b");
  },

  "takes a lease back from its owner, with the probes that have succeeded": async (trial) => {
    const { storage, name } = trial;
    const { version } = await leased(storage, name, "a");
    const back = { to: "HALF_OPEN", version, early: true, successes: 2 } as const;
    await assertRefused(storage, name, { ...back, owner: "b" });
    const { changed, record } = await storage.change(name, { ...back, owner: "a" });
    assert.ok(changed);
    assert.deepEqual(
      [record.state, record.probeOwner, record.probeUntil],
      ["HALF_OPEN", null, null],
    );
    assert.equal(record.probeSuccesses, 2);
    await assertRefused(storage, name, { to: "CLOSED", version: record.version, owner: "a" });
    const next = { to: "HALF_OPEN", version: record.version, owner: "b" } as const;
    const taken = await storage.change(name, next);
    assert.ok(taken.changed);
    assert.equal(taken.record.probeSuccesses, 2);
  },

  "keeps the reason of a person as long as the circuit is open": async ({ storage, name }) => {
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

  "ends no isolation early that a person gave a reason for": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    const given = { byHand: true, reason: "migration" } as const;
    const open = await storage.change(name, { ...opening(version, "a", 60), ...given });
    const early = { to: "HALF_OPEN", owner: "a", early: true } as const;
    await assertRefused(storage, name, { ...early, version: open.record.version });
    const over = opening(open.record.version, "a", 0);
    const { record } = await storage.change(name, { ...over, ...given });
    const ended = await storage.change(name, { ...early, version: record.version });
    assert.ok(ended.changed);
    assert.equal(ended.record.reason, null);
  },

  "never makes a closed circuit half-open": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    await assertRefused(storage, name, { to: "HALF_OPEN", version, owner: "a" });
    await assertRefused(storage, name, { to: "HALF_OPEN", version, owner: "a", early: true });
    await assertRefused(storage, name, { to: "CLOSED", version, owner: "a" });
  },

  "obeys a hand at any time": async ({ storage, name }) => {
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

  "keeps circuits of different names apart, whatever the names are": async ({ storage, name }) => {
    const strange = ["'; --", "%_\\", "__proto__", "\u{1f600} é\n", " ", '"{}'];
    const names = [name, ...strange.map((text) => `${name} ${text}`), name.padEnd(255, "é")];
    for (const each of names) await opened(storage, each, 60, each.length);
    for (const each of names) {
      assert.equal((await storage.getState(each))?.failureCount, each.length, each);
    }
  },

  "reads what was asked for before": async ({ storage, name }) => {
    const { version } = await storage.load(name);
    const changing = storage.change(name, opening(version, "a", 60));
    assert.equal((await storage.getState(name))?.state, "OPEN");
    assert.ok((await changing).changed);
  },

  "tells every subscriber of each change, in every storage": async (trial) => {
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

  "tells nobody who has unsubscribed": async (trial) => {
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

  "closes more than once": async ({ storage, name }) => {
    await storage.load(name);
    await Promise.all([storage.close(), storage.close()]);
    await storage.close();
  },
};

let names = 0;
function newName(): string {
  return `contract ${process.pid} ${Date.now().toString(36)} ${names++}`;
}

function opening(
  version: number,
  owner: string,
  openSeconds: number,
  failureCount = 1,
): Extract<CircuitChange, { to: "OPEN" }> {
  return { to: "OPEN", version, owner, openSeconds, failureCount };
}

async function opened(
  storage: CircuitStorage,
  name: string,
  seconds: number,
  failures = 1,
): Promise<CircuitRecord> {
  const { version } = await storage.load(name);
  const { changed, record } = await storage.change(
    name,
    opening(version, "opener", seconds, failures),
  );
  assert.ok(changed);
  return record;
}

/** A circuit whose probe lease `owner` has. */
async function leased(
  storage: CircuitStorage,
  name: string,
  owner: string,
): Promise<CircuitRecord> {
  const { version } = await opened(storage, name, 0);
  const { changed, record } = await storage.change(name, { to: "HALF_OPEN", version, owner });
  assert.ok(changed);
  return record;
}

function subscribed(storage: CircuitStorage, name: string) {
  const heard: CircuitRecord[] = [];
  const unsubscribe = storage.subscribe(name, {
    onRecord: (record) => heard.push(record),
    onError: () => {},
  });
  return { heard, unsubscribe };
}

async function until<T>({ spreadSeconds }: Trial, look: () => T): Promise<NonNullable<T>> {
  const end = performance.now() + spreadSeconds * 1000;
  while (true) {
    const seen = look();
    if (seen) return seen;
    assert.ok(performance.now() < end, `the change did not arrive within ${spreadSeconds} s`);
    await sleep(5);
  }
}

async function assertRefused(
  storage: CircuitStorage,
  name: string,
  change: CircuitChange,
): Promise<void> {
  const before = await storage.getState(name);
  const { changed, record } = await storage.change(name, change);
  assert.equal(changed, false, `${change.to} for ${change.owner} was to be refused`);
  assertSame(record, before);
}

function assertClosed(record: CircuitRecord): void {
  const { state, failureCount, openUntil, reason, probeOwner, probeUntil, probeSuccesses } = record;
  assert.deepEqual([state, failureCount, probeSuccesses], ["CLOSED", 0, 0]);
  assert.deepEqual([openUntil, reason, probeOwner, probeUntil], [null, null, null, null]);
}

/** The same record, whenever it was read. */
function assertSame(
  actual: CircuitRecord | null | undefined,
  expected: CircuitRecord | null | undefined,
): void {
  const stripped = (record: CircuitRecord | null | undefined) =>
    record ? { ...record, readAt: undefined } : null;
  assert.deepEqual(stripped(actual), stripped(expected));
}

function secondsLeft(date: Date | null, record: CircuitRecord): number {
  return ((date?.getTime() ?? Number.NaN) - record.readAt.getTime()) / 1000;
}

/** Not exactly: the record may have been read a moment after the change. */
function assertNear(actual: number, expected: number): void {
  assert.ok(
    actual <= expected + 0.01 && actual > expected - Math.min(1, expected / 2),
    `${actual} is not about ${expected}`,
  );
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index % list.length];
  if (item === undefined) throw new RangeError("The list is empty");
  return item;
}
