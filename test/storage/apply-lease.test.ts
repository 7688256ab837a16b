import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { runs, SEED } from "../fuzz.js";
import { LEASE_SECONDS, Permits } from "./permit-driver.js";

describe("applyLease", () => {
  it("gives everything to an owner that is alone, and no more than it wants", () => {
    const permits = new Permits(10);
    expect(permits.ask("a", 50)).toEqual({
      permits: 10,
      fair: 10,
      limit: 10,
      processes: 1,
      isContended: false,
      turn: 1,
    });
    expect(permits.ask("a", 3)).toMatchObject({ permits: 3, isContended: false });
    expect(permits.notices).toEqual([]);
  });

  it.each([
    { wants: [8, 8], fair: 5, held: [5, 5] },
    { wants: [2, 8], fair: 10, held: [2, 8] },
    { wants: [1, 3, 9, 9], fair: 3, held: [1, 3, 3, 3] },
    { wants: [9, 9, 9], fair: 3, held: [4, 3, 3] },
  ])("splits 10 permits among owners that want $wants: $held", ({ wants, fair, held }) => {
    const permits = new Permits(10);
    for (let round = 0; round < 4; round++) {
      for (const [n, want] of wants.entries()) {
        permits.pass(0.1);
        permits.ask(`${n}`, want);
        expect(permits.sum).toBeLessThanOrEqual(10);
      }
    }
    expect(permits.ask("0", wants[0] ?? 0).fair).toBe(fair);
    expect(Object.values(permits.held).sort()).toEqual([...held].sort());
  });

  it("never takes what the owner keeps, however many lack permits", () => {
    const permits = new Permits(10);
    permits.ask("a", 10);
    expect(permits.ask("b", 10)).toMatchObject({ permits: 0, fair: 5, isContended: false });
    expect(permits.ask("a", 10, { keep: 8 })).toMatchObject({ permits: 8, isContended: true });
    expect(permits.ask("b", 10)).toMatchObject({ permits: 2 });
    expect(permits.ask("a", 10, { keep: 1 })).toMatchObject({ permits: 5 });
  });

  it("lets no owner keep more than it holds", () => {
    const permits = new Permits(10);
    permits.ask("a", 7);
    expect(permits.ask("b", 1, { keep: 9 })).toMatchObject({ permits: 3 });
  });

  it("counts what the owner keeps as wanted", () => {
    const permits = new Permits(10);
    permits.ask("a", 4);
    expect(permits.ask("a", 0, { keep: 4 })).toMatchObject({ permits: 4 });
    expect(permits.pool.shares).toMatchObject([{ wants: 4, permits: 4 }]);
  });

  it("forgets an owner that gives everything back", () => {
    const permits = new Permits(10);
    permits.ask("a", 10);
    expect(permits.ask("a", 0)).toMatchObject({ permits: 0, processes: 1 });
    expect(permits.pool.shares).toEqual([]);
    expect(permits.ask("b", 10)).toMatchObject({ permits: 10, processes: 1 });
  });

  it("takes permits back when the lease is over, at the very millisecond", () => {
    const permits = new Permits(10);
    permits.ask("a", 10, { leaseSeconds: 2 });
    permits.ask("b", 10);
    permits.pass(1.999);
    expect(permits.ask("b", 10)).toMatchObject({ permits: 0, processes: 2 });
    permits.pass(0.001);
    expect(permits.ask("b", 10)).toMatchObject({ permits: 10, processes: 1 });
  });

  it("changes nothing for a request that is carried out late", () => {
    const permits = new Permits(10);
    permits.ask("a", 10, { sequence: 7 });
    permits.ask("b", 10, { sequence: 1 });
    const { shares } = permits.pool;
    const mine = { permits: 10, fair: 5, limit: 10, processes: 2, isContended: true, turn: 1 };
    for (const late of [7, 6]) {
      permits.pass(1);
      expect(permits.ask("a", 0, { sequence: late })).toEqual(mine);
      expect([...permits.pool.shares].reverse()).toEqual(shares);
      permits.pool = { ...permits.pool, shares };
    }
    expect(permits.ask("a", 0, { sequence: 8 })).toMatchObject({ permits: 0 });
  });

  describe("the limit", () => {
    it("is the smallest of the owners, while that one is known", () => {
      const permits = new Permits(10);
      permits.ask("a", 4);
      expect(permits.ask("b", 9, { limit: 6 })).toMatchObject({ limit: 6, permits: 2 });
      expect(permits.ask("a", 10, { keep: 4 })).toMatchObject({ limit: 6, permits: 4 });
      permits.ask("b", 0, { limit: 6 });
      expect(permits.ask("a", 10)).toMatchObject({ limit: 10, permits: 10 });
    });

    it.each([4, 30])("is what an operator has set: %d", (limitSet) => {
      const permits = new Permits(10, { limitSet });
      expect(permits.ask("a", 50)).toMatchObject({ limit: limitSet, permits: limitSet });
      expect(permits.pool.limitSet).toBe(limitSet);
    });

    it("takes nothing that is kept when it is lowered, and grants nothing until there is room", () => {
      const permits = new Permits(10);
      permits.ask("a", 8);
      permits.pool = { ...permits.pool, limitSet: 4 };
      expect(permits.ask("a", 8, { keep: 8 })).toMatchObject({ permits: 8, limit: 4 });
      expect(permits.ask("b", 4)).toMatchObject({ permits: 0, fair: 2 });
      expect(permits.ask("a", 8, { keep: 3 })).toMatchObject({ permits: 3 });
      expect(permits.ask("b", 4)).toMatchObject({ permits: 1 });
    });
  });

  describe("with fewer permits than owners that want one", () => {
    it("lets them take turns", () => {
      const permits = new Permits(2);
      const owners = ["a", "b", "c", "d", "e"];
      const fair: Record<string, number> = {};
      const rounds: Record<string, number> = {};
      for (let round = 0; round < 40; round++) {
        permits.pass(1);
        for (const owner of owners) {
          // An owner knows its share from the grant before, and starts nothing above it.
          const keep = Math.min(permits.held[owner] ?? 0, fair[owner] ?? 0);
          fair[owner] = permits.ask(owner, 3, { keep }).fair;
          expect(permits.sum).toBeLessThanOrEqual(2);
        }
        for (const [owner, held] of Object.entries(permits.held)) {
          rounds[owner] = (rounds[owner] ?? 0) + held;
        }
      }
      // 40 rounds of 2 permits: 16 for each, were every permit in use in every round.
      for (const owner of owners) expect(rounds[owner]).toBeGreaterThanOrEqual(10);
    });

    it("tells by a notice whose turn it is, by the last turn that has a share", () => {
      const permits = new Permits(1);
      const first = permits.ask("a", 1);
      permits.pass(1);
      const second = permits.ask("b", 1);
      expect(second).toMatchObject({ permits: 0, fair: 1 });
      expect(second.turn).toBeLessThan(first.turn);
      expect(permits.notices).toEqual([{ fair: 0, lastTurn: second.turn, gives: false }]);
      expect(permits.ask("a", 1, { keep: 1 })).toMatchObject({ permits: 1, fair: 0 });
      permits.pass(1);
      expect(permits.ask("a", 1)).toMatchObject({ permits: 0, fair: 0, isContended: true });
      expect(permits.notices.at(-1)).toEqual({ fair: 0, lastTurn: second.turn, gives: true });
      const after = permits.ask("b", 1);
      expect(after).toMatchObject({ permits: 1 });
      expect(after.turn).toBeGreaterThan(first.turn);
    });

    it("gives no two owners the same turn", () => {
      const permits = new Permits(1);
      const turns = ["a", "b", "c"].map((owner) => permits.ask(owner, 1).turn);
      permits.ask("a", 0);
      turns.push(permits.ask("b", 1).turn, permits.ask("a", 1).turn);
      expect(new Set(turns).size).toBe(turns.length);
    });
  });

  describe("a notice", () => {
    it("says that an owner has less than its fair share, and what that is", () => {
      const permits = new Permits(10);
      permits.ask("a", 10);
      permits.ask("b", 10);
      expect(permits.notices).toEqual([{ fair: 5, lastTurn: 0, gives: false }]);
    });

    it("says that permits were given back, when another lacks them", () => {
      const permits = new Permits(10);
      permits.ask("a", 10);
      permits.ask("b", 10);
      permits.pass(1);
      permits.ask("a", 10, { keep: 5 });
      expect(permits.notices.at(-1)).toEqual({ fair: 5, lastTurn: 0, gives: true });
      permits.pass(1);
      permits.ask("b", 10);
      permits.pass(1);
      permits.ask("a", 0);
      expect(permits.notices.at(-1)).toEqual({ fair: 10, lastTurn: 0, gives: true });
      expect(permits.notices).toHaveLength(3);
    });

    it("is sent at most once in 50 ms, also when the clock is set back", () => {
      const permits = new Permits(10);
      permits.ask("a", 10);
      permits.ask("b", 10);
      permits.pass(0.049);
      permits.ask("b", 10);
      expect(permits.notices).toHaveLength(1);
      permits.pass(0.001);
      permits.ask("b", 10);
      expect(permits.notices).toHaveLength(2);
      permits.pass(-3600);
      permits.ask("b", 10);
      expect(permits.notices).toHaveLength(3);
      permits.ask("b", 10);
      expect(permits.notices).toHaveLength(3);
    });
  });

  describe("after the storage was away for longer than a lease", () => {
    /** Two owners that hold 6 and 2 of 10, and that could not ask for 20 seconds. */
    function away() {
      const permits = new Permits(10);
      permits.ask("a", 6);
      permits.ask("b", 2);
      permits.pass(20);
      return permits;
    }

    it("counts the leases that ran out for one more lease, for their owners use them", () => {
      const permits = away();
      expect(permits.ask("b", 10)).toMatchObject({ permits: 4, limit: 10, processes: 2 });
      permits.pass(LEASE_SECONDS - 0.001);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 4 });
      permits.pass(0.001);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 10, processes: 1 });
    });

    it("gives nothing to new owners that would be too much with them", () => {
      const permits = away();
      expect(permits.ask("new", 10)).toMatchObject({ permits: 2 });
      expect(permits.ask("a", 6, { keep: 6 })).toMatchObject({ permits: 6 });
      expect(permits.ask("b", 2, { keep: 2 })).toMatchObject({ permits: 2 });
      expect(permits.sum).toBe(10);
    });

    it("does not make room for owners that do not answer", () => {
      const permits = away();
      const grant = permits.ask("b", 10);
      expect(grant).toMatchObject({ fair: 10, isContended: false });
    });

    it("ends it, also when the clock is set back meanwhile", () => {
      const permits = away();
      permits.ask("b", 10);
      permits.pass(-3600);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 4 });
      permits.pass(LEASE_SECONDS);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 10 });
    });

    it("does not begin when an owner crashed and another went on asking", () => {
      const permits = new Permits(10);
      permits.ask("crashed", 6);
      for (let n = 0; n < 3; n++) {
        permits.ask("b", 10);
        permits.pass(5);
      }
      expect(permits.ask("b", 10)).toMatchObject({ permits: 10, processes: 1 });
    });

    it("does not begin again for owners that it has counted already, however rarely another asks", () => {
      const permits = new Permits(10);
      permits.ask("crashed", 10);
      permits.pass(60);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 0 });
      permits.pass(LEASE_SECONDS);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 10, processes: 1 });
    });

    it("begins again when the storage was away again, for those that asked in between", () => {
      const permits = away();
      permits.ask("b", 2);
      permits.pass(LEASE_SECONDS + 1);
      expect(permits.ask("c", 10)).toMatchObject({ permits: 8, processes: 2 });
    });
  });

  describe("after the storage was away for less than a lease", () => {
    it("counts a lease that runs out before its owner has had the time to ask again", () => {
      const permits = new Permits(10);
      permits.ask("a", 6);
      permits.ask("b", 4);
      // "a" could have renewed its lease after 5 s, and asks again within 5 s after the storage is back.
      permits.pass(11);
      expect(permits.ask("b", 10, { keep: 4 })).toMatchObject({ permits: 4 });
      permits.pass(4.5);
      expect(permits.ask("b", 10, { keep: 4 })).toMatchObject({ permits: 4 });
      expect(permits.ask("a", 6, { keep: 6 })).toMatchObject({ permits: 6 });
    });

    it("does not count that of an owner that had stopped asking before", () => {
      const permits = new Permits(10);
      permits.ask("gone", 6);
      permits.pass(7);
      permits.ask("b", 10);
      permits.pass(8);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 10 });
    });

    it("counts a lease of an owner that does not ask until it is over, also when it lasts longer than the learning", () => {
      const permits = new Permits(10);
      permits.ask("short", 2);
      permits.ask("long", 6, { leaseSeconds: 45 });
      permits.pass(14);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 2 });
      permits.pass(15);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 4 });
      permits.pass(16);
      expect(permits.ask("b", 10)).toMatchObject({ permits: 10 });
    });
  });

  it("does not prolong a lease when the clock is set back", () => {
    const permits = new Permits(10);
    permits.ask("a", 10);
    permits.pass(-3600);
    permits.ask("b", 10);
    for (let n = 0; n < 3; n++) {
      permits.pass(5);
      permits.ask("b", 10);
    }
    expect(permits.held).toEqual({ b: 10 });
  });

  const OWNERS = ["a", "b", "c", "d", "e"];
  const step = fc.record({
    owner: fc.constantFrom(...OWNERS),
    want: fc.nat(12),
    keep: fc.nat(12),
    isLate: fc.boolean(),
    seconds: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(0, 0.01, 0.05, 1, 4, 5) },
      { weight: 1, arbitrary: fc.constantFrom(-30, 11, 15, 40) },
    ),
  });

  it("never lets the sum of the permits exceed the limit, whatever the owners ask for", () => {
    const seen = { late: 0, learning: 0, turns: 0, full: 0 };
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(step, { minLength: 10, maxLength: 60 }),
        (limit, steps) => {
          const permits = new Permits(limit);
          const broken: string[] = [];
          const check = (isRight: boolean, rule: string) => isRight || broken.push(rule);
          let noticedAt = Number.NEGATIVE_INFINITY;
          for (const [n, { owner, want, keep, isLate, seconds }] of steps.entries()) {
            permits.pass(seconds);
            const known = permits.pool.shares.find((share) => share.owner === owner);
            const held = known?.permits ?? 0;
            const notices = permits.notices.length;
            const sequence = isLate && known !== undefined ? known.sequence : n + 1;
            const grant = permits.ask(owner, want, { keep, sequence });
            const { shares } = permits.pool;
            check(permits.sum <= limit, "limit");
            check(grant.permits === (permits.held[owner] ?? 0) && grant.permits >= 0, "grant");
            if (known !== undefined && permits.now < known.askedAt + known.leaseMs) {
              check(grant.permits >= Math.min(keep, held), "keep");
            }
            check(new Set(shares.map(({ turn }) => turn)).size === shares.length, "turns");
            if (permits.notices.length > notices) {
              check(Math.abs(permits.now - noticedAt) >= 50, "notices");
              noticedAt = permits.now;
            }
            if (sequence <= n && known !== undefined) seen.late++;
            if (permits.pool.learnsSince > 0) seen.learning++;
            if (grant.fair <= 1 && shares.length > limit) seen.turns++;
            if (permits.sum === limit) seen.full++;
          }
          expect(broken).toEqual([]);
        },
      ),
      { seed: SEED, numRuns: runs(300) },
    );
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(100);
  });

  it("gives every owner its fair share and leaves no permit unused, when all go on asking", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: OWNERS.length, max: 30 }),
        fc.array(step, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: OWNERS.length }),
        (limit, steps, wants) => {
          const permits = new Permits(limit);
          for (const { owner, want, keep, seconds } of steps) {
            permits.pass(seconds);
            permits.ask(owner, want, { keep });
          }
          // 60 s: no owner is left that asks no more, and the storage learns no more.
          for (let n = 0; n < 12; n++) {
            permits.pass(5);
            for (const [index, want] of wants.entries()) permits.ask(`${OWNERS[index]}`, want);
          }
          const total = wants.reduce((sum, want) => sum + want, 0);
          const fair = Math.floor(limit / wants.length);
          expect(permits.sum).toBe(Math.min(limit, total));
          for (const [index, want] of wants.entries()) {
            const held = permits.held[`${OWNERS[index]}`] ?? 0;
            expect(held).toBeGreaterThanOrEqual(Math.min(want, fair));
          }
        },
      ),
      { seed: SEED, numRuns: runs(200) },
    );
  });
});
