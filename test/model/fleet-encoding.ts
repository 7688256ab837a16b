import type { Keep } from "../../src/fleet/permits.js";
import type { PermitGrant, PermitPool } from "../../src/storage/permit-lease.js";
import { type Code, type Encoding, permutations } from "./checker.js";
import { FLEET_FAULTS, type Member, NOW_MS, shareOf, TICK_MS, type World } from "./fleet-world.js";

const MODES = { live: 0, frozen: 1, dead: 2 } as const;
const orders = new Map<string, ReadonlyArray<readonly number[]>>();

export interface FleetEncodingOptions {
  /**
   * There are more processes than permits: the order of turns counts, and what is asked about the first process is not
   * asked about the others.
   */
  readonly hasTurns: boolean;
}

/** A world as integers. Numbers of requests, and places in the order of turns, count by their order only. */
export class FleetEncoding implements Encoding {
  readonly orders: ReadonlyArray<readonly number[]>;
  readonly #world: World;
  readonly #turns: readonly number[];

  constructor(world: World, { hasTurns }: FleetEncodingOptions) {
    this.#world = world;
    this.#turns = hasTurns ? ranked(turnsOf(world)) : [];
    this.orders = ordersOf(world.members.length, hasTurns);
  }

  encode(order: readonly number[], code: Code): void {
    const { pool, previous, isUp, left, members } = this.#world;
    code.write(isUp ? 1 : 0);
    for (const fault of FLEET_FAULTS) code.write(left[fault]);
    this.#pool(code, pool);
    this.#pool(code, previous);
    for (const index of order) {
      const member = members[index];
      if (member !== undefined) this.#member(code, member, index);
    }
  }

  #pool(code: Code, pool: PermitPool | undefined): void {
    if (pool === undefined) {
      code.write(-1);
      return;
    }
    code.write(pool.askedAt === 0 ? -2 : age(pool.askedAt));
    code.write(pool.learnsSince === 0 ? -1 : age(pool.learnsSince));
    code.write(this.#turn(pool.nextTurn));
  }

  #turn(turn: number): number {
    return this.#turns.indexOf(turn);
  }

  #member(code: Code, member: Member, index: number): void {
    const { pool, previous } = this.#world;
    const sequences = ranked(sequencesOf(this.#world, member, index));
    const rank = (sequence: number) => sequences.indexOf(sequence);
    this.#share(code, pool, index, rank);
    if (previous !== undefined) this.#share(code, previous, index, rank);
    code.write(
      MODES[member.mode] * 16 +
        flags(member.isCut, member.hasCalls, member.isActive, member.isUrgent) +
        (member.isUnanswered ? 256 : 0),
    );
    writeKeep(code, member.late, rank);
    if (member.mode === "dead") return;
    const { permits, notice, request } = member;
    code.write(rank(permits.sequence));
    code.write((permits.permits * 8 + permits.cap) * 8 + permits.fair);
    code.write((permits.limit * 8 + permits.processes) * 8 + permits.peak);
    code.write(this.#turn(permits.turn));
    code.write(
      Math.max(-1, (permits.until - NOW_MS) / TICK_MS) * 16 +
        flags(permits.isFailing, permits.isShort, member.hasExtra, member.isTakenBack),
    );
    for (const count of member.calls) code.write(count);
    code.write((member.strays * 8 + (member.apart ?? 7)) * 8 + member.lost);
    code.write((member.starved * 2 + (member.couldStart ? 1 : 0)) * 8 + member.askedAge);
    code.write(notice === undefined ? 0 : 1 + notice.fair * 2 + flags(notice.gives));
    if (notice?.fair === 0) code.write(this.#turn(notice.lastTurn));
    writeKeep(code, request?.keep, rank);
    if (request === undefined) return;
    code.write(request.age * 2 + flags(request.isLost));
    this.#grant(code, request.grant);
  }

  #share(code: Code, pool: PermitPool, index: number, rank: (sequence: number) => number): void {
    const share = shareOf(pool, index);
    if (share === undefined) {
      code.write(-1);
      return;
    }
    code.write((share.permits * 8 + share.wants) * 64 + age(share.askedAt));
    code.write(rank(share.sequence));
    code.write(this.#turn(share.turn));
  }

  #grant(code: Code, grant: PermitGrant | undefined): void {
    if (grant === undefined) {
      code.write(-1);
      return;
    }
    const { permits, fair, limit, processes, isContended, turn } = grant;
    code.write((((permits * 8 + fair) * 8 + limit) * 8 + processes) * 2 + flags(isContended));
    code.write(this.#turn(turn));
  }
}

function writeKeep(code: Code, keep: Keep | undefined, rank: (sequence: number) => number): void {
  if (keep === undefined) {
    code.write(-1);
    return;
  }
  code.write((keep.keep * 8 + keep.want) * 8 + rank(keep.sequence));
}

function age(ms: number): number {
  return (NOW_MS - ms) / TICK_MS;
}

function turnsOf({ pool, previous, members }: World): number[] {
  const turns = [0, pool.nextTurn];
  for (const { turn } of pool.shares) turns.push(turn);
  if (previous !== undefined) {
    turns.push(previous.nextTurn);
    for (const { turn } of previous.shares) turns.push(turn);
  }
  for (const { mode, permits, notice, request } of members) {
    if (mode === "dead") continue;
    turns.push(permits.turn);
    if (notice?.fair === 0) turns.push(notice.lastTurn);
    if (request?.grant !== undefined) turns.push(request.grant.turn);
  }
  return turns;
}

function sequencesOf({ pool, previous }: World, member: Member, index: number): number[] {
  const of = (from: PermitPool | undefined) => from && shareOf(from, index)?.sequence;
  const { permits, late, request } = member;
  const all = [permits.sequence, late?.sequence, request?.keep.sequence, of(pool), of(previous)];
  return all.filter((sequence) => sequence !== undefined);
}

function ranked(values: number[]): number[] {
  values.sort((a, b) => a - b);
  return values.filter((value, index) => value !== values[index - 1]);
}

function flags(...values: readonly unknown[]): number {
  let sum = 0;
  for (let bit = 0; bit < values.length; bit++) if (values[bit]) sum += 1 << bit;
  return sum;
}

function ordersOf(count: number, isFirstSpecial: boolean): ReadonlyArray<readonly number[]> {
  const key = `${count} ${isFirstSpecial}`;
  let known = orders.get(key);
  if (known === undefined) {
    known = permutations(count).filter(([first]) => !isFirstSpecial || first === 0);
    orders.set(key, known);
  }
  return known;
}
