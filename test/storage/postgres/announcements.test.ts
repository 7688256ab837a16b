import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Announcements } from "../../../src/storage/postgres/announcements.js";
import { runs, SEED } from "../../fuzz.js";

/** Announcements after a first read of circuit "a" with version 1. */
function begun(): Announcements {
  const announcements = new Announcements();
  announcements.read(new Map([["a", 1]]));
  return announcements;
}

describe("Announcements", () => {
  it("misses a change that was read and not announced, until it is announced or excused", () => {
    const announcements = begun();
    expect(announcements.isMissing).toBe(false);
    announcements.read(new Map([["a", 3]]));
    expect(announcements.isMissing).toBe(true);
    announcements.announce("a", 2);
    announcements.announce("b", 9);
    expect(announcements.isMissing).toBe(true);
    announcements.announce("a", 3);
    expect(announcements.isMissing).toBe(false);
    announcements.read(new Map([["a", 4]]));
    announcements.forgetMissing();
    expect(announcements.isMissing).toBe(false);
    announcements.read(new Map([["a", 4]]));
    expect(announcements.isMissing).toBe(false);
  });

  it.each([
    ["the same version", new Map([["a", 1]])],
    ["an older version, as from a standby that lags", new Map([["a", 0]])],
    ["a circuit that was never read before", new Map([["b", 7]])],
    ["nothing", new Map()],
  ])("misses nothing when it reads %s", (_, versions) => {
    const announcements = begun();
    announcements.read(versions);
    expect(announcements.isMissing).toBe(false);
  });

  it("misses nothing of a circuit that is in use no more", () => {
    const announcements = begun();
    announcements.read(new Map([["a", 2]]));
    announcements.read(new Map([["b", 1]]));
    expect(announcements.isMissing).toBe(false);
  });

  it("misses nothing in the end when every change is announced, however late, and whatever is read", () => {
    const step = fc.record({ name: fc.constantFrom("a", "b"), lag: fc.nat(3), reads: fc.nat(2) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const announcements = new Announcements();
        const rows = new Map([
          ["a", 0],
          ["b", 0],
        ]);
        announcements.read(rows);
        const underWay: Array<{ name: string; version: number; due: number }> = [];
        let due = 0;
        steps.forEach(({ name, lag, reads }, now) => {
          const version = (rows.get(name) ?? 0) + 1;
          rows.set(name, version);
          // Notices come late, but in order.
          due = Math.max(due, now + lag);
          underWay.push({ name, version, due });
          for (let read = 0; read < reads; read++) announcements.read(new Map(rows));
          while (underWay[0] !== undefined && underWay[0].due <= now) {
            const notice = underWay.shift();
            if (notice !== undefined) announcements.announce(notice.name, notice.version);
          }
        });
        for (const notice of underWay) announcements.announce(notice.name, notice.version);
        expect(announcements.isMissing).toBe(false);
        announcements.read(new Map(rows));
        expect(announcements.isMissing).toBe(false);
        announcements.read(new Map([...rows, ["a", 99]]));
        expect(announcements.isMissing).toBe(true);
      }),
      { seed: SEED, numRuns: runs(500) },
    );
  });
});
