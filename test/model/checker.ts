import { StateTable } from "./state-table.js";

/** One thing that can happen in a state. */
export interface Move<State> {
  readonly label: () => string;
  readonly next: State;
  /** It still happens when everything is well from now on. */
  readonly isGood: boolean;
  /** How much likelier than others it is in a random walk. @default 1 */
  readonly weight?: number;
  /** The rule that the move itself breaks. */
  readonly broken: string | undefined;
}

/** A state as integers. */
export interface Encoding {
  /**
   * The orders of the processes to try: states that are alike but for the names of the processes have the
   * same codes by these.
   */
  readonly orders: ReadonlyArray<readonly number[]>;
  encode(order: readonly number[], code: Code): void;
}

/** Where an encoding writes its integers. */
export class Code {
  readonly values = new Int32Array(1 << 12);
  length = 0;

  write(value: number): void {
    this.values[this.length++] = value;
  }
}

/** A protocol: its states, and what can happen in each. */
export interface Model<State> {
  readonly initial: State;
  /** Reports each move, in the same order whenever it is asked about the same state. */
  moves(state: State, report: (move: Move<State>) => void): void;
  /** What tells the state from others. */
  encoding(state: State): Encoding;
  /** The rule that the state breaks. */
  broken(state: State): string | undefined;
  /** Good moves must lead from every state to a goal, if the state `isJudged`. */
  isGoal(state: State): boolean;
  isJudged(state: State): boolean;
  describe(state: State): string;
}

export interface CheckOptions {
  /** Gives up beyond that many states. @default 5_000_000 */
  readonly maxStates?: number;
  /** Ends at the first broken rule. @default false */
  readonly stopsAtFirst?: boolean;
  /** Called after each step away from the initial state. */
  readonly onDepth?: (depth: number, states: number) => void;
}

/** A way from the initial state, and what it shows. */
interface Counterexample {
  readonly rule: string;
  readonly steps: readonly string[];
  readonly state: string;
}

export interface CheckResult {
  readonly states: number;
  readonly moves: number;
  readonly depth: number;
  /** Whether every state that can be reached was seen. */
  readonly isComplete: boolean;
  /** One shortest way for each rule that is broken. */
  readonly counterexamples: readonly Counterexample[];
}

export const STUCK = "good moves lead to no goal";

/**
 * Visits every state that moves lead to, breadth first, so that each counterexample is a shortest one. Then
 * goes backwards from the goals along the good moves: a state that is not met is stuck.
 *
 * States are kept as a hash of 64 bits each; the way to one is found again by making its moves anew.
 */
export function check<State>(model: Model<State>, options: CheckOptions = {}): CheckResult {
  const { maxStates = 5_000_000, stopsAtFirst = false, onDepth } = options;
  const table = new StateTable();
  const found = new Map<string, { state: number; step: (() => string) | undefined }>();
  const note = (rule: string, state: number, step?: () => string) => {
    if (!found.has(rule)) found.set(rule, { state, step });
  };
  const visit = (state: State, parent: number, move: number): { index: number; isNew: boolean } => {
    const [high, low] = hashOf(model, state);
    const seen = table.find(high, low);
    if (seen >= 0) return { index: seen, isNew: false };
    const index = table.add(high, low, parent, move);
    table.mark(index, { isGoal: model.isGoal(state), isJudged: model.isJudged(state) });
    const rule = model.broken(state);
    if (rule !== undefined) note(rule, index);
    return { index, isNew: true };
  };

  let frontier: Array<readonly [number, State]> = [
    [visit(model.initial, -1, 0).index, model.initial],
  ];
  let moves = 0;
  let depth = 0;
  const isOver = () => table.size > maxStates || (stopsAtFirst && found.size > 0);
  while (frontier.length > 0 && !isOver()) {
    const next: Array<readonly [number, State]> = [];
    for (const [index, state] of frontier) {
      let ordinal = 0;
      model.moves(state, (move) => {
        moves++;
        if (move.broken !== undefined) note(move.broken, index, move.label);
        const target = visit(move.next, index, ordinal++);
        if (target.isNew) next.push([target.index, move.next]);
        if (move.isGood) table.connect(index, target.index);
      });
      if (isOver()) break;
    }
    frontier = next;
    depth++;
    onDepth?.(depth, table.size);
  }
  const isComplete = frontier.length === 0;
  if (isComplete) {
    const stuck = table.firstStuck();
    if (stuck >= 0) note(STUCK, stuck);
  }
  const counterexamples = [...found].map(([rule, { state, step }]) => {
    const { steps, last } = retrace(model, table.pathTo(state));
    return {
      rule,
      steps: step === undefined ? steps : [...steps, step()],
      state: model.describe(last),
    };
  });
  return { states: table.size, moves, depth, isComplete, counterexamples };
}

/** Makes the moves with these ordinals, one after the other. */
function retrace<State>(model: Model<State>, path: readonly number[]) {
  const steps: string[] = [];
  let last = model.initial;
  for (const wanted of path) {
    let ordinal = 0;
    let chosen: Move<State> | undefined;
    model.moves(last, (move) => {
      if (ordinal++ === wanted) chosen = move;
    });
    if (chosen === undefined) throw new Error("The model does not report its moves in one order");
    steps.push(chosen.label());
    last = chosen.next;
  }
  return { steps, last };
}

const code = new Code();

/** The smallest hash of all orders: states that differ only in who is who have the same one. */
function hashOf<State>(model: Model<State>, state: State): readonly [number, number] {
  let bestHigh = 0x7fffffff;
  let bestLow = 0x7fffffff;
  const encoding = model.encoding(state);
  for (const order of encoding.orders) {
    code.length = 0;
    encoding.encode(order, code);
    const { values, length } = code;
    let high = 0x2545f491;
    let low = 0x6c078965;
    for (let index = 0; index < length; index++) {
      const value = values[index] ?? 0;
      high = Math.imul(high ^ value, 0x9e3779b1);
      high ^= high >>> 15;
      low = Math.imul(low + value + 1, 0x27d4eb2f);
      low ^= low >>> 13;
    }
    high |= 0;
    low |= 0;
    if (high < bestHigh || (high === bestHigh && low < bestLow)) {
      bestHigh = high;
      bestLow = low;
    }
  }
  return [bestHigh, bestLow];
}

/** Every order of `count` processes. */
export function permutations(count: number): number[][] {
  if (count === 0) return [[]];
  const last = count - 1;
  return permutations(last).flatMap((order) =>
    Array.from({ length: count }, (_, place) => order.toSpliced(place, 0, last)),
  );
}
