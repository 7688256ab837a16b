import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { runs, SEED } from "../fuzz.js";
import { Fleet, type Member } from "../helpers/fleet.js";

const RUNS = runs(60);
/** A busy machine plays a few a second. */
const TIMEOUT_MS = 120_000 + RUNS * 500;

const calls = [
  { weight: 4, arbitrary: fc.constant("fails" as const) },
  { weight: 6, arbitrary: fc.constant("succeeds" as const) },
  { weight: 1, arbitrary: fc.constant("crashes" as const) },
];
const faults = fc.constantFrom(
  "hangs",
  "is out",
  "loses its connection",
  "loses an answer",
  "receives a forged notice",
  "is changed by an operator",
  "is well",
);
const act = fc.record({
  member: fc.nat({ max: 3 }),
  what: fc.oneof(...calls),
  /** Messages delivered before the next act. */
  deliver: fc.nat({ max: 6 }),
  /** Seconds that pass before the next act. */
  pass: fc.constantFrom(0, 0, 0, 0.4, 3, 9),
});

/** The same, and whatever else can go wrong. */
const faultyAct = act.chain((rest) =>
  fc.record({
    ...{ member: fc.constant(rest.member), deliver: fc.constant(rest.deliver) },
    pass: fc.constant(rest.pass),
    what: fc.oneof(...calls, { weight: 8, arbitrary: faults }),
  }),
);
type Act = typeof faultyAct extends fc.Arbitrary<infer A> ? A : never;

async function perform(fleet: Fleet, member: Member, what: Act["what"]): Promise<void> {
  const { wire } = member;
  if (what === "crashes") {
    if (fleet.alive.length > 1) fleet.crash(member);
  } else if (what === "is out") wire.isOut = true;
  else if (what === "loses its connection") wire.isDisconnected = true;
  else if (what === "loses an answer") wire.losesAnswers++;
  else if (what === "receives a forged notice") await fleet.forge(member);
  else if (what === "is changed by an operator") await fleet.steer();
  else if (what === "is well") wire.heal();
  else fleet.call(member, what);
}

/** Plays the acts; time passes between messages only if `slow`, else when all have arrived. */
async function play(
  scheduler: fc.Scheduler,
  fleet: Fleet,
  acts: readonly Act[],
  slow: boolean,
): Promise<void> {
  for (const { member: n, what, deliver, pass } of acts) {
    const member = fleet.members[n % fleet.members.length];
    if (member === undefined) continue;
    await perform(fleet, member, what);
    for (let left = deliver; left > 0 && scheduler.count() > 0; left--) {
      await scheduler.waitOne();
      await vi.advanceTimersByTimeAsync(0);
    }
    if (!slow && pass > 0) await fleet.settle();
    await vi.advanceTimersByTimeAsync(pass * 1000);
    fleet.checkHistory();
  }
}

describe("a fleet on one table, as a model", { timeout: TIMEOUT_MS }, () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("has one prober, loses no opening and agrees with the table, while messages take no time", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 2, max: 4 }),
        fc.array(act, { maxLength: 25 }),
        async (scheduler, size, acts) => {
          const probes: Array<{ label: string; lease: string | null; until: number }> = [];
          const fleet = new Fleet(scheduler, size, ({ label }) => {
            void fleet.table.getState("api").then((record) => {
              probes.push({
                label,
                lease: record?.probeOwner ?? null,
                until: record?.probeUntil?.getTime() ?? 0,
              });
            });
          });
          await play(scheduler, fleet, acts, false);
          await fleet.settle();
          await fleet.checkAgreement();
          // Probes under one lease are all of one process.
          const proberOf = new Map<string, string>();
          for (const { label, lease, until } of probes) {
            const key = `${lease} until ${until}`;
            expect(proberOf.get(key) ?? label).toBe(label);
            proberOf.set(key, label);
          }
          await fleet.end();
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it("loses no opening and agrees with the table, also when messages take too long", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 2, max: 4 }),
        fc.array(act, { maxLength: 25 }),
        async (scheduler, size, acts) => {
          const fleet = new Fleet(scheduler, size, () => {});
          await play(scheduler, fleet, acts, true);
          await fleet.settle();
          // What a process could not say in time it says again when it retries.
          for (let waited = 0; waited < 60; waited += 0.4) {
            await vi.advanceTimersByTimeAsync(400);
            await fleet.settle();
          }
          fleet.checkHistory();
          await fleet.checkAgreement();
          await fleet.end();
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it("gets closed everywhere, and agrees with the table, when everything is well after all that", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 1, max: 4 }),
        fc.array(faultyAct, { maxLength: 25 }),
        async (scheduler, size, acts) => {
          const fleet = new Fleet(scheduler, size, () => {});
          await play(scheduler, fleet, acts, true);
          for (const { wire } of fleet.alive) wire.heal();
          for (let waited = 0; waited < 90; waited += 0.4) {
            await vi.advanceTimersByTimeAsync(400);
            for (const member of fleet.alive) fleet.call(member, "succeeds");
            await fleet.settle();
          }
          fleet.checkHistory();
          await fleet.checkAgreement();
          expect((await fleet.table.getState("api"))?.state).toBe("CLOSED");
          await fleet.end();
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  });
});
