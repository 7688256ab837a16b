import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyChange,
  type CircuitChange,
  type CircuitRecord,
  type PostgresStorage,
} from "../../src/index.js";
import { applySettings } from "../../src/storage/apply-change.js";
import { runs, SEED } from "../fuzz.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";

const leaseSeconds = 30;
const RUNS = runs(60);

type Asked = CircuitChange extends infer C
  ? C extends unknown
    ? Omit<C, "version">
    : never
  : never;
type Step =
  | { readonly kind: "change"; readonly asked: Asked; readonly isLate: boolean }
  /** What lies ahead in the row is over, or as far ahead as after a clock that was set back. */
  | { readonly kind: "pass" | "set back" | "configure" };

const SETTINGS = { values: { maxQueueSize: 1 }, until: null, reason: "why", by: "me@host" };

const ID = "01234567-89ab-cdef-0123-456789abcdef";
const owner = fc.constantFrom("a", `host 42 ${ID}`, `${"\u{1f600}".repeat(200)} ${ID}`);
/** Never so short that it ends between the statement and the comparison. */
const openSeconds = fc.constantFrom(0, 60, 3600.5);
const host = fc.constantFrom("web-1", "web-2", "\u{1f600}".repeat(300));
const options = { requiredKeys: [] };

const asked: fc.Arbitrary<Asked> = fc.oneof(
  fc
    .tuple(
      fc.record({ owner, openSeconds, failureCount: fc.nat(2 ** 31 - 1) }),
      fc.record(
        {
          host,
          quorum: fc.constantFrom(1, 1, 2, 3),
          opening: fc.constantFrom("first", "second"),
          openings: fc.nat(9),
          byHand: fc.boolean(),
          cause: fc.record({
            rule: fc.constantFrom("5 consecutive failures", "\u{1f600}".repeat(300)),
            failure: fc.constantFrom("TypeError", "\u{1f600}".repeat(300), null),
            code: fc.constantFrom("ECONNREFUSED", null),
          }),
          reason: fc.constantFrom("migration", "'; -- \u{1f600}", "\u{1f600}".repeat(300), ""),
        },
        options,
      ),
    )
    .map(([needed, optional]) => ({ to: "OPEN" as const, ...needed, ...optional })),
  fc
    .tuple(owner, fc.record({ early: fc.boolean(), successes: fc.nat(9), host }, options))
    .map(([owner, optional]) => ({ to: "HALF_OPEN" as const, owner, ...optional })),
  fc
    .tuple(owner, fc.record({ byHand: fc.boolean(), withdraws: fc.boolean() }, options))
    .map(([owner, optional]) => ({ to: "CLOSED" as const, owner, ...optional })),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("change" as const),
      asked,
      isLate: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "pass" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "set back" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "configure" as const }) },
);

const ISOLATION = { openSeconds: 60, failureCount: 1 } as const;

function voteOf(owner: string, host: string, quorum = 2): Step {
  const asked = { to: "OPEN", owner, host, quorum, ...ISOLATION } as const;
  return { kind: "change", asked, isLate: false };
}

/** Votes that are no quorum, of one host and of two; a quorum; a prober's vote; and what a vote leaves to its host. */
const VOTES: readonly Step[] = [
  voteOf("a", "web-1"),
  voteOf("b", "web-1"),
  voteOf("c", "web-2", 3),
  { kind: "change", asked: { to: "CLOSED", owner: "b", withdraws: true }, isLate: false },
  { kind: "configure" },
  voteOf("d", "web-3", 3),
  { kind: "pass" },
  { kind: "change", asked: { to: "HALF_OPEN", owner: "a", host: "web-1" }, isLate: false },
  voteOf("a", "web-1"),
  { kind: "change", asked: { to: "HALF_OPEN", owner: "b", host: "web-1" }, isLate: false },
  { kind: "change", asked: { to: "HALF_OPEN", owner: "c", host: "web-2" }, isLate: false },
  { kind: "change", asked: { to: "OPEN", owner: "z", ...ISOLATION }, isLate: false },
  { kind: "change", asked: { to: "CLOSED", owner: "z" }, isLate: false },
  { kind: "change", asked: { to: "HALF_OPEN", owner: "z" }, isLate: false },
  { kind: "change", asked: { to: "CLOSED", owner: "c" }, isLate: false },
  { kind: "change", asked: { to: "CLOSED", owner: "c" }, isLate: false },
  { kind: "change", asked: { to: "HALF_OPEN", owner: "c" }, isLate: false },
  { kind: "change", asked: { to: "OPEN", owner: "c", ...ISOLATION }, isLate: false },
  { kind: "change", asked: { to: "OPEN", owner: "c", ...ISOLATION }, isLate: false },
  { kind: "change", asked: { to: "CLOSED", owner: "c" }, isLate: false },
  { kind: "change", asked: { to: "CLOSED", owner: "c", byHand: true }, isLate: false },
];

