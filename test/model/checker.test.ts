import { describe, expect, it } from "vitest";
import { check, type Model, type Move, permutations, STUCK } from "./checker.js";
import { walk, walkAll } from "./walk.js";

/** Steps of a process that takes a lock, uses it and gives it back. */
const NAMES = ["outside", "sees it free", "inside", "broken"] as const;
type Step = (typeof NAMES)[number];

/** Two processes and a lock, which they take in one step, or in two. */
function lock({ isAtomic = true, breaks = false, processes = 2 }): Model<readonly Step[]> {
  return {
    initial: Array.from({ length: processes }, () => "outside"),
    encoding: (steps) => ({
      orders: permutations(processes),
      encode: (order, code) => {
        for (const index of order) code.write(NAMES.indexOf(steps[index] ?? "broken"));
      },
    }),
    moves: (steps, report) => {
      for (const [index, step] of steps.entries()) {
        const move = (label: string, to: Step, isGood = true): Move<readonly Step[]> => ({
          label: () => `${index} ${label}`,
          next: steps.with(index, to),
          isGood,
          broken: undefined,
        });
        const isFree = !steps.includes("inside");
        if (step === "outside" && isFree) {
          report(isAtomic ? move("takes it", "inside") : move("looks", "sees it free"));
        }
        if (step === "sees it free") report(move("takes it", "inside"));
        if (step === "inside") report(move("gives it back", "outside"));
        if (step === "inside" && breaks) report(move("breaks down", "broken", false));
      }
    },
    broken: (steps) =>
      steps.filter((step) => step === "inside").length > 1 ? "two are inside" : undefined,
    isGoal: (steps) => steps.every((step) => step === "outside"),
    isJudged: () => true,
    describe: (steps) => steps.join(", "),
  };
}

describe("the checker", () => {
  it("sees every state, and each only once whatever the processes are called", () => {
    expect(check(lock({}))).toEqual({
      states: 2,
      moves: 3,
      depth: 2,
      isComplete: true,
      counterexamples: [],
    });
    expect(check(lock({ processes: 4 })).states).toBe(2);
  });

  it("shows a shortest way to a rule that is broken", () => {
    const { counterexamples } = check(lock({ isAtomic: false }));
    expect(counterexamples).toEqual([
      {
        rule: "two are inside",
        steps: ["0 looks", "1 looks", "0 takes it", "1 takes it"],
        state: "inside, inside",
      },
    ]);
  });

  it("shows a shortest way to a state from which good moves lead to no goal", () => {
    const { counterexamples } = check(lock({ breaks: true }));
    expect(counterexamples).toEqual([
      { rule: STUCK, steps: ["0 takes it", "0 breaks down"], state: "broken, outside" },
    ]);
  });

  it("judges no state that the model does not judge", () => {
    const model = { ...lock({ breaks: true }), isJudged: () => false };
    expect(check(model).counterexamples).toEqual([]);
  });

  it("reports a rule that a move breaks, with that move", () => {
    const model = lock({});
    const { moves } = model;
    model.moves = (steps, report) =>
      moves(steps, (move) => {
        const isBack = move.label().includes("back");
        report({ ...move, broken: isBack ? "nobody gives it back" : undefined });
      });
    expect(check(model).counterexamples).toMatchObject([
      { rule: "nobody gives it back", steps: ["0 takes it", "0 gives it back"] },
    ]);
  });

  it("says so when it gives up, and judges no way to a goal then", () => {
    const { isComplete, counterexamples } = check(lock({ breaks: true, isAtomic: false }), {
      maxStates: 2,
    });
    expect(isComplete).toBe(false);
    expect(counterexamples).toEqual([]);
  });

  it("keeps apart as many states as there are", () => {
    const size = 300;
    const counter: Model<readonly [number, number]> = {
      initial: [0, 0],
      encoding: (state) => ({
        orders: [[0, 1]],
        encode: (_, code) => {
          for (const value of state) code.write(value);
        },
      }),
      moves: ([a, b], report) => {
        const move = (next: readonly [number, number]) =>
          report({ label: () => next.join(), next, isGood: true, broken: undefined });
        if (a < size) move([a + 1, b]);
        if (b < size) move([a, b + 1]);
      },
      broken: () => undefined,
      isGoal: ([a, b]) => a === size && b === size,
      isJudged: () => true,
      describe: String,
    };
    const seen = check(counter);
    expect([seen.states, seen.counterexamples]).toEqual([(size + 1) ** 2, []]);
  });
});

describe("random walks", () => {
  it("end at a goal, by good moves alone, after a walk in which no rule was broken", () => {
    const made = walk(lock({}), { seed: 1, steps: 5, recovery: 10 });
    expect(made).toEqual({ moves: 6, broken: undefined });
  });

  it("show the way to where good moves have led to no goal", () => {
    const { counterexamples } = walkAll(lock({ breaks: true, processes: 1 }), 20, {
      steps: 20,
      recovery: 10,
    });
    const [stuck] = counterexamples;
    expect(stuck?.rule).toBe(STUCK);
    expect(stuck?.steps.slice(-2)).toEqual(["0 breaks down", "broken"]);
  });

  it("show the way to a rule that is broken", () => {
    const { counterexamples } = walkAll(lock({ isAtomic: false }), 5, { steps: 20 });
    const [broken] = counterexamples;
    expect(broken?.rule).toBe("two are inside");
    expect(broken?.steps.at(-1)).toBe("inside, inside");
  });
});
