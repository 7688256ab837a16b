import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { CircuitStorage } from "../circuit-storage.js";
import type { PermitGrant, PermitNotice, PermitRequest } from "../permit-lease.js";
import { at, type Cases, newName, type Trial, until } from "./trial.js";

/** A request; one storage in place of the first can send it. */
type Asked = Partial<PermitRequest> & { readonly by?: CircuitStorage };
type Ask = (owner: string, want: number, asked?: Asked) => Promise<PermitGrant>;

/** A case of a storage that has `lease`. */
function withLease(
  run: (trial: Trial, ask: Ask) => Promise<void>,
): (trial: Trial) => Promise<void> {
  return async (trial) => {
    if (trial.storage.lease === undefined) return;
    await run(trial, async (owner, want, { by = trial.storage, ...asked } = {}) => {
      const grants = await by.lease?.([requestFor(trial.name, owner, want, asked)]);
      return at(grants ?? [], 0);
    });
  };
}

let sequence = 0;
/** For at most 10 permits, under a lease that is longer than any case. */
function requestFor(
  name: string,
  owner: string,
  want: number,
  asked: Partial<PermitRequest> = {},
): PermitRequest {
  sequence++;
  const times = { leaseSeconds: 60, renewSeconds: 20 };
  return { name, owner, sequence, limit: 10, keep: 0, want, ...times, ...asked };
}

