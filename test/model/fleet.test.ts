import { describe, expect, it } from "vitest";
import { check, STUCK } from "./checker.js";
import { realFleetCode } from "./code.js";
import { FleetModel, type FleetModelOptions } from "./fleet-model.js";
import { FLEET_RULES } from "./fleet-properties.js";
import { fleetMutantOf, type Mutation } from "./mutant.js";
import { walk } from "./walk.js";

type Setting = Omit<FleetModelOptions, "code">;

const PERMITS = "fleet/permits.ts";
const LEASE = "storage/apply-lease.ts";

const two: Setting = { processes: 2, limit: 2, most: 2, fallback: "share" };
const three: Setting = { ...two, processes: 3 };
/** Fewer orders: what is carried out is answered, and what is sent is heard. */
const instant = { instantAnswers: true, instantNotices: true };
/** Renewals with every tick. */
const clock = { renew: 1, retry: 1, lease: 4, timeout: 0 };
/** As with the defaults: a lease of three renewals, and retries after half of one. */
const halves = { renew: 2, retry: 1, lease: 6, timeout: 0 };

const local: Setting = { ...two, ...instant, fallback: "local" };

function explore(setting: Setting, code = realFleetCode, stopsAtFirst = false) {
  return check(new FleetModel({ code, ...setting }), { stopsAtFirst });
}

/**
 * `npm run model` explores more. What holds: no rule of {@link FLEET_RULES} is broken, and from every state a well
 * storage leads to all permits in use, each process with its share at least.
 */
describe("the permits of a fleet, in every order of everything that can happen", () => {
  it.each<[string, Setting]>([
    ["there are as many permits as processes", { ...two, instantNotices: true }],
    ["there is one permit for two processes", { ...two, ...instant, limit: 1 }],
    ["there are two permits for three processes", { ...three, ...instant, times: clock }],
    ["there are more permits than two processes can use", { ...two, limit: 3, ...instant }],
    ["a process dies", { ...two, ...instant, faults: { crashes: 1, idles: 1 } }],
    ["a process is frozen", { ...two, most: 1, instantNotices: true, faults: { freezes: 1 } }],
    [
      "a process is frozen, and functions outlast the lease",
      { ...two, ...instant, times: { ...clock, lease: 2, timeout: 1 }, faults: { freezes: 1 } },
    ],
    [
      "answers and notices are lost",
      { ...two, instantAnswers: true, most: 1, faults: { lostAnswers: 1, lostNotices: 1 } },
    ],
    ["a request is carried out late", { ...two, ...instant, faults: { lateRequests: 1 } }],
    ["the storage is away", { ...two, ...instant, most: 1, times: halves, faults: { outages: 1 } }],
    ["a process is cut off", { ...two, ...instant, most: 1, faults: { cuts: 1 } }],
    [
      "a process is cut off, and rejects its calls",
      {
        ...two,
        ...instant,
        fallback: "reject",
        times: { ...clock, lease: 2, timeout: 1 },
        faults: { cuts: 1 },
      },
    ],
    [
      "the storage stays away, and only the limit of each process counts",
      {
        ...{ ...local, batches: true, recovers: false },
        ...{ times: { ...clock, lease: 2 }, faults: { outages: 1 } },
      },
    ],
    [
      "an answer is lost, and only the limit of its process counts",
      { ...local, faults: { lostAnswers: 1 } },
    ],
    [
      "one of three processes dies",
      { ...three, ...instant, limit: 3, batches: true, faults: { crashes: 1 } },
    ],
    [
      "an answer is lost to one of three processes",
      { ...three, ...instant, limit: 3, batches: true, times: clock, faults: { lostAnswers: 1 } },
    ],
    ["the storage comes back older", { ...two, ...instant, faults: { restores: 1 } }],
    [
      "calls wait for no renewal, because there is room",
      { ...three, ...instant, limit: 3, times: clock, patience: 0 },
    ],
    [
      "calls wait for their turn",
      { ...two, ...instant, limit: 1, most: 1, times: clock, patience: 1 },
    ],
    [
      "one of three processes with two permits waits for its turn",
      { ...three, ...instant, most: 1, times: clock, patience: 1 },
    ],
    [
      "two of three processes with one permit wait for their turns",
      { ...three, ...instant, limit: 1, most: 1, times: clock, patience: 2 },
    ],
    [
      "no notice arrives, and calls wait for two renewals",
      {
        ...two,
        instantAnswers: true,
        times: clock,
        patience: 2,
        faults: { lostNotices: Number.MAX_SAFE_INTEGER },
      },
    ],
  ])(
    "keeps every rule, and serves every process, when %s",
    (_, setting) => {
      const { isComplete, counterexamples } = explore(setting);
      expect(counterexamples).toEqual([]);
      expect(isComplete).toBe(true);
    },
    120_000,
  );
});

