import type { CircuitTransition } from "../../src/circuit/transition.js";
import type { CircuitChange, CircuitRecord } from "../../src/storage/circuit-storage.js";
import { liveVotes } from "../../src/storage/votes.js";
import { Code, type Encoding, permutations } from "./checker.js";
import { NOW_MS, type Outstanding } from "./circuit-process.js";
import { FAULTS, isForged, isSick, type Member, timeLeft, type World } from "./circuit-world.js";

const STATES = { CLOSED: 0, OPEN: 1, HALF_OPEN: 2 } as const;
const MODES = { live: 0, leaving: 1, dead: 2 } as const;
const PROBERS = { ours: 0, acquiring: 1, elsewhere: 2 } as const;
const IO = { idle: 0, load: 1, change: 2, deciding: 3 } as const;
const OTHER = 1;

const SELF = 0;
const ANOTHER = 1;

/**
 * A world as integers. Versions count by their order only, and owners by the place of their process. Processes
 * that look different are put in one order; only among those that look alike is every order tried.
 */
export class WorldEncoding implements Encoding {
  readonly orders: ReadonlyArray<readonly number[]>;
  readonly #world: World;
  /** Every version in this world, in order, and what stands for each. */
  readonly #versions: readonly number[];
  readonly #ranks: number[] = [];
  /** What stands for each process where it is an owner. */
  readonly #places: number[] = [];
  #code = looks;

  constructor(world: World) {
    this.#world = world;
    this.#versions = versionsOf(world).sort((a, b) => a - b);
    let last = this.#versions[0] ?? 0;
    let rank = 1;
    for (const version of this.#versions) {
      // The next version can be one that was forged: a gap matters, but not how wide it is.
      rank += Math.min(version - last, 2);
      this.#ranks.push(rank);
      last = version;
    }
    this.orders = ordersOf(world.members.map((member, index) => this.#lookOf(member, index)));
  }

  encode(order: readonly number[], code: Code): void {
    this.#code = code;
    for (let place = 0; place < order.length; place++) this.#places[order[place] ?? 0] = place;
    const { record, previous, floor, isUp, left, members } = this.#world;
    this.#record(record);
    this.#record(left.failovers > 0 ? previous : undefined);
    this.#write(flags(isUp, floor > record.version + 1));
    for (const fault of FAULTS) this.#write(left[fault]);
    for (const index of order) {
      const member = members[index];
      if (member === undefined) continue;
      this.#write(this.#hostOf(index));
      this.#member(member);
    }
  }

  /** A process as it looks whatever the others are called. */
  #lookOf(member: Member, index: number): number {
    if (this.#world.members.length === 1) return 0;
    this.#code = looks;
    looks.length = 0;
    for (let other = 0; other < this.#world.members.length; other++) this.#places[other] = ANOTHER;
    this.#places[index] = SELF;
    this.#record(this.#world.record);
    this.#write(this.#hostOf(index));
    this.#member(member);
    let look = 7;
    for (let at = 0; at < looks.length; at++)
      look = Math.imul(look ^ (looks.values[at] ?? 0), 0x5bd1e995);
    return look;
  }

  /** Hosts with one well process each are alike. */
  #hostOf(index: number): number {
    const { fleet } = this.#world;
    const { hosts } = fleet;
    const first = hosts.indexOf(hosts[index] ?? "");
    const isShared = hosts.indexOf(hosts[index] ?? "", first + 1) >= 0;
    return (isShared ? 2 + 2 * first : 0) + (isSick(fleet, index) ? 1 : 0);
  }

  #write(value: number): void {
    this.#code.write(value);
  }

  #rank(version: number): number {
    return this.#ranks[this.#versions.indexOf(version)] ?? 0;
  }

