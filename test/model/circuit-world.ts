import { closedRecord } from "../../src/storage/apply-change.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
} from "../../src/storage/circuit-storage.js";
import { liveVotes, votingHosts } from "../../src/storage/votes.js";
import { type CircuitCode, LEASE_MS, type ProcessState } from "./circuit-process.js";

/** What may go wrong, or be decided by somebody, and how often in one run. */
export const FAULTS = [
  "openings",
  "probeFailures",
  "hangs",
  "crashes",
  "shutdowns",
  "outages",
  "lostAnswers",
  "lateClaims",
  "lostNotices",
  "forgedNotices",
  "healthFailures",
  "healthPasses",
  "hands",
  "operators",
  "otherVotes",
  "pythonWrites",
  "failovers",
] as const;
export type Fault = (typeof FAULTS)[number];
export type Faults = { readonly [fault in Fault]: number };

/** A write that its process has given up, and that still can arrive. */
interface LateWrite {
  readonly change: CircuitChange;
  readonly openings: number;
}

export const QUORUM_RULES = {
  few: "the record opens with the votes of fewer hosts than the quorum",
  voterProbes: "a host gets the lease while it has a vote",
  standing: "a quorum of votes opens nothing",
} as const;

/** Where the processes run, and what does not change in one run. */
export interface Fleet {
  readonly applyChange: CircuitCode["applyChange"];
  /** The host of each process. */
  readonly hosts: readonly string[];
  readonly openQuorum: number;
  /** Every call on this host fails, for good. */
  readonly sickHost: string | undefined;
}

export interface Member {
  readonly mode: "live" | "leaving" | "dead";
  readonly process: ProcessState;
  /** The newest notice on its way to this process. */
  readonly notice: CircuitRecord | undefined;
  /** Its listening connection is lost. */
  readonly isDisconnected: boolean;
  readonly late: LateWrite | undefined;
  /** The storage has made the newest opening of this process. */
  readonly isTaken: boolean;
}

/** Everything: the database, and the processes. Plain data, which is replaced and never changed. */
export interface World {
  readonly fleet: Fleet;
  readonly record: CircuitRecord;
  /** The record before the last write, which a failover goes back to. */
  readonly previous: CircuitRecord | undefined;
  /** No version below it is given to a record any more. */
  readonly floor: number;
  readonly isUp: boolean;
  readonly left: Faults;
  readonly members: readonly Member[];
}

const FIRST_VERSION = 1000;
const START_MS = 1_000_000;
const FOREVER_MS = 1e12;

export function firstRecord(): CircuitRecord {
  return closedRecord(FIRST_VERSION, new Date(START_MS));
}

/** How long a time of a record is away from when it was read: not at all, a while, or for ever. */
export function timeLeft({ state, openUntil, probeUntil, readAt }: CircuitRecord): 0 | 1 | 2 {
  const until = state === "OPEN" ? openUntil : probeUntil;
  const ms = until === null ? 0 : until.getTime() - readAt.getTime();
  if (ms <= 0) return 0;
  return ms >= FOREVER_MS ? 2 : 1;
}

/** The record as it is read when its isolation or its lease is over. */
export function over(record: CircuitRecord): CircuitRecord {
  const until = record.state === "OPEN" ? record.openUntil : record.probeUntil;
  const readAt = until ?? record.readAt;
  const passedMs = readAt.getTime() - record.readAt.getTime();
  // Each vote ends when the model says so.
  const votes = liveVotes(record).map((vote) => ({
    ...vote,
    until: new Date(vote.until.getTime() + passedMs),
  }));
  return { ...record, votes, readAt };
}

/** The storage's own guards, and the properties of its history that everything else relies on. */
export function change(
  { record: before, floor, fleet }: World,
  asked: CircuitChange,
): CircuitChangeResult & { readonly broken: string | undefined } {
  const options = { leaseSeconds: LEASE_MS / 1000 };
  const { changed, record } = fleet.applyChange(before, asked, before.readAt, options);
  if (!changed) return { changed, record, broken: undefined };
  const version = Math.max(record.version, floor);
  return {
    changed,
    record: { ...record, version },
    broken: brokenBy(fleet, before, asked, record),
  };
}

function brokenBy(
  fleet: Fleet,
  before: CircuitRecord,
  asked: CircuitChange,
  after: CircuitRecord,
): string | undefined {
  if (asked.to !== "HALF_OPEN" && asked.byHand) return undefined;
  if (asked.to === "CLOSED" && asked.withdraws) return undefined;
  if (asked.to === "OPEN" && after.state === "OPEN" && before.version !== after.version) {
    const voters = new Set(votingHosts(liveVotes(before)));
    voters.add(hostOf(fleet, asked.owner));
    const isMoved = before.state !== "OPEN" || timeLeft(before) !== timeLeft(after);
    if (isMoved && voters.size < fleet.openQuorum) {
      return QUORUM_RULES.few;
    }
  }
  const isVote = asked.to === "OPEN" && after.state === before.state;
  if (isVote) return undefined;
  const isLive = timeLeft(before) > 0;
  const isEarly = asked.to === "HALF_OPEN" && asked.early;
  if (before.state === "OPEN" && isLive && !isEarly) return "a change ends a live isolation";
  const isOthers = before.state === "HALF_OPEN" && before.probeOwner !== asked.owner;
  const isClaim = asked.to === "HALF_OPEN" && !asked.early && (isOthers || before.state === "OPEN");
  const host = hostOf(fleet, asked.owner);
  if (isClaim && votingHosts(liveVotes(before)).includes(host)) {
    return QUORUM_RULES.voterProbes;
  }
  if (isOthers && isLive) return "a change is made under the lease of another process";
  return undefined;
}

