import { describe, expect, it } from "vitest";
import { isFree, isSame } from "../../src/circuit/circuit-record.js";
import type { CircuitRecord } from "../../src/index.js";

const at = (seconds: number) => new Date(1_000_000_000_000 + seconds * 1000);

const CLOSED: CircuitRecord = {
  state: "CLOSED",
  version: 7,
  failureCount: 0,
  openUntil: null,
  openedBy: null,
  reason: null,
  probeOwner: null,
  probeUntil: null,
  probeSuccesses: 0,
  updatedAt: at(0),
  readAt: at(10),
};

describe("isFree", () => {
  it("is false for a closed circuit", () => {
    expect(isFree(CLOSED)).toBe(false);
  });

  it("is true for an open circuit from the end of its isolation on", () => {
    const open: CircuitRecord = { ...CLOSED, state: "OPEN", probeUntil: at(99) };
    expect(isFree({ ...open, openUntil: at(10.001) })).toBe(false);
    expect(isFree({ ...open, openUntil: at(10) })).toBe(true);
  });

  it("is true for a half-open circuit from the end of its lease on", () => {
    const probed: CircuitRecord = { ...CLOSED, state: "HALF_OPEN", openUntil: at(99) };
    expect(isFree({ ...probed, probeUntil: at(10.001) })).toBe(false);
    expect(isFree({ ...probed, probeUntil: at(10) })).toBe(true);
    expect(isFree({ ...probed, probeUntil: null })).toBe(true);
  });
});

describe("isSame", () => {
  it("is true for records that differ in when they were read or changed", () => {
    const again = { ...CLOSED, readAt: at(20), updatedAt: at(5) };
    expect(isSame(CLOSED, again)).toBe(true);
    const open: CircuitRecord = { ...CLOSED, state: "OPEN", openUntil: at(30), probeUntil: at(40) };
    expect(isSame(open, { ...open, openUntil: at(30), probeUntil: at(40) })).toBe(true);
  });

  it("is true for a record without openings and one with 0", () => {
    expect(isSame(CLOSED, { ...CLOSED, openings: 0 })).toBe(true);
    expect(isSame({ ...CLOSED, openings: 0 }, CLOSED)).toBe(true);
    expect(isSame({ ...CLOSED, openings: 2 }, { ...CLOSED, openings: 2 })).toBe(true);
  });

  it("is false for records that differ in what a process follows", () => {
    const changes: ReadonlyArray<Partial<CircuitRecord>> = [
      { version: 8 },
      { state: "OPEN" },
      { openUntil: at(30) },
      { openedBy: "another" },
      { reason: "maintenance" },
      { probeOwner: "another" },
      { probeUntil: at(30) },
      { probeSuccesses: 1 },
      { openings: 1 },
    ];
    for (const change of changes) {
      const other = { ...CLOSED, ...change };
      expect(isSame(CLOSED, other), JSON.stringify(change)).toBe(false);
      expect(isSame(other, CLOSED), JSON.stringify(change)).toBe(false);
    }
  });
});