describe("the permits of five processes, in random orders", () => {
  const five: Setting = { ...two, processes: 5, limit: 3 };
  /** Messages take no time, so that time passes: about 17 ticks in a walk. */
  const timed = { ...instant, batches: true, times: { renew: 2, retry: 1, lease: 6, timeout: 1 } };
  const common = { crashes: 1, lateRequests: 5, lostNotices: 5, idles: 20 };

  it.each<[string, Setting]>([
    ["time is free", { ...five, faults: { ...common, freezes: 2, lostAnswers: 5 } }],
    [
      "the storage is away",
      {
        ...five,
        limit: 7,
        ...timed,
        patience: 3,
        faults: { ...common, outages: 1 },
      },
    ],
    [
      "everything goes wrong",
      {
        ...five,
        ...timed,
        faults: { ...common, outages: 2, freezes: 1, cuts: 1, restores: 1 },
      },
    ],
    [
      "everything goes wrong, and then only the limit of each process counts",
      {
        ...five,
        fallback: "local",
        ...timed,
        faults: { ...common, outages: 2, freezes: 1, cuts: 1, restores: 1 },
      },
    ],
  ])("keep every rule when %s", (_, setting) => {
    const model = new FleetModel({ code: realFleetCode, ...setting });
    const seeds = Array.from({ length: 4 }, (_, seed) => seed);
    const walks = seeds.map((seed) => walk(model, { seed, steps: 300 }));
    expect(walks.flatMap(({ broken }) => broken ?? [])).toEqual([]);
    expect(walks.every(({ moves }) => moves === 300)).toBe(true);
  });

  it("break one without a rule", () => {
    const code = fleetMutantOf({
      file: LEASE,
      text: "Math.min(request.keep, held), granted, 0",
      without: "granted, 0",
    });
    const model = new FleetModel({ code, ...five, faults: common });
    const walks = Array.from({ length: 8 }, (_, seed) => walk(model, { seed, steps: 300 }));
    expect(walks.flatMap(({ broken }) => broken?.rule ?? [])).toContain(FLEET_RULES.overLimit);
  });
});

const LEARNS = "return wasAway && shares.some(needsTime)";
const outage = { ...two, ...instant, times: clock, faults: { outages: 1 } };