  #member({ mode, process, notice, isDisconnected, late, isTaken }: Member): void {
    this.#write(MODES[mode]);
    this.#change(late?.change);
    if (mode === "dead") return;
    const { circuit, sync, timers, outstanding, probes, hanging } = process;
    const { reconciler } = sync;
    this.#write(probes * 8 + hanging);
    this.#write(
      flags(
        isDisconnected,
        isTaken && reconciler.opening,
        sync.needsRead,
        sync.isLoaded,
        reconciler.needsRenewal,
      ),
    );
    this.#write(flags(reconciler.isOwn, reconciler.opening?.isVote, reconciler.pending?.withdraws));
    this.#record(notice);
    this.#record(sync.notice);
    this.#record(reconciler.known);
    this.#circuit(circuit.state);
    const { pending, opening } = reconciler;
    this.#transition(pending?.transition);
    this.#write(flags(pending?.isLate, pending?.needsLease));
    // Whether it was sent is for storages without tags.
    this.#write(flags(opening, opening?.transition === pending?.transition));
    const { read, renew, leaseRequest } = sync.timers;
    const named = flags(read, renew, leaseRequest);
    const others = timers.length - ((named & 1) + ((named >> 1) & 1) + (named >> 2));
    this.#write(named * 8 + others);
    this.#write(IO[sync.io.kind]);
    this.#write(late === undefined ? 0 : age(late.openings, reconciler.openings));
    this.#outstanding(outstanding, member(process));
  }

  #circuit(state: Member["process"]["circuit"]["state"]): void {
    this.#write(STATES[state.status]);
    if (state.status === "CLOSED") return;
    const leftMs = state.until - NOW_MS;
    this.#write(leftMs <= 0 ? 0 : leftMs > 1e6 ? 2 : 1);
    if (state.status === "OPEN") return;
    this.#write((PROBERS[state.prober] * 8 + state.probesLeft) * 8 + state.successes);
  }

  #transition(transition: CircuitTransition | undefined): void {
    if (transition === undefined) {
      this.#write(0);
      return;
    }
    this.#write(1 + STATES[transition.to] * 2 + (transition.origin === "manual" ? 1 : 0));
  }

  #outstanding(
    outstanding: Outstanding | undefined,
    { pending, opening, openings }: ReturnType<typeof member>,
  ): void {
    if (outstanding === undefined) {
      this.#write(0);
      return;
    }
    const { offered, answer } = outstanding;
    this.#change(outstanding.change);
    if (outstanding.change?.to === "OPEN") this.#write(age(outstanding.openings, openings));
    this.#transition(offered);
    this.#write(
      flags(true, offered === pending, offered === opening, answer, answer?.changed === true),
    );
    this.#record(answer?.record);
  }

  #record(record: CircuitRecord | undefined): void {
    if (record === undefined) {
      this.#write(0);
      return;
    }
    const { state, version, probeOwner, openedBy, probeSuccesses, reason } = record;
    this.#write(1 + this.#rank(version));
    this.#write((STATES[state] * 3 + timeLeft(record)) * 8 + probeSuccesses);
    this.#write((this.#owner(probeOwner) * 16 + this.#opener(openedBy)) * 4);
    this.#write(flags(reason, isForged(record)));
    this.#votes(record);
  }

  /** By owner. A vote of one that can write no more counts by its host. */
  #votes(record: CircuitRecord): void {
    const votes = liveVotes(record).map(({ owner }) => {
      const { index } = nameOf(owner);
      return this.#owner(owner) * 16 + this.#hostOf(index);
    });
    this.#write(votes.length);
    for (const vote of votes.sort((a, b) => a - b)) this.#write(vote);
  }

  #change(change: CircuitChange | undefined): void {
    if (change === undefined) {
      this.#write(0);
      return;
    }
    const { to } = change;
    this.#write(1 + STATES[to]);
    this.#write(this.#rank(change.version));
    if (to === "CLOSED") this.#write(flags(change.byHand, change.withdraws));
    else if (to === "OPEN") {
      this.#write(flags(change.byHand, change.openSeconds > 0, (change.quorum ?? 1) > 1));
    } else this.#write((change.successes ?? 7) * 2 + flags(change.early));
  }

  /** 0 for no owner, 1 for one that can write no more, and then the place of a process. */
  #owner(text: string | null): number {
    if (text === null) return 0;
    const { index } = nameOf(text);
    const process = this.#world.members[index];
    if (process === undefined) return OTHER;
    if (process.mode === "dead" && process.late === undefined) return OTHER;
    return 2 + (this.#places[index] ?? 0);
  }

  /** As the owner, and whether it is its newest opening. */
  #opener(text: string | null): number {
    const owner = this.#owner(text);
    if (owner <= OTHER || text === null) return owner;
    const { index, opening } = nameOf(text);
    const openings = this.#world.members[index]?.process.sync.reconciler.openings;
    return owner * 2 + age(opening, openings ?? 0);
  }
}

const looks = new Code();

/** Every order in which the looks do not fall. */
function ordersOf(looks: readonly number[]): ReadonlyArray<readonly number[]> {
  const all = everyOrder(looks.length);
  return all.filter((order) =>
    order.every(
      (index, place) => place === 0 || (looks[order[place - 1] ?? 0] ?? 0) <= (looks[index] ?? 0),
    ),
  );
}

const orders: Array<ReadonlyArray<readonly number[]>> = [];
function everyOrder(count: number): ReadonlyArray<readonly number[]> {
  orders[count] ??= permutations(count);
  return orders[count];
}

const names = new Map<string, { readonly index: number; readonly opening: number }>();

/** Process n calls itself "Pn", and its third opening "Pn 3". */
function nameOf(text: string) {
  let name = names.get(text);
  if (name === undefined) {
    const [owner = "", opening = "0"] = text.split(" ");
    name = { index: owner.startsWith("P") ? Number(owner.slice(1)) : -1, opening: Number(opening) };
    names.set(text, name);
  }
  return name;
}

function member({ sync }: Member["process"]) {
  const { pending, opening, openings } = sync.reconciler;
  return { pending: pending?.transition, opening: opening?.transition, openings };
}

function age(openings: number, newest: number): number {
  return openings === newest ? 0 : 1;
}

function flags(a: unknown, b?: unknown, c?: unknown, d?: unknown, e?: unknown): number {
  return (a ? 1 : 0) | (b ? 2 : 0) | (c ? 4 : 0) | (d ? 8 : 0) | (e ? 16 : 0);
}

function versionsOf({ record, previous, left, members }: World): number[] {
  const versions = [record.version];
  if (previous !== undefined && left.failovers > 0) versions.push(previous.version);
  for (const { mode, process, notice, late } of members) {
    if (late !== undefined) versions.push(late.change.version);
    if (mode === "dead") continue;
    const { sync, outstanding } = process;
    const { known } = sync.reconciler;
    if (notice !== undefined) versions.push(notice.version);
    if (sync.notice !== undefined) versions.push(sync.notice.version);
    if (known !== undefined) versions.push(known.version);
    if (outstanding?.change !== undefined) versions.push(outstanding.change.version);
    if (outstanding?.answer !== undefined) versions.push(outstanding.answer.record.version);
  }
  return versions;
}
