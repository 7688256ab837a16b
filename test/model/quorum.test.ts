import { describe, expect, it } from "vitest";
import { check, STUCK } from "./checker.js";
import { CircuitModel, type CircuitModelOptions } from "./circuit-model.js";
import { withoutTime } from "./circuit-process.js";
import { RULES } from "./circuit-properties.js";
import { QUORUM_RULES } from "./circuit-world.js";
import { realCode } from "./code.js";
import { type Mutation, mutantOf } from "./mutant.js";
import { walkAll } from "./walk.js";

type Setting = Omit<CircuitModelOptions, "code">;

function explore(setting: Setting, code = realCode, stopsAtFirst = false) {
  return withoutTime(() => check(new CircuitModel({ code, ...setting }), { stopsAtFirst }));
}

/** One process; another host may vote, and an operator move the record. */
function one(faults: Setting["faults"]): Setting {
  return { processes: 1, successThreshold: 1, openQuorum: 2, faults };
}

/** Processes on these hosts, of which A fails for good. */
function sick(hosts: readonly string[], faults: Setting["faults"] = {}): Setting {
  const processes = hosts.length;
  const instantNotices = true;
  const fleet = { processes, hosts, sickHost: "A", openQuorum: 2 };
  return { ...fleet, successThreshold: 1, instantNotices, faults };
}

/** The same, with answers at once. */
function atOnce(hosts: readonly string[], faults: Setting["faults"] = {}): Setting {
  return { ...sick(hosts, faults), instantRequests: true, instantAnswers: true };
}

describe("a circuit that a quorum of hosts opens, in every order of everything that can happen", () => {
  it.each<[string, Setting]>([
    ["the calls of one host fail for good", sick(["A", "B"])],
    ["two processes of that host run beside two well hosts", atOnce(["A", "A", "B", "C"])],
    ["calls fail on two of three hosts for a time", atOnce(["B", "C", "D"], { openings: 2 })],
    ["an operator moves the record of three hosts", atOnce(["A", "B", "C"], { operators: 1 })],
    ["another host votes, too", one({ openings: 1, otherVotes: 2 })],
    ["answers are lost", one({ openings: 1, otherVotes: 1, lostAnswers: 1 })],
    ["the storage is out", one({ openings: 1, otherVotes: 1, outages: 1 })],
    ["an operator moves the record", one({ openings: 1, otherVotes: 1, operators: 1 })],
    [
      "health checks decide",
      one({ openings: 1, otherVotes: 1, healthFailures: 1, healthPasses: 1 }),
    ],
    ["a hand moves the circuit", one({ openings: 1, otherVotes: 1, hands: 1 })],
    ["a notice is forged", one({ openings: 1, forgedNotices: 1 })],
  ])(
    "keeps every rule, and gets closed on the well hosts, when %s",
    (_, setting) => {
      const { isComplete, counterexamples } = explore(setting);
      expect(counterexamples).toEqual([]);
      expect(isComplete).toBe(true);
    },
    120_000,
  );
});

describe("a circuit that a quorum of hosts opens, without one of its rules", () => {
  it.each<[string, Mutation, Setting, string]>([
    [
      "C1: the vote and the opening are one step",
      {
        file: "storage/apply-change.ts",
        text: "votingHosts(votes).length >= change.quorum",
        without: "votingHosts(votesOfOthers(record, owner, now)).length >= change.quorum",
      },
      one({ openings: 1, otherVotes: 1 }),
      QUORUM_RULES.standing,
    ],
    [
      "C2: a failed probe of the shared circuit is a vote, no more",
      {
        file: "circuit/local-changes.ts",
        text: "...(quorum > 1 && { quorum, host }),",
        without: '...(quorum > 1 && state !== "HALF_OPEN" && { quorum, host }),',
      },
      one({ openings: 1, otherVotes: 1, probeFailures: 1 }),
      QUORUM_RULES.few,
    ],
    [
      "C3: votes are spent",
      {
        file: "storage/apply-change.ts",
        text: "openedBy, changedBy, settings };",
        without: `openedBy, changedBy, settings, votes: isVote(change)
          ? [...votesOfOthers(before, change.owner, now), voteOf(before, change, now)] : votes };`,
      },
      one({ openings: 1, otherVotes: 1, operators: 1 }),
      QUORUM_RULES.standing,
    ],
    [
      "C4: a host with a vote gets no lease",
      {
        file: "storage/apply-change.ts",
        text: "if (host !== undefined && liveVotes",
        without: "if (false && host !== undefined && liveVotes",
      },
      one({ openings: 1, otherVotes: 1, probeFailures: 1 }),
      QUORUM_RULES.voterProbes,
    ],
    [
      "C4: not only the process with the vote",
      {
        file: "storage/apply-change.ts",
        text: "vote.host === cut(host)",
        without: "vote.owner === change.owner",
      },
      atOnce(["A", "A"], { otherVotes: 1 }),
      QUORUM_RULES.voterProbes,
    ],
    [
      "two processes of one host have one vote",
      {
        file: "storage/apply-change.ts",
        text: "votingHosts(votes).length >= change.quorum",
        without: "votes.length >= change.quorum",
      },
      atOnce(["A", "A", "B"]),
      QUORUM_RULES.few,
    ],
    [
      "C5: a record that is closed ends no opening of a process's own",
      {
        file: "circuit/reconciler.ts",
        text: "if (this.#outlivesRecord(record)) return;",
        without: "",
      },
      one({ openings: 1, otherVotes: 1, operators: 1 }),
      RULES.ended,
    ],
    [
      "C5: nor what became of it",
      {
        file: "circuit/reconciler.ts",
        text: 'record.state === "CLOSED" && this.#state.isOwn',
        without: "false",
      },
      one({ openings: 1, otherVotes: 1, operators: 1 }),
      RULES.ended,
    ],
  ])(
    "breaks one: %s",
    (_, mutation, setting, rule) => {
      const { counterexamples } = explore(setting, mutantOf(mutation), rule !== STUCK);
      expect(counterexamples.map((found) => found.rule)).toContain(rule);
    },
    120_000,
  );
});

describe("a circuit that two of three hosts open, in random orders", () => {
  const five: Setting = {
    processes: 5,
    hosts: ["A", "A", "B", "B", "C"],
    sickHost: "A",
    openQuorum: 2,
    successThreshold: 1,
    faults: {
      ...{ openings: 6, probeFailures: 4, hangs: 3, crashes: 1, shutdowns: 1, outages: 3 },
      ...{ lostAnswers: 4, lateClaims: 2, lostNotices: 3, healthFailures: 2, healthPasses: 2 },
      ...{ hands: 2, operators: 2, otherVotes: 3, pythonWrites: 1, failovers: 1, forgedNotices: 1 },
    },
  };
  const walkFive = (code = realCode) => {
    const options = { steps: 200, recovery: 4000 };
    return withoutTime(() => walkAll(new CircuitModel({ code, ...five }), 8, options));
  };

  it("keeps every rule, and gets closed on the well hosts, when everything goes wrong", () => {
    const { counterexamples, moves } = walkFive();
    expect(counterexamples).toEqual([]);
    expect(moves).toBeGreaterThan(800);
  });

  it("breaks one without a rule", () => {
    const code = mutantOf({
      file: "circuit/reconciler.ts",
      text: "if (this.#outlivesRecord(record)) return;",
      without: "",
    });
    const { counterexamples } = walkFive(code);
    expect(counterexamples.map((found) => found.rule)).toContain(RULES.ended);
  });
});
