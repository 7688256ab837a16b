import type { Keep } from "../../src/fleet/permits.js";
import type { PermitGrant, PermitPool } from "../../src/storage/permit-lease.js";
import type { Move } from "./checker.js";
import {
  type FleetCode,
  type FleetSettings,
  held,
  inUse,
  isLeased,
  isOver,
  type Member,
  NOW_MS,
  ownerOf,
  replace,
  shareOf,
  spend,
  type World,
} from "./fleet-world.js";

export type Report = (move: Move<World>) => void;

/** What can be left out of that which the storage is told. */
export interface StorageRules {
  readonly code: FleetCode;
  /** A lease is asked for so long that the functions that began under it have ended with it. */
  readonly leaseCoversTimeout: boolean;
}

/** Without a clock a lease is a number that stands for itself. */
const FREE_LEASE_SECONDS = 10;
const FREE_RENEW_SECONDS = 1;

/** How long the storage is asked to reckon with the permits. */
function leaseSeconds({ times }: FleetSettings, { leaseCoversTimeout }: StorageRules) {
  if (times === undefined) return FREE_LEASE_SECONDS;
  return times.lease + (leaseCoversTimeout ? times.timeout : 0);
}

/** The storage decides on a request, and tells every process that is connected. */
export function carryOut(
  world: World,
  index: number,
  keep: Keep,
  settings: FleetSettings,
  rules: StorageRules,
): { readonly world: World; readonly grant: PermitGrant } {
  const request = {
    name: "model",
    owner: ownerOf(index),
    limit: settings.limit,
    ...keep,
    leaseSeconds: leaseSeconds(settings, rules),
    renewSeconds: settings.times?.renew ?? FREE_RENEW_SECONDS,
  };
  const { pool, grant, notice } = rules.code.applyLease(world.pool, request, NOW_MS);
  const members =
    notice === undefined
      ? world.members
      : world.members.map((member) =>
          member.mode === "dead" || member.isCut ? member : { ...member, notice },
        );
  // Notices that come too soon after another one are as good as lost.
  const noticedAt = 0;
  const previous = world.left.restores > 0 ? world.pool : undefined;
  return { world: { ...world, pool: { ...pool, noticedAt }, previous, members }, grant };
}

/** What the storage does by itself. */
export function storageMoves(world: World, settings: FleetSettings, report: Report): void {
  const { isUp, left, previous } = world;
  const move = (label: string, isGood: boolean, next: World) =>
    report({ label: () => label, next, isGood, broken: undefined });
  if (!isUp) move("the storage is back", settings.recovers ?? true, { ...world, isUp: true });
  if (isUp && left.outages > 0) {
    move("the storage is away", false, { ...spend(world, "outages"), isUp: false });
  }
  if (isUp && left.restores > 0 && previous !== undefined) {
    move("the storage comes back without its last write", false, restore(world, previous));
  }
  if (settings.times !== undefined) return;
  for (const [index, member] of world.members.entries()) {
    const share = shareOf(world.pool, index);
    if (share === undefined || isOver(share)) continue;
    if (!mayEnd(member, settings)) continue;
    move(`storage: the lease of ${ownerOf(index)} is over`, true, endLease(world, index));
  }
}

/** Without a clock: whether the storage's end of a lease can come now. */
function mayEnd(member: Member, { fallback }: FleetSettings): boolean {
  if (member.mode !== "live" || member.lost > 0) return true;
  if (isLeased(member)) return false;
  if (fallback !== "share") return inUse(member) === member.strays;
  // Otherwise it has asked again in time, or what it uses ends before.
  const { isFailing } = member.permits;
  return member.isCut || (!isFailing && member.request === undefined && inUse(member) === 0);
}

/** The storage's end of a lease comes after the process's. */
function endLease(world: World, index: number): World {
  const shares = world.pool.shares.map((share) =>
    share.owner === ownerOf(index) ? { ...share, askedAt: NOW_MS - share.leaseMs } : share,
  );
  const next = { ...world, pool: { ...world.pool, shares } };
  const member = world.members[index];
  if (member === undefined) return next;
  const { request } = member;
  return replace(next, index, {
    ...(member.mode === "frozen" ? takenBack(member) : {}),
    // The process counts from when it asked, and the storage from when it carried that out.
    permits: { ...member.permits, until: Math.min(member.permits.until, NOW_MS) },
    request: request?.grant === undefined ? request : { ...request, age: 1 },
  });
}

/** The storage has taken back the permits of a process that is frozen: what that does on waking. */
export function takenBack(member: Member): Pick<Member, "strays" | "apart" | "isTakenBack"> {
  const { permits, apart } = member;
  const strays = inUse(member);
  // Without an answer it goes on as if it was cut off, until it has one.
  const { isFailing } = permits;
  return { strays, isTakenBack: true, apart: isFailing ? Math.max(held(permits), strays) : apart };
}

function restore(world: World, previous: PermitPool): World {
  const members = world.members.map((member, index) => {
    const newer = shareOf(world.pool, index);
    const older = shareOf(previous, index);
    if (newer === undefined || newer.sequence === older?.sequence) return member;
    const { request } = member;
    const isLost = request?.grant !== undefined;
    return {
      ...member,
      lost: Math.max(member.lost, newer.permits, older?.permits ?? 0),
      request: isLost ? { ...request, isLost } : request,
    };
  });
  return { ...spend(world, "restores"), pool: previous, previous: undefined, members };
}
