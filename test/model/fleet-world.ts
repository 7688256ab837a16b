import type { FleetFallback } from "../../src/config.js";
import type { Keep, newPermitsState, Permits, PermitsState } from "../../src/fleet/permits.js";
import type { applyLease } from "../../src/storage/apply-lease.js";
import type {
  PermitGrant,
  PermitNotice,
  PermitPool,
  PermitShare,
} from "../../src/storage/permit-lease.js";

/** The code under test: the real one, or a mutant of it. */
export interface FleetCode {
  readonly applyLease: typeof applyLease;
  readonly Permits: typeof Permits;
  readonly newPermitsState: typeof newPermitsState;
}

/** What may go wrong, and how often in one run. */
export const FLEET_FAULTS = [
  "idles",
  "crashes",
  "freezes",
  "outages",
  "cuts",
  "lostAnswers",
  "lateRequests",
  "lostNotices",
  "restores",
] as const;
export type FleetFault = (typeof FLEET_FAULTS)[number];
export type FleetFaults = { readonly [fault in FleetFault]: number };

/** How long things take, in ticks of the clock that the fleet shares. */
export interface Times {
  /** Until a process asks again, at most. */
  readonly renew: number;
  /** The same, when the storage did not answer. */
  readonly retry: number;
  /** How long a process uses a lease. */
  readonly lease: number;
  /** How long a function runs at most. */
  readonly timeout: number;
}

export interface FleetSettings {
  readonly processes: number;
  readonly limit: number;
  /** Every bulkhead's `maxConcurrentCalls`. */
  readonly most: number;
  readonly fallback: FleetFallback;
  /** Default: time is free, and every lease ends when the model says so. */
  readonly times?: Times | undefined;
  /** Whether the storage is back in the end. If not, every process is to go on as its fallback says. Default: it is. */
  readonly recovers?: boolean | undefined;
}

/** A request on its way to the storage, or its answer on its way back. */
interface SentRequest {
  readonly keep: Keep;
  readonly grant: PermitGrant | undefined;
  /** Ticks since it was sent. Without a clock: 1 when the lease is over in the storage already. */
  readonly age: number;
  /** What was granted is not in the storage any more: that has come back older. */
  readonly isLost: boolean;
}

export interface Member {
  readonly mode: "live" | "frozen" | "dead";
  readonly permits: Readonly<PermitsState>;
  /** Calls keep coming. */
  readonly hasCalls: boolean;
  /** Its requests go on: calls came since it last gave everything back. */
  readonly isActive: boolean;
  /** Functions that run, by their age in ticks. Without a clock all have age 0. */
  readonly calls: readonly number[];
  /** With a clock: it asks before the next tick. */
  readonly isUrgent: boolean;
  /** Ticks since it asked last. */
  readonly askedAge: number;
  readonly request: SentRequest | undefined;
  /** A request that its process has given up, and that can still arrive. */
  readonly late: Keep | undefined;
  /** The newest notice on its way to this process. */
  readonly notice: PermitNotice | undefined;
  /** It does not reach the storage. */
  readonly isCut: boolean;
  /** The end of its last request was that no answer came. */
  readonly isUnanswered: boolean;

  // What the faults excuse

  /**
   * Functions that run without a permit: the storage took it back while the process was frozen or cut off, or lost it, or
   * they began while only the limit of the process counted.
   */
  readonly strays: number;
  /** A function was started without any permit: one at a time, because the storage does not answer. */
  readonly hasExtra: boolean;
  /** The storage took its permits back while it was frozen, and it has had no answer since. */
  readonly isTakenBack: boolean;
  /** It was cut off, and has not been told yet what it has now: what it could use then. */
  readonly apart: number | undefined;
  /** What the storage granted to it and has forgotten, by coming back older. */
  readonly lost: number;

  /** Ticks for which its calls have waited while it could start none. */
  readonly starved: number;
  /** It could have started a function since the last tick. */
  readonly couldStart: boolean;
}

/** Everything: the storage, and the processes. Plain data, which is replaced and never changed. */
export interface World {
  readonly pool: PermitPool;
  /** The pool before the last write, as long as the storage may come back older. */
  readonly previous: PermitPool | undefined;
  readonly isUp: boolean;
  readonly left: FleetFaults;
  readonly members: readonly Member[];
}

/** The time on every clock: what passes are the times of the past, which move away from it. */
export const NOW_MS = 1_000_000;
export const TICK_MS = 1000;

export function ownerOf(index: number): string {
  return `P${index}`;
}

export function shareOf(pool: PermitPool, index: number): PermitShare | undefined {
  const owner = ownerOf(index);
  return pool.shares.find((share) => share.owner === owner);
}

export function isOver({ askedAt, leaseMs }: PermitShare): boolean {
  return NOW_MS >= askedAt + leaseMs;
}

/** The permits with which the storage reckons for a process. */
export function countedOf(pool: PermitPool, index: number): number {
  const share = shareOf(pool, index);
  return share !== undefined && (!isOver(share) || isLearning(pool)) ? share.permits : 0;
}

function isLearning({ learnsSince, learnsMs }: PermitPool): boolean {
  return learnsSince > 0 && NOW_MS < learnsSince + learnsMs;
}

export function isLeased({ permits }: Member): boolean {
  return NOW_MS < permits.until && held(permits) > 0;
}

export function held({ permits, cap }: Readonly<PermitsState>): number {
  return Math.min(permits, cap);
}

export function inUse({ calls }: Member): number {
  let sum = 0;
  for (const count of calls) sum += count;
  return sum;
}

export function replace(world: World, index: number, change: Partial<Member>): World {
  const members = world.members.map((member, at) =>
    at === index ? { ...member, ...change } : member,
  );
  return { ...world, members };
}

export function spend(world: World, fault: FleetFault): World {
  if (world.left[fault] === Number.MAX_SAFE_INTEGER) return world;
  return { ...world, left: { ...world.left, [fault]: world.left[fault] - 1 } };
}

/** The calls with one more of this age, or one less. */
export function withCalls(calls: readonly number[], age: number, change: 1 | -1): number[] {
  return calls.map((count, at) => (at === age ? count + change : count));
}