describe("the permits of a fleet without one of the rules", () => {
  it.each<[string, Mutation, Setting, string]>([
    [
      "no more is used than the request offers to keep",
      { file: PERMITS, text: "state.cap = Math.min(state.cap, keep);", without: "" },
      { ...two, instantNotices: true, faults: { idles: 1 } },
      FLEET_RULES.overLimit,
    ],
    [
      "no more is used when everything is given back",
      { file: PERMITS, text: "state.cap = 0;", without: "" },
      { ...two, instantNotices: true, faults: { idles: 1 } },
      FLEET_RULES.overLimit,
    ],
    [
      "what an owner keeps is left to it",
      { file: LEASE, text: "Math.min(request.keep, held), granted, 0", without: "granted, 0" },
      { ...two, ...instant },
      FLEET_RULES.overLimit,
    ],
    [
      "B1: owners take turns",
      {
        file: LEASE,
        text: "return fair > 0 || turn > lastTurn ? fair : 1;",
        without: "return fair;",
      },
      { ...two, ...instant, limit: 1 },
      STUCK,
    ],
    [
      "B2: a request that is carried out late changes nothing",
      { file: LEASE, text: "known.sequence >= request.sequence", without: "known.sequence < 0" },
      { ...two, ...instant, faults: { lateRequests: 1 } },
      FLEET_RULES.overLimit,
    ],
    [
      "B3: without a lease no more is used than was held",
      {
        file: PERMITS,
        text: "Math.min(this.held, Math.floor(limit / processes))",
        without: "Math.floor(limit / processes)",
      },
      outage,
      FLEET_RULES.overLimit,
    ],
    [
      "B4: the storage learns after it was away",
      { file: LEASE, text: LEARNS, without: "return false" },
      outage,
      FLEET_RULES.overLimit,
    ],
    [
      "B4: not only after it was away for more than a lease",
      {
        file: LEASE,
        text: LEARNS,
        without:
          "return now - pool.askedAt > request.leaseSeconds * 1000 && shares.some((share) => isOver(share, now))",
      },
      outage,
      FLEET_RULES.overLimit,
    ],
    [
      "B4: not only for leases that are over when it is back",
      {
        file: LEASE,
        text: LEARNS,
        without: "return wasAway && shares.some((share) => isOver(share, now))",
      },
      outage,
      FLEET_RULES.overLimit,
    ],
    [
      "a lease that is over is not used",
      {
        file: PERMITS,
        text: "return now < this.state.until && this.held > 0;",
        without: "return this.held > 0;",
      },
      { ...two, ...instant, faults: { freezes: 1 } },
      FLEET_RULES.overLimit,
    ],
    [
      "the first lease is waited for",
      {
        file: PERMITS,
        text: `if (!isFailing || fallback === "reject") return 0;`,
        without: `if (fallback === "reject") return 0;`,
      },
      { ...two, ...instant, limit: 1 },
      FLEET_RULES.overLimit,
    ],
    [
      "local: a process uses its lease until that is over",
      {
        file: PERMITS,
        text: "if (this.isLeased(now)) return this.held;",
        without: 'if (this.isLeased(now) && fallback !== "local") return this.held;',
      },
      { ...local, faults: { lostAnswers: 1 } },
      FLEET_RULES.unlimited,
    ],
    [
      "local: the first lease is waited for",
      {
        file: PERMITS,
        text: `if (!isFailing || fallback === "reject") return 0;`,
        without: `if (fallback === "reject") return 0;`,
      },
      local,
      FLEET_RULES.unlimited,
    ],
    [
      "local: an answer ends it",
      { file: PERMITS, text: "this.state.isFailing = false;", without: "" },
      { ...local, faults: { lostAnswers: 1 } },
      FLEET_RULES.unlimited,
    ],
    [
      "local: functions that began without a lease are given no permits that another has",
      {
        file: LEASE,
        text: "Math.min(request.keep, held), granted, 0",
        without: "request.keep, granted, 0",
      },
      { ...local, faults: { lostAnswers: 1 } },
      FLEET_RULES.overGranted,
    ],
    [
      "local: without the storage only the limit of the process counts",
      {
        file: PERMITS,
        text: 'if (fallback === "local") return Number.POSITIVE_INFINITY;',
        without: "",
      },
      { ...local, faults: { lostAnswers: 1 } },
      FLEET_RULES.limited,
    ],
    [
      "more than the fair share is granted only while no other lacks it",
      { file: LEASE, text: "areOthersShort ? fair : limit", without: "limit" },
      { ...two, ...instant, times: clock },
      STUCK,
    ],
    [
      "an answer caps what is used when another lacks permits",
      {
        file: PERMITS,
        text: "isContended ? Math.min(permits, fair) : permits",
        without: "permits",
      },
      {
        ...two,
        instantAnswers: true,
        times: clock,
        patience: 2,
        faults: { lostNotices: Number.MAX_SAFE_INTEGER },
      },
      FLEET_RULES.starved,
    ],
    [
      "a notice caps what is used",
      {
        file: PERMITS,
        text: "if (!gives) state.cap =",
        without: "if (false) state.cap =",
      },
      { ...two, ...instant, times: clock, patience: 0 },
      FLEET_RULES.starved,
    ],
  ])(
    "breaks one: %s",
    (_, mutation, setting, rule) => {
      const { counterexamples } = explore(setting, fleetMutantOf(mutation), rule !== STUCK);
      expect(counterexamples.map((found) => found.rule)).toContain(rule);
    },
    120_000,
  );

  it.each<[string, Setting]>([
    [
      "a lease counts from when it was asked for",
      { ...two, instantNotices: true, faults: { freezes: 1 }, rules: { countsFromSending: false } },
    ],
    [
      "B6: a lease covers the functions that start under it",
      {
        ...two,
        ...instant,
        fallback: "reject",
        times: { ...clock, lease: 2, timeout: 1 },
        rules: { leaseCoversTimeout: false },
        faults: { cuts: 1 },
      },
    ],
  ])("breaks the limit: %s", (_, setting) => {
    const { counterexamples } = explore(setting, realFleetCode, true);
    expect(counterexamples.map((found) => found.rule)).toContain(FLEET_RULES.overLimit);
  });
});
