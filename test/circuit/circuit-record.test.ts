import { describe, expect, it } from "vitest";
import { differsInSettings, isFree, isSame } from "../../src/circuit/circuit-record.js";
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

const SETTINGS = { values: { maxQueueSize: 1 }, until: at(60), reason: null, by: "me@host" };

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

describe("differsInSettings", () => {
  it("is true for the next version with other settings, or without the settings", () => {
    const configured = { ...CLOSED, version: 8, settings: SETTINGS };
    expect(differsInSettings(CLOSED, configured)).toBe(true);
    expect(differsInSettings(configured, { ...CLOSED, version: 9, settings: null })).toBe(true);
    const longer = { ...SETTINGS, until: at(61) };
    expect(differsInSettings(configured, { ...configured, settings: longer })).toBe(true);
  });

  it("is false when something else changed, or nothing", () => {
    const configured = { ...CLOSED, version: 8, settings: SETTINGS };
    expect(differsInSettings(CLOSED, { ...CLOSED, version: 8 })).toBe(false);
    expect(differsInSettings(CLOSED, { ...CLOSED, version: 8, settings: null })).toBe(false);
    expect(differsInSettings(configured, { ...configured, settings: { ...SETTINGS } })).toBe(false);
    expect(differsInSettings(CLOSED, { ...configured, state: "OPEN" })).toBe(false);
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
      { settings: SETTINGS },
      { openings: 1 },
    ];
    for (const change of changes) {
      const other = { ...CLOSED, ...change };
      expect(isSame(CLOSED, other), JSON.stringify(change)).toBe(false);
      expect(isSame(other, CLOSED), JSON.stringify(change)).toBe(false);
    }
  });
});
