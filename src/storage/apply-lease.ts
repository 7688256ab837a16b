import type { PermitDecision, PermitPool, PermitRequest, PermitShare } from "./permit-lease.js";

/** A pool that no bulkhead has used. */
export const EMPTY_POOL: PermitPool = {
  limitSet: null,
  askedAt: 0,
  learnsSince: 0,
  learnsMs: 0,
  noticedAt: 0,
  nextTurn: 1,
  shares: [],
};

/** At most one notice in this time: more would only repeat it. */
const NOTICE_MS = 50;

/** The turns of owners that never held a permit lie this far before those of the others. */
const NEVER = 2 ** 40;

/** Renewals after which an owner has asked again: one is late by a tenth at most, and then as long as its query takes. */
const RENEWAL_TOLERANCE = 1.2;

/**
 * Decides a request for permits by the rules of every storage. Pure: it goes by its arguments alone. A custom storage reads
 * the pool, applies the request and writes the result, in one atomic step. The pattern is that of YouTube's Doorman:
 * leases, demands and max-min fair shares.
 *
 * - The sum of the permits whose lease lasts never exceeds the limit, but for what owners keep when the limit was lowered.
 * - Shares are max-min fair by what owners want. One that is alone may have everything; more than the fair share is
 *   granted only while every other owner has its own.
 * - When there are fewer permits than owners that want one, those come first whose permits last rose from 0 the longest ago.
 * - After the storage was away for so long that leases ran out, or do before their owners have asked again, these still
 *   count for one lease: their owners may use them.
 *
 * @param pool the permits in the storage
 * @param request what a bulkhead asks for
 * @param now milliseconds since the epoch by the storage's clock
 */
export function applyLease(pool: PermitPool, request: PermitRequest, now: number): PermitDecision {
  const { shares: counted, ...learning } = learn(pool, request, now);
  const isLearning = learning.learnsSince > 0;
  // A clock that was set back must not prolong a lease.
  const shares = counted
    .map((share) => (share.askedAt > now ? { ...share, askedAt: now } : share))
    .filter((share) => isLearning || !isOver(share, now));
  const known = shares.find(({ owner }) => owner === request.owner);
  const others = shares.filter((share) => share !== known);
  const rivals = others.filter((share) => !isOver(share, now));
  const before = known ?? newShare(request.owner, pool);
  const { permits: held, turn } = before;
  const isLate = known !== undefined && known.sequence >= request.sequence;
  const asking: PermitShare = isLate ? before : { ...before, ...demandOf(request), askedAt: now };

  const limit = pool.limitSet ?? Math.min(asking.limit, ...others.map((share) => share.limit));
  const split = fairSplit(limit, [...rivals, asking]);
  const fair = shareOf(split, asking);
  const areOthersShort = rivals.some((share) => lacks(share.permits, share, split));
  const free = limit - others.reduce((sum, { permits }) => sum + permits, 0);
  const granted = Math.min(asking.wants, free, areOthersShort ? fair : limit);
  const permits = isLate ? held : Math.max(Math.min(request.keep, held), granted, 0);
  const isContended = areOthersShort || permits > Math.max(free, 0);

  const isNew = known === undefined;
  const hasRisen = held === 0 && permits > 0;
  const after = { ...asking, permits, turn: hasRisen ? pool.nextTurn : turn };
  const givesAll = !isLate && request.want === 0 && request.keep === 0;
  const gives = permits < held && areOthersShort;
  const isNoticeDue = now < pool.noticedAt || now >= pool.noticedAt + NOTICE_MS;
  const isNoticed = !isLate && isNoticeDue && (gives || lacks(permits, asking, split));
  return {
    pool: {
      limitSet: pool.limitSet,
      ...learning,
      askedAt: now,
      noticedAt: isNoticed ? now : pool.noticedAt,
      nextTurn: pool.nextTurn + (isNew || hasRisen ? 1 : 0),
      shares: givesAll ? others : [...others, after],
    },
    grant: { permits, fair, limit, processes: others.length + 1, isContended, turn: after.turn },
    notice: isNoticed ? { ...split, gives } : undefined,
  };
}

function demandOf({ sequence, limit, keep, want, leaseSeconds }: PermitRequest) {
  return { sequence, limit, wants: Math.max(want, keep), leaseMs: leaseSeconds * 1000 };
}

/** Whether an owner that holds `permits` wants more, and has less than its fair share. */
function lacks(permits: number, share: PermitShare, split: Split): boolean {
  return permits < Math.min(share.wants, shareOf(split, share));
}

/** Whether the storage learns, from this request on or still, and the shares that it goes by. */
function learn(pool: PermitPool, request: PermitRequest, now: number) {
  const learnsSince = Math.min(pool.learnsSince, now);
  if (learnsSince > 0 && now < learnsSince + pool.learnsMs) {
    return { learnsSince, learnsMs: pool.learnsMs, shares: pool.shares };
  }
  // Those that did not ask while the storage learned are gone: it must not learn for them again.
  const shares = pool.shares.filter((share) => share.askedAt >= learnsSince || !isOver(share, now));
  const renewalMs = RENEWAL_TOLERANCE * request.renewSeconds * 1000;
  const wasAway = now - pool.askedAt > renewalMs;
  // Its owner renewed it in time for as long as it could, and may not have got through again before it runs out.
  const needsTime = ({ owner, askedAt, leaseMs }: PermitShare) =>
    owner !== request.owner &&
    askedAt >= pool.askedAt - renewalMs &&
    now + renewalMs > askedAt + leaseMs;
  return wasAway && shares.some(needsTime)
    ? { learnsSince: now, learnsMs: request.leaseSeconds * 1000, shares }
    : { learnsSince: 0, learnsMs: 0, shares };
}

function isOver({ askedAt, leaseMs }: PermitShare, now: number): boolean {
  return now >= askedAt + leaseMs;
}

function newShare(owner: string, pool: PermitPool): PermitShare {
  return {
    owner,
    sequence: 0,
    limit: 1,
    permits: 0,
    wants: 0,
    turn: pool.nextTurn - NEVER,
    askedAt: 0,
    leaseMs: 0,
  };
}

/** How permits are split: everyone's fair share, and, when that is 0, the last turn that has a share of 1. */
interface Split {
  readonly fair: number;
  readonly lastTurn: number;
}

/** Max-min fair: owners that want little get that, and the rest is shared equally. */
export function fairSplit(
  limit: number,
  shares: ReadonlyArray<Pick<PermitShare, "wants" | "turn">>,
): Split {
  const wants = shares.map((share) => share.wants).sort((one, other) => one - other);
  let left = limit;
  let count = wants.length;
  for (const want of wants) {
    if (want > Math.floor(left / count)) break;
    left -= want;
    count--;
  }
  const fair = count === 0 ? limit : Math.floor(left / count);
  if (fair > 0) return { fair, lastTurn: 0 };
  const turns = shares.filter((share) => share.wants > 0).map((share) => share.turn);
  turns.sort((one, other) => one - other);
  return { fair, lastTurn: turns[limit - 1] ?? 0 };
}

function shareOf({ fair, lastTurn }: Split, { turn }: PermitShare): number {
  return fair > 0 || turn > lastTurn ? fair : 1;
}
