import type { PermitPool } from "../../src/storage/permit-lease.js";
import { takenBack } from "./fleet-storage-moves.js";
import {
  type FleetSettings,
  isOver,
  type Member,
  NOW_MS,
  shareOf,
  TICK_MS,
  type Times,
  type World,
} from "./fleet-world.js";

/** More than that many ticks without a start are as many. */
const MOST_STARVED = 6;

/**
 * The world one tick later; `undefined` when something has to happen before: a function is at its time limit, a request
 * has to be answered or fail, or a renewal is due.
 */
export function afterTick(world: World, settings: FleetSettings): World | undefined {
  const { times } = settings;
  if (times === undefined || world.members.some((member) => isDue(member, times))) return undefined;
  const pool = older(world.pool);
  const previous = world.previous && older(world.previous);
  const members = world.members.map((member, index) => {
    if (member.mode === "dead") return member;
    const share = shareOf(pool, index);
    const isTakenBack = member.mode === "frozen" && (share === undefined || isOver(share));
    return { ...aged(member, times), ...(isTakenBack ? takenBack(member) : {}) };
  });
  return { ...world, pool, previous, members };
}

function isDue(member: Member, { timeout, retry, renew }: Times): boolean {
  const { mode, calls, request, notice, isActive, isUrgent, permits, askedAge } = member;
  if (mode !== "live") return false;
  if (request !== undefined || notice !== undefined || calls[timeout] !== 0) return true;
  return isActive && (isUrgent || askedAge >= (permits.isFailing ? retry : renew));
}

/** Times that are over are over by no more than a tick: nothing depends on the rest. */
function older(pool: PermitPool): PermitPool {
  const shares = pool.shares.map((share) => ({
    ...share,
    askedAt: Math.max(share.askedAt - TICK_MS, NOW_MS - share.leaseMs),
  }));
  const longest = Math.max(0, ...shares.map(({ leaseMs }) => leaseMs));
  return {
    ...pool,
    shares,
    askedAt: pool.askedAt === 0 ? 0 : Math.max(pool.askedAt - TICK_MS, NOW_MS - longest - TICK_MS),
    learnsSince:
      pool.learnsSince === 0 ? 0 : Math.max(pool.learnsSince - TICK_MS, NOW_MS - pool.learnsMs),
  };
}

function aged(member: Member, { timeout, renew }: Times): Member {
  const { calls, request, permits, hasCalls, couldStart } = member;
  const waits = hasCalls && !couldStart && member.mode === "live";
  return {
    ...member,
    // Those of a frozen process stay as old as they may become.
    calls: calls.map(
      (_, age) => (age > 0 ? at(calls, age - 1) : 0) + (age === timeout ? at(calls, age) : 0),
    ),
    askedAge: member.isActive ? Math.min(member.askedAge + 1, renew) : 0,
    request: request && { ...request, age: request.age + 1 },
    permits: { ...permits, until: Math.max(permits.until - TICK_MS, NOW_MS) },
    starved: waits ? Math.min(member.starved + 1, MOST_STARVED) : 0,
    couldStart: false,
  };
}

function at(values: readonly number[], index: number): number {
  return values[index] ?? 0;
}

/** A process that has not asked yet. */
export function newMember(settings: FleetSettings, permits: Member["permits"]): Member {
  return {
    mode: "live",
    permits: { ...permits, until: NOW_MS },
    hasCalls: false,
    isActive: false,
    isUrgent: false,
    calls: new Array<number>((settings.times?.timeout ?? 0) + 1).fill(0),
    askedAge: 0,
    request: undefined,
    late: undefined,
    notice: undefined,
    isCut: false,
    isUnanswered: false,
    strays: 0,
    isTakenBack: false,
    hasExtra: false,
    apart: undefined,
    lost: 0,
    starved: 0,
    couldStart: false,
  };
}