/** Process n calls itself "Pn". */
function hostOf({ hosts }: Fleet, owner: string): string {
  return hosts[Number(owner.slice(1))] ?? owner;
}

/** Whether every call of the process fails, for good. */
export function isSick({ hosts, sickHost }: Fleet, index: number): boolean {
  return sickHost !== undefined && hosts[index] === sickHost;
}

/** A quorum has voted, and the record is closed: nothing would open it any more. */
export function standingQuorum({ record, fleet }: World): string | undefined {
  const isQuorum = votingHosts(liveVotes(record)).length >= fleet.openQuorum;
  return isQuorum && record.state === "CLOSED" ? QUORUM_RULES.standing : undefined;
}

/** The record when the isolation of one vote is over. */
export function withoutVote(record: CircuitRecord, owner: string): CircuitRecord {
  const votes = record.votes?.filter((vote) => vote.owner !== owner) ?? [];
  return { ...record, votes };
}

/** What Python's client writes without looking, as the trigger leaves it. */
export function writtenByPython(
  { record, floor }: World,
  state: CircuitRecord["state"],
): CircuitRecord | undefined {
  if (record.state === state) return undefined;
  const now = record.readAt;
  const { openedBy } = record;
  const version = Math.max(record.version + 1, floor);
  const closed = { ...closedRecord(version, now), openedBy };
  if (state !== "OPEN") return { ...closed, state };
  const openUntil = new Date(now.getTime() + LEASE_MS);
  return { ...closed, state, openUntil, openedBy: null, failureCount: 1 };
}

const forgeries = new WeakSet<CircuitRecord>();

export function isForged(record: CircuitRecord | undefined): boolean {
  return record !== undefined && forgeries.has(record);
}

/** Notices that anyone can send, as harmful as can be. `tag` is the newest opening of their receiver. */
export function forgedNotices(record: CircuitRecord, owner: string, tag: string): CircuitRecord[] {
  const now = record.readAt;
  const next = record.version + 1;
  const far = record.version + 1_000_000;
  const never = new Date(now.getTime() + FOREVER_MS);
  const probed = (version: number, probeOwner: string): CircuitRecord => ({
    ...closedRecord(version, now),
    ...{ state: "HALF_OPEN", probeOwner, probeUntil: never },
  });
  const open = (version: number): CircuitRecord => ({
    ...closedRecord(version, now),
    ...{ state: "OPEN", openUntil: never },
  });
  const made = [
    open(next),
    open(far),
    { ...closedRecord(next, now), openedBy: tag },
    { ...closedRecord(far, now), openedBy: tag },
    probed(far, "nobody"),
    probed(far, owner),
  ];
  for (const each of made) forgeries.add(each);
  return made;
}

export function spend(world: World, fault: Fault): World {
  return { ...world, left: { ...world.left, [fault]: world.left[fault] - 1 } };
}

export function replace(world: World, index: number, member: Member): World {
  return { ...world, members: world.members.with(index, member) };
}

/** Nothing comes of a notice that is known: it need not be on its way. */
export function withoutOldNews(member: Member): Member {
  const { notice, process } = member;
  const { known, pending } = process.sync.reconciler;
  if (notice === undefined || known === undefined || notice.version > known.version) return member;
  const isIdle = process.outstanding === undefined;
  const wakesUp = isIdle && pending !== undefined;
  // The answer can show that what is known was forged: then the notice is news.
  const canBeNews = !isIdle && isForged(known);
  return wakesUp || canBeNews ? member : { ...member, notice: undefined };
}

export function die(member: Member): Member {
  return { ...member, mode: "dead", notice: undefined, isDisconnected: false, isTaken: false };
}

/** The record has changed: every process that listens is told. */
export function write(world: World, record: CircuitRecord): World {
  const members = world.members.map((member) =>
    member.mode === "live" && !member.isDisconnected ? { ...member, notice: record } : member,
  );
  return {
    ...world,
    record,
    previous: world.left.failovers > 0 ? world.record : undefined,
    members,
  };
}

/** Without the last write, and without a connection. */
export function failOver(world: World, record: CircuitRecord): World {
  const members = world.members.map((member, index) => {
    if (member.mode !== "live") return member;
    const { openings, opening } = member.process.sync.reconciler;
    // A vote that is lost with the write is given anew by the next probe that fails.
    const isKept = opening?.isVote || record.openedBy === `P${index} ${openings}`;
    const isTaken = member.isTaken && isKept;
    return { ...member, notice: undefined, isDisconnected: true, isTaken };
  });
  // A database counts versions by its clock: it uses none again.
  const floor = world.record.version + 1;
  return { ...spend(world, "failovers"), record, previous: undefined, floor, members };
}

/** A storage that knew a higher version, of no forged notice, gives the record that it reads a new one. */
export function renew(world: World, index: number): World {
  const { known } = world.members[index]?.process.sync.reconciler ?? {};
  if (known === undefined || known.version <= world.record.version) return world;
  if (known.version > world.record.version + 1000) return world;
  return write(world, { ...world.record, version: known.version + 1 });
}
