import { describe, expect, it } from "vitest";
import { check, STUCK } from "./checker.js";
import { CircuitModel, type CircuitModelOptions } from "./circuit-model.js";
import { withoutTime } from "./circuit-process.js";
import { RULES } from "./circuit-properties.js";
import { realCode } from "./code.js";
import { type Mutation, mutantOf } from "./mutant.js";

type Setting = Omit<CircuitModelOptions, "code">;

function explore(setting: Setting, code = realCode, stopsAtFirst = false) {
  return withoutTime(() => check(new CircuitModel({ code, ...setting }), { stopsAtFirst }));
}

/** One process, in a fleet that changes by other hands than calls. */
function one(faults: Setting["faults"], successThreshold = 1): Setting {
  return { processes: 1, successThreshold, faults };
}

/**
 * `npm run model` explores more. What holds: no process breaks a rule of {@link RULES}, and from every state a
 * well dependency and a well storage lead to a closed circuit.
 */
describe("a shared circuit, in every order of everything that can happen", () => {
  it.each<[string, Setting]>([
    [
      "calls fail in one of two processes",
      { ...one({ openings: 1 }), processes: 2, instantNotices: true },
    ],
    ["probes hang in an outage", one({ openings: 1, outages: 1, hangs: 1 }, 2)],
    ["answers are lost", one({ openings: 2, lostAnswers: 1 })],
    ["the storage is slow", one({ openings: 2, lateClaims: 1, probeFailures: 1 })],
    ["the process is shut down", one({ openings: 1, shutdowns: 1, lostAnswers: 1 })],
    ["health checks decide", one({ openings: 1, healthFailures: 1, healthPasses: 1, outages: 1 })],
    ["a hand moves the circuit", one({ openings: 1, hands: 2, outages: 1 })],
    ["an operator moves the record", one({ openings: 1, operators: 2, lostNotices: 1 })],
    ["Python writes without looking", one({ openings: 1, pythonWrites: 2, lostNotices: 1 })],
    ["notices are forged", one({ openings: 2, forgedNotices: 2 })],
    ["the storage forgets its last change", one({ openings: 2, failovers: 1 })],
    ["the storage stays out", { ...one({ openings: 2, outages: 1, hangs: 1 }), recovers: false }],
  ])(
    "keeps every rule, and gets closed, when %s",
    (_, setting) => {
      const { isComplete, counterexamples } = explore(setting);
      expect(counterexamples).toEqual([]);
      expect(isComplete).toBe(true);
    },
    120_000,
  );
});

describe("a shared circuit without one of its rules", () => {
  it.each<[string, Mutation, Setting, string]>([
    [
      "A1: a lease is finite when the storage does not answer",
      {
        file: "circuit/shared-circuit.ts",
        text: "this.#source.probeLeaseSeconds * 1000",
        without: "Number.POSITIVE_INFINITY",
      },
      { ...one({ openings: 1, outages: 1, hangs: 1 }), recovers: false },
      STUCK,
    ],
    [
      "A2: nothing lies between the last question and the rest",
      {
        file: "circuit/shared-circuit.ts",
        text: "state.io = IDLE;",
        without: "setTimeout(() => { state.io = IDLE; }, 0);",
      },
      one({ openings: 1 }),
      STUCK,
    ],
    [
      "A3: what probes found out stands against a record that is over",
      {
        file: "circuit/reconciler.ts",
        text: "if (isFree(record) && this.#outlastsRecord()) return;",
        without: "",
      },
      one({ openings: 1, outages: 1 }),
      RULES.reopened,
    ],
    [
      "A4: an opening has a tag of its own",
      {
        file: "circuit/local-changes.ts",
        text: "get #tag(): string {",
        without: "get #tag(): string { return this.#state.owner;",
      },
      one({ openings: 2, lostAnswers: 2 }),
      RULES.closed,
    ],
    [
      "A5: a notice is confirmed",
      {
        file: "circuit/shared-circuit.ts",
        text: "this.#readAfter(CONFIRM_MS * (0.2 + Math.random() * 0.8));",
        without: "",
      },
      one({ forgedNotices: 1 }),
      RULES.disagreeing,
    ],
    [
      "A5: what was read wins with a lower version, too",
      {
        file: "circuit/reconciler.ts",
        text: "known === undefined || !isSame(record, known)",
        without: "known === undefined || record.version > known.version",
      },
      one({ forgedNotices: 1 }),
      RULES.disagreeing,
    ],
    [
      "A5: what was read wins with the same version, too",
      {
        file: "circuit/reconciler.ts",
        text: "known === undefined || !isSame(record, known)",
        without: "known === undefined || record.version !== known.version",
      },
      one({ forgedNotices: 1, pythonWrites: 1 }),
      RULES.disagreeing,
    ],
    [
      "a notice gives no lease",
      {
        file: "circuit/reconciler.ts",
        text: "const isOwn = this.#ownsLease(record) &&",
        without:
          "if (this.#ownsLease(record)) this.#extendLease(record);\n const isOwn = this.#ownsLease(record) &&",
      },
      one({ openings: 2, forgedNotices: 2 }),
      RULES.disagreeing,
    ],
    [
      "a hand is obeyed",
      {
        file: "circuit/reconciler.ts",
        text: 'if (state.pending?.transition.origin === "manual" && !state.pending.isLate) return;',
        without: "",
      },
      one({ hands: 1, operators: 2 }),
      RULES.disobeyed,
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