/** Permits of the fleet's limits, for storages that have `lease`. */
export const permitCases: Cases = {
  "grants no more permits than the limit when several processes ask at once": withLease(
    async ({ open, name }, ask) => {
      const all = await Promise.all(Array.from({ length: 4 }, open));
      for (let round = 0; round < 3; round++) {
        const grants = await Promise.all(
          all.map((by, n) => ask(`${n}`, 4, { by, name: `${name} ${round}` })),
        );
        const permits = grants.map((grant) => grant.permits).sort((one, other) => one - other);
        assert.deepEqual(permits, [0, 2, 4, 4]);
        for (const { limit } of grants) assert.equal(limit, 10);
      }
    },
  ),

  "decides several requests for permits in one step, and answers in their order": withLease(
    async ({ storage, name }) => {
      const other = newName();
      const grants = await storage.lease?.([
        requestFor(other, "a", 3, { limit: 2 }),
        requestFor(name, "a", 7),
        requestFor(name, "b", 7),
      ]);
      assert.deepEqual(
        grants?.map(({ permits, limit, processes }) => [permits, limit, processes]),
        [
          [2, 2, 1],
          [7, 10, 1],
          [3, 10, 2],
        ],
      );
    },
  ),

  "leaves an owner the permits that it keeps, and no more than it holds": withLease(
    async (_, ask) => {
      assert.equal((await ask("a", 10)).permits, 10);
      assert.equal((await ask("b", 10, { keep: 9 })).permits, 0);
      assert.equal((await ask("a", 10, { keep: 8 })).permits, 8);
      assert.equal((await ask("b", 10)).permits, 2);
    },
  ),

  "shares permits fairly by what owners want": withLease(async (_, ask) => {
    await ask("a", 10);
    const short = await ask("b", 10);
    assert.deepEqual([short.permits, short.fair, short.isContended], [0, 5, false]);
    const giving = await ask("a", 10, { keep: 1 });
    assert.deepEqual([giving.permits, giving.fair, giving.isContended], [5, 5, true]);
    assert.equal((await ask("b", 10)).permits, 5);
    assert.equal((await ask("c", 2)).fair, 4);
    assert.equal((await ask("a", 10)).permits, 4);
    const little = await ask("c", 1);
    assert.deepEqual([little.permits, little.processes], [1, 3]);
  }),

  "takes back everything of an owner that wants and keeps nothing": withLease(async (_, ask) => {
    await ask("a", 10);
    assert.equal((await ask("a", 0)).permits, 0);
    const alone = await ask("b", 10);
    assert.deepEqual([alone.permits, alone.processes], [10, 1]);
  }),

  "changes no permits by a request that is carried out late": withLease(async (_, ask) => {
    await ask("a", 6, { sequence: 5 });
    for (const late of [5, 4]) {
      assert.equal((await ask("a", 0, { sequence: late })).permits, 6);
      assert.equal((await ask("b", 10)).permits, 4);
    }
    await ask("a", 0, { sequence: 6 });
    assert.equal((await ask("b", 10)).permits, 10);
  }),

  "has the smallest limit of the owners": withLease(async (_, ask) => {
    await ask("a", 3);
    assert.equal((await ask("b", 10, { limit: 5 })).limit, 5);
    assert.equal((await ask("a", 10, { keep: 3 })).limit, 5);
    await ask("b", 0, { limit: 5 });
    assert.equal((await ask("a", 10)).permits, 10);
  }),

  "lets owners take turns when there are fewer permits": withLease(async (_, ask) => {
    const limit = 1;
    const first = await ask("a", 1, { limit });
    const second = await ask("b", 1, { limit });
    assert.deepEqual([first.permits, second.permits, second.fair], [1, 0, 1]);
    assert.ok(second.turn < first.turn, "an owner that held none comes first");
    assert.equal((await ask("a", 1, { limit, keep: 1 })).fair, 0);
    assert.equal((await ask("a", 1, { limit })).permits, 0);
    const next = await ask("b", 1, { limit });
    assert.equal(next.permits, 1);
    assert.ok(next.turn > first.turn, "an owner that holds one comes last");
    assert.equal((await ask("a", 1, { limit })).fair, 1);
  }),

  "takes permits back when the lease is over": withLease(async (trial, ask) => {
    const leaseSeconds = trial.probeLeaseSeconds;
    const asked = { leaseSeconds, renewSeconds: leaseSeconds / 2 };
    assert.equal((await ask("crashed", 10, { leaseSeconds })).permits, 10);
    // Asked again sooner than at a renewal: the storage was not away.
    const end = performance.now() + (trial.spreadSeconds + 3 * leaseSeconds) * 1000;
    while ((await ask("b", 10, asked)).permits < 10) {
      assert.ok(performance.now() < end, "the permits of a crashed owner did not come back");
      await sleep(leaseSeconds * 100);
    }
  }),

  "counts leases that ran out while no owner could ask, for one more lease": withLease(
    async ({ probeLeaseSeconds }, ask) => {
      await ask("a", 8, { leaseSeconds: probeLeaseSeconds });
      await sleep(probeLeaseSeconds * 1100);
      // No renewal came for so long that the storage must have been away.
      const renewSeconds = probeLeaseSeconds / 10;
      assert.equal((await ask("b", 10, { renewSeconds })).permits, 2);
      assert.equal((await ask("a", 8, { keep: 8 })).permits, 8);
    },
  ),

  "emits notices of permits to every process": withLease(async (trial, ask) => {
    const { storage, open, name, hasPermitNotices } = trial;
    if (!hasPermitNotices) return;
    const far = await open();
    const here = noticesOf(storage, name);
    const there = noticesOf(far, name);
    const other = noticesOf(storage, newName());
    await ask("a", 10);
    await until(trial, async () => {
      // Again and again, because a storage may not listen yet.
      await ask("b", 10);
      return here.heard.length > 0 && there.heard.length > 0;
    });
    const short = { fair: 5, lastTurn: 0, gives: false };
    assert.deepEqual([here.heard[0], there.heard[0]], [short, short]);
    // At most one is sent in 50 ms.
    await sleep(60);
    await ask("a", 10, { keep: 5, by: far });
    for (const { heard } of [here, there]) {
      assert.deepEqual(await until(trial, () => heard.find(({ gives }) => gives)), {
        ...short,
        gives: true,
      });
    }
    await ask("b", 10);
    here.unsubscribe?.();
    here.unsubscribe?.();
    const [before, after] = [here.heard.length, there.heard.length];
    await until(trial, async () => {
      await ask("c", 10);
      return there.heard.length > after;
    });
    assert.equal(here.heard.length, before);
    assert.deepEqual(other.heard, []);
  }),
};

function noticesOf(storage: CircuitStorage, name: string) {
  const heard: PermitNotice[] = [];
  return { heard, unsubscribe: storage.subscribeToPermits?.(name, (each) => heard.push(each)) };
}
