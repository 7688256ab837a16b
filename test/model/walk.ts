import type { Model, Move } from "./checker.js";

export interface WalkOptions {
  readonly seed: number;
  /** Moves in a walk. */
  readonly steps: number;
  /** How much likelier a move is that happens when everything is well. @default 8 */
  readonly goodWeight?: number;
}

export interface Walk {
  readonly moves: number;
  /** The rule that was broken first, and the way to it. */
  readonly broken: { readonly rule: string; readonly steps: readonly string[] } | undefined;
}

/** Makes one random walk through a model, the same for the same seed. For fleets that are too large for every order. */
export function walk<State>(model: Model<State>, options: WalkOptions): Walk {
  const { seed, steps, goodWeight = 8 } = options;
  const random = randomOf(seed);
  const labels: Array<() => string> = [];
  let state = model.initial;
  for (let step = 0; step < steps; step++) {
    const moves: Array<Move<State>> = [];
    let weight = 0;
    model.moves(state, (move) => {
      moves.push(move);
      weight += move.isGood ? goodWeight : 1;
    });
    let at = random() * weight;
    const chosen = moves.find((move) => {
      at -= move.isGood ? goodWeight : 1;
      return at < 0;
    });
    if (chosen === undefined) return { moves: step, broken: undefined };
    labels.push(chosen.label);
    state = chosen.next;
    const rule = chosen.broken ?? model.broken(state);
    if (rule !== undefined) {
      const way = labels.map((label) => label());
      return { moves: step + 1, broken: { rule, steps: [...way, model.describe(state)] } };
    }
  }
  return { moves: steps, broken: undefined };
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
