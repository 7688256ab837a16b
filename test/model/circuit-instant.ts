import type { Move } from "./checker.js";
import type { CircuitProcess } from "./circuit-process.js";
import { unleased } from "./circuit-properties.js";
import { carryOut, type Report } from "./circuit-storage-moves.js";
import { type Member, replace, type World } from "./circuit-world.js";

/** Makes a step of one process, and reports the world after it. */
type Run = (
  world: World,
  index: number,
  label: () => string,
  isGood: boolean,
  report: Report,
  act: (process: CircuitProcess) => void,
  judge?: (before: Member, after: Member, owner: string) => string | undefined,
) => void;

export interface InstantOptions {
  readonly instantNotices?: boolean;
  readonly instantAnswers?: boolean;
  readonly instantRequests?: boolean;
}

/** Makes messages arrive in the step in which they are sent: fewer orders, for more processes. */
export class InstantMessages {
  readonly answers: boolean;
  readonly #requests: boolean;
  readonly #notices: boolean;
  readonly #run: Run;

  constructor(options: InstantOptions, run: Run) {
    this.answers = options.instantAnswers ?? false;
    this.#requests = options.instantRequests ?? false;
    this.#notices = options.instantNotices ?? false;
    this.#run = run;
  }

  /** The move of the process `index`, with every message that it leads to. */
  after(move: Move<World>, index?: number): Move<World> {
    const answered = index === undefined ? move : this.#answered(move, index);
    return this.#notices ? this.#noticed(answered) : answered;
  }

  /** With the answers to what the process asks, one after the other. */
  #answered(move: Move<World>, index: number): Move<World> {
    const { next: world } = move;
    const member = world.members[index];
    const outstanding = member?.process.outstanding;
    if (member === undefined || member.mode === "dead" || outstanding === undefined) return move;
    if (outstanding.answer !== undefined) {
      if (!this.answers) return move;
      const answer = (process: CircuitProcess) => process.answered();
      return this.#answered(this.#then(move, world, index, answer, unleased), index);
    }
    const { isUp, left } = world;
    const canBeLost = left.lostAnswers + left.crashes + left.lateClaims > 0;
    if (!this.#requests || !isUp || canBeLost) return move;
    const { next, broken } = carryOut(world, index, member);
    return this.#answered({ ...move, next, broken: move.broken ?? broken }, index);
  }

  #noticed(move: Move<World>): Move<World> {
    const index = move.next.members.findIndex(({ notice }) => notice !== undefined);
    const member = move.next.members[index];
    const notice = member?.notice;
    if (member === undefined || notice === undefined) return move;
    const heard = replace(move.next, index, { ...member, notice: undefined });
    return this.#noticed(this.#then(move, heard, index, (process) => process.hear(notice)));
  }

  /** The move, and what the process does after it. */
  #then(
    move: Move<World>,
    world: World,
    index: number,
    act: (process: CircuitProcess) => void,
    judge?: Parameters<Run>[6],
  ): Move<World> {
    let after = move;
    const report: Report = (made) => {
      after = { ...made, broken: move.broken ?? made.broken };
    };
    this.#run(world, index, move.label, move.isGood, report, act, judge);
    return after;
  }
}
