import {
  countedOf,
  type FleetSettings,
  held,
  inUse,
  isLeased,
  type Member,
  type World,
} from "./fleet-world.js";

export const FLEET_RULES = {
  overLimit: "more functions run, or may start, than the limit and the faults allow",
  cutOff: "a process that is cut off uses more than it could before",
  unlimited: "only the limit of a process counts, although it has a lease or an answer",
  limited: "more than the limit of a process counts, although it has neither a lease nor an answer",
  overGranted: "the storage has granted more than the limit",
  starved: "calls of a process wait for too long",
} as const;

/** How many functions of a process run, or may start without a further answer. */
function live(member: Member, usable: number): number {
  if (member.mode === "dead") return 0;
  return Math.max(inUse(member) - member.strays, usable);
}

/** A function beyond what the storage reckons with: one at a time, while the storage does not answer. */
function extraOf(member: Member, usable: number): number {
  const { isFailing } = member.permits;
  const usesExtra = isFailing && !isLeased(member) && held(member.permits) === 0 && usable > 0;
  return usesExtra || member.hasExtra ? 1 : 0;
}

/** The rule that a world breaks. @param usable what each process can use */
export function brokenRule(
  world: World,
  usable: readonly number[],
  { limit, fallback }: FleetSettings,
): string | undefined {
  let sum = 0;
  let allowed = limit;
  for (const [index, member] of world.members.entries()) {
    const can = usable[index] ?? 0;
    const isAlone = member.isUnanswered && !isLeased(member);
    if (can === Number.POSITIVE_INFINITY) {
      if (!isAlone) return FLEET_RULES.unlimited;
      continue;
    }
    if (fallback === "local" && isAlone && member.mode !== "dead") return FLEET_RULES.limited;
    const uses = live(member, can);
    const extra = fallback === "share" ? extraOf(member, can) : 0;
    allowed += member.lost;
    // Only a process that goes on without a lease uses what the storage gives to others.
    const { apart } = member;
    if (apart === undefined || fallback !== "share") sum += Math.max(0, uses - extra);
    else if (uses > Math.max(apart, 1)) return FLEET_RULES.cutOff;
    else sum += Math.min(uses, countedOf(world.pool, index));
  }
  if (sum > allowed) return FLEET_RULES.overLimit;
  const granted = world.pool.shares.reduce((total, { permits }) => total + permits, 0);
  return granted > limit ? FLEET_RULES.overGranted : undefined;
}

/** While the storage is away for good: every process can run as many functions as its fallback allows. */
function isServedWithout(
  { members }: World,
  usable: readonly number[],
  { fallback }: FleetSettings,
): boolean {
  const least = { share: 1, local: Number.POSITIVE_INFINITY, reject: 0 }[fallback];
  return members.every(({ mode, hasCalls }, index) => {
    return mode === "dead" || (mode === "live" && hasCalls && (usable[index] ?? 0) >= least);
  });
}

/** Every process can run as many functions as are its share at least. */
export function isServed(
  world: World,
  usable: readonly number[],
  settings: FleetSettings,
): boolean {
  const { limit, recovers = true } = settings;
  if (!world.isUp) return !recovers && isServedWithout(world, usable, settings);
  const { members } = world;
  const alive = members.filter(({ mode }) => mode !== "dead").length;
  const share = Math.floor(limit / Math.max(1, alive));
  const isWell = ({ mode, isCut, hasCalls }: Member) => mode === "live" && !isCut && hasCalls;
  if (!members.every((member) => member.mode === "dead" || isWell(member))) return false;
  const isServedAt = (index: number, least: number) => {
    const member = members[index];
    if (member === undefined || member.mode === "dead") return true;
    return isLeased(member) && (usable[index] ?? 0) >= least;
  };
  // With less than one permit for each they take turns: the first stands for all.
  return share === 0 ? isServedAt(0, 1) : members.every((_, index) => isServedAt(index, share));
}
