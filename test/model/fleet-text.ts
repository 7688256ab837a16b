import type { Keep } from "../../src/fleet/permits.js";
import type { PermitGrant, PermitNotice } from "../../src/storage/permit-lease.js";
import {
  inUse,
  isLeased,
  isOver,
  type Member,
  NOW_MS,
  shareOf,
  type World,
} from "./fleet-world.js";

export function showKeep(keep: Keep | undefined): string {
  return keep === undefined ? "nothing" : `${keep.sequence}: keep ${keep.keep}, want ${keep.want}`;
}

export function showGrant({ permits, fair, processes, isContended, turn }: PermitGrant): string {
  const others = isContended ? ", another lacks some" : "";
  return `${permits} granted, fair ${fair} of ${processes}, turn ${turn}${others}`;
}

export function showNotice({ fair, lastTurn, gives }: PermitNotice): string {
  return `fair ${fair}, last turn ${lastTurn}${gives ? ", some given back" : ""}`;
}

export function describeFleet(world: World, usable: readonly number[]): string {
  const { pool, isUp, members } = world;
  const ago = pool.askedAt === 0 ? "never" : `${NOW_MS - pool.askedAt} ms ago`;
  const learns = pool.learnsSince > 0 ? `, learns since ${NOW_MS - pool.learnsSince} ms` : "";
  return [
    `storage${isUp ? "" : " (away)"}, asked ${ago}${learns}`,
    ...members.map((member, index) => `P${index}: ${describeMember(world, member, index, usable)}`),
  ].join("; ");
}

function describeMember(
  { pool }: World,
  member: Member,
  index: number,
  usable: readonly number[],
): string {
  const { permits, request, strays, lost } = member;
  const share = shareOf(pool, index);
  const over = share !== undefined && isOver(share) ? " (over)" : "";
  return [
    `${member.mode}${member.isCut ? " cut off" : ""}`,
    member.mode !== "dead" &&
      `${inUse(member)} run, usable ${usable[index]}, permits ${permits.permits}, cap ${permits.cap}`,
    member.mode !== "dead" && (isLeased(member) ? "leased" : "no lease"),
    permits.isFailing && "failing",
    member.hasCalls && "calls wait",
    member.isActive && "active",
    strays > 0 && `${strays} strays`,
    lost > 0 && `${lost} lost`,
    member.hasExtra && "an extra one",
    member.starved > 0 && `starved ${member.starved}`,
    request && `sent ${showKeep(request.keep)}${request.grant ? " (answered)" : ""}`,
    share === undefined
      ? "no share"
      : `share ${share.permits} of ${share.wants} wanted, ${NOW_MS - share.askedAt} ms old${over}`,
  ]
    .filter(Boolean)
    .join(", ");
}
