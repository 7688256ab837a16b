import { type CheckResult, type Model, type Move, STUCK } from "./checker.js";

export interface WalkOptions {
  readonly seed: number;
  /** Moves in a walk. */
  readonly steps: number;
  /** How much likelier a move is that happens when everything is well. @default 8 */
  readonly goodWeight?: number;
  /**
   * After the walk, at most so many more moves, all of them good and random, until a goal is reached. A walk that reaches
   * none is stuck.
   * @default 0, which asks for no goal
   */
  readonly recovery?: number;
}

export interface Walk {
  readonly moves: number;
  /** The rule that was broken first, and the way to it. */
  readonly broken: { readonly rule: string; readonly steps: readonly string[] } | undefined;
}

/** Makes one random walk through a model, the same for the same seed. For fleets that are too large for every order. */
export function walk<State>(model: Model<State>, options: WalkOptions): Walk {
  const { seed, steps, goodWeight = 8, recovery = 0 } = options;
  const random = randomOf(seed);
  const labels: Array<() => string> = [];
  let state = model.initial;
  const ended = (rule?: string): Walk => {
    const way = () => [...labels.map((label) => label()), model.describe(state)];
    return {
      moves: labels.length,
      broken: rule === undefined ? undefined : { rule, steps: way() },
    };
  };
  while (labels.length < steps + recovery) {
    const isOver = labels.length >= steps;
    if (isOver && (model.isGoal(state) || !model.isJudged(state))) return ended();
    const chosen = choose(model, state, { good: goodWeight, bad: isOver ? 0 : 1 }, random);
    if (chosen === undefined) break;
    labels.push(chosen.label);
    state = chosen.next;
    const rule = chosen.broken ?? model.broken(state);
    if (rule !== undefined) return ended(rule);
  }
  const isStuck = recovery > 0 && model.isJudged(state) && !model.isGoal(state);
  return ended(isStuck ? STUCK : undefined);
}

/** One of the moves, each as likely as its weight. */
function choose<State>(
  model: Model<State>,
  state: State,
  weights: { readonly good: number; readonly bad: number },
  random: () => number,
): Move<State> | undefined {
  const moves: Array<Move<State>> = [];
  const weightOf = ({ isGood, weight = 1 }: Move<State>) =>
    weight * (isGood ? weights.good : weights.bad);
  let weight = 0;
  model.moves(state, (move) => {
    moves.push(move);
    weight += weightOf(move);
  });
  let at = random() * weight;
  return moves.find((move) => {
    at -= weightOf(move);
    return at < 0;
  });
}

/** Walks with the seeds from 0, as a result of the checker that did not see every state. */
export function walkAll<State>(
  model: Model<State>,
  walks: number,
  options: Omit<WalkOptions, "seed">,
): CheckResult {
  let moves = 0;
  const counterexamples = new Map<string, CheckResult["counterexamples"][number]>();
  for (let seed = 0; seed < walks; seed++) {
    const made = walk(model, { ...options, seed });
    moves += made.moves;
    if (made.broken === undefined || counterexamples.has(made.broken.rule)) continue;
    const { rule, steps } = made.broken;
    counterexamples.set(rule, { rule, steps, state: `seed ${seed}` });
  }
  const found = [...counterexamples.values()];
  return { states: 0, moves, depth: options.steps, isComplete: false, counterexamples: found };
}

/** Numbers from 0 to 1, by a linear congruence and a shuffle of its bits. */
export function randomOf(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  return () => {
    state = (Math.imul(state, 0x0019660d) + 0x3c6ef35f) | 0;
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);
    return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32;
  };
}