describe("the SQL of a PostgresStorage", () => {
  let database: TestDatabase;
  let storage: PostgresStorage;
  let circuits = 0;
  beforeAll(async () => {
    database = await createDatabase();
    storage = database.storage({ probeLeaseSeconds: leaseSeconds });
  });
  afterAll(() => database.drop());

  it("answers random changes as applyChange does", async () => {
    const outcomes = new Set<string>();
    const votes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 20 }), async (steps) => {
        const name = `circuit ${circuits++}`;
        let before = await storage.load(name);
        for (const each of steps) {
          if (each.kind === "change") {
            const version = before.version - (each.isLate ? 1 : 0);
            const change: CircuitChange = { ...each.asked, version };
            const { changed, record } = await storage.change(name, change);
            // A vote alone leaves the time of the last change.
            const isMoved = Number(record.updatedAt) !== Number(before.updatedAt);
            const now = isMoved ? record.updatedAt : record.readAt;
            const expected = applyChange(before, change, now, { leaseSeconds });
            expect({ changed, ...comparable(record, now) }).toEqual({
              changed: expected.changed,
              ...comparable(expected.record, now),
            });
            if (changed) expect(record.version).toBeGreaterThan(before.version);
            else expect(record.version).toBe(before.version);
            outcomes.add(`${before.state} ${each.asked.to} ${changed}`);
            votes.add(`${record.votes?.length ?? 0} in ${record.state}`);
          } else if (each.kind === "configure") {
            const { version } = before;
            const settings = before.settings ? null : SETTINGS;
            const { changed, record } = await storage.configure(name, { version, settings });
            const expected = applySettings(before, { version, settings }, record.readAt);
            expect({ changed, ...comparable(record, record.readAt) }).toEqual({
              changed: true,
              ...comparable(expected.record, record.readAt),
            });
          } else {
            await moveTimes(name, each.kind);
          }
          before = await storage.load(name);
        }
      }),
      { seed: SEED, numRuns: RUNS, examples: [[VOTES]] },
    );
    expect([...votes]).toEqual(
      expect.arrayContaining(["0 in OPEN", "1 in CLOSED", "2 in CLOSED", "1 in HALF_OPEN"]),
    );
    // Every change was made and rejected, but what no state allows.
    expect([...outcomes].sort()).toEqual([
      "CLOSED CLOSED false",
      "CLOSED CLOSED true",
      "CLOSED HALF_OPEN false",
      "CLOSED OPEN false",
      "CLOSED OPEN true",
      "HALF_OPEN CLOSED false",
      "HALF_OPEN CLOSED true",
      "HALF_OPEN HALF_OPEN false",
      "HALF_OPEN HALF_OPEN true",
      "HALF_OPEN OPEN false",
      "HALF_OPEN OPEN true",
      "OPEN CLOSED false",
      "OPEN CLOSED true",
      "OPEN HALF_OPEN false",
      "OPEN HALF_OPEN true",
      "OPEN OPEN false",
      "OPEN OPEN true",
    ]);
  }, 120_000);

  /** Moves the times of a row, as bulkman itself would write it: with a new version. */
  async function moveTimes(name: string, kind: "pass" | "set back"): Promise<void> {
    const by = kind === "pass" ? "- interval '2 hours'" : "+ interval '4 hours'";
    const votes = `votes = (SELECT jsonb_object_agg(key, jsonb_set(value, '{until}',
      to_jsonb((value->'until')::numeric ${kind === "pass" ? "- 7200000" : "+ 14400000"}))) FROM jsonb_each(votes))`;
    await database.edit(
      name,
      `${votes}, version = version + 1, updated_at = updated_at ${by}, open_until = open_until ${by}, probe_until = probe_until ${by}`,
    );
  }
});

/**
 * Times in tenths of a second: Postgres counts microseconds, and rounds each time by itself. Without the version,
 * which Postgres takes from its clock, and the time of reading, which is later than that of the change.
 */
function comparable({ version: _, readAt: __, ...record }: CircuitRecord, now: Date) {
  const tenths = (date: Date | null) =>
    date === null ? null : Math.round((date.getTime() - now.getTime()) / 100) + 0; // -0 is 0
  return {
    ...record,
    votes: record.votes
      ?.map((vote) => ({ ...vote, until: tenths(vote.until) }))
      .toSorted((one, other) => (one.owner < other.owner ? -1 : 1)),
    openUntil: tenths(record.openUntil),
    probeUntil: tenths(record.probeUntil),
    updatedAt: tenths(record.updatedAt),
  };
}
