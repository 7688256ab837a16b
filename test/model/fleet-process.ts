import type { Demand, Keep, Permits } from "../../src/fleet/permits.js";
import type { PermitGrant, PermitNotice } from "../../src/storage/permit-lease.js";
import {
  type FleetCode,
  type FleetSettings,
  held,
  inUse,
  isLeased,
  type Member,
  NOW_MS,
  TICK_MS,
  withCalls,
} from "./fleet-world.js";

/** What can be left out of that which a process does with the real {@link Permits}. */
export interface ProcessRules {
  readonly code: FleetCode;
  /** A lease counts from when it was asked for, not from the answer. */
  readonly countsFromSending: boolean;
}

/** What a process does, by the real rules. A member is replaced, never changed. */
export class FleetProcess {
  readonly #settings: FleetSettings;
  readonly #rules: ProcessRules;

  constructor(settings: FleetSettings, rules: ProcessRules) {
    this.#settings = settings;
    this.#rules = rules;
  }

  usable(member: Member): number {
    const { Permits } = this.#rules.code;
    return new Permits({ ...member.permits }).usable(NOW_MS, this.#settings.fallback);
  }

  /** More functions can start. */
  canStart(member: Member): boolean {
    return member.hasCalls && inUse(member) < this.usable(member) && this.#hasRoom(member);
  }

  #hasRoom(member: Member): boolean {
    return inUse(member) < this.#settings.most;
  }

  comeCalls(member: Member): Member {
    const { most, times } = this.#settings;
    const peak = Math.max(member.permits.peak, Math.min(most, inUse(member) + most));
    // After an idle time it asks at once.
    const asksAtOnce = !member.isActive && !isLeased(member) && !member.permits.isFailing;
    const askedAge = asksAtOnce ? (times?.renew ?? 0) : member.askedAge;
    const permits = { ...member.permits, peak };
    return { ...member, hasCalls: true, isActive: true, askedAge, permits };
  }

  start(member: Member): Member {
    const { permits } = member;
    const isLocal = this.usable(member) === Number.POSITIVE_INFINITY;
    const isExtra = permits.isFailing && !isLeased(member) && held(permits) === 0;
    return {
      ...member,
      calls: withCalls(member.calls, 0, 1),
      hasExtra: member.hasExtra || isExtra,
      strays: member.strays + (isLocal ? 1 : 0),
    };
  }

  end(member: Member, age: number): Member {
    const calls = withCalls(member.calls, age, -1);
    const running = inUse({ ...member, calls });
    const strays = Math.min(member.strays, running);
    return this.#considered({ ...member, calls, strays }, false);
  }

  ask(member: Member): Member {
    const { most } = this.#settings;
    const demand = this.#demand(member);
    const isIdle = member.permits.peak === 0 && demand.inUse + demand.waiting === 0;
    const { permits, result: keep } = this.#run(member, (real) =>
      isIdle ? real.giveBack() : real.request(NOW_MS, demand, most),
    );
    permits.peak = Math.min(permits.peak, most);
    const request = { keep, grant: undefined, age: 0, isLost: false };
    return { ...member, permits, request, askedAge: 0, isActive: !isIdle, isUrgent: false };
  }

  answer(member: Member, keep: Keep, grant: PermitGrant): Member {
    const { request } = member;
    const { permits } = this.#run(member, (real) =>
      real.answered(keep, grant, this.#leaseEnd(request?.age ?? 0)),
    );
    const isTakenBack = member.isTakenBack && permits.until <= NOW_MS;
    const answered = { ...member, permits, request: undefined, isTakenBack, isUnanswered: false };
    const next = this.#considered(answered, false);
    // What was granted may be gone already.
    if (permits.until <= NOW_MS) return next;
    const isLost = request?.isLost ?? false;
    const wasApart = member.apart !== undefined && this.#settings.fallback === "share";
    if (!wasApart && (member.lost === 0 || isLost)) return { ...next, apart: undefined };
    const strays = Math.max(member.strays, inUse(member) - held(permits));
    return { ...next, strays, apart: undefined, lost: isLost ? member.lost : 0 };
  }

  fail(member: Member): Member {
    const { permits } = this.#run(member, (real) => real.failed());
    const { isTakenBack } = member;
    const apart = isTakenBack ? Math.max(held(permits), inUse(member)) : member.apart;
    return { ...member, permits, request: undefined, apart, isUnanswered: true };
  }

  hear(member: Member, notice: PermitNotice): Member {
    const { permits } = this.#run(member, (real) => real.hear(notice));
    return this.#considered({ ...member, permits, notice: undefined }, notice.gives);
  }

  /** With a clock: the process asks before the next tick when there is something to give back, or to be had. */
  #considered(member: Member, areGiven: boolean): Member {
    const { times, most } = this.#settings;
    if (times === undefined || member.permits.isFailing || member.request !== undefined)
      return member;
    const permits = new this.#rules.code.Permits({ ...member.permits });
    const isUrgent =
      member.isUrgent ||
      permits.hasSurplus(inUse(member)) ||
      (areGiven && permits.lacks(NOW_MS, this.#demand(member), most));
    return isUrgent === member.isUrgent ? member : { ...member, isUrgent };
  }

  #demand(member: Member): Demand {
    return { inUse: inUse(member), waiting: member.hasCalls ? this.#settings.most : 0 };
  }

  #leaseEnd(age: number): number {
    const { times } = this.#settings;
    const counted = this.#rules.countsFromSending ? age : 0;
    const left = (times?.lease ?? 1) - counted;
    return NOW_MS + Math.max(0, left) * TICK_MS;
  }

  #run<T>({ permits: before }: Member, act: (permits: Permits) => T) {
    const permits = { ...before };
    const result = act(new this.#rules.code.Permits(permits));
    return { permits, result };
  }
}
