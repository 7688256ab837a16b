import { EMPTY_POOL } from "../../src/storage/apply-lease.js";
import type { Encoding, Model } from "./checker.js";
import { afterTick, newMember } from "./fleet-clock.js";
import { FleetEncoding } from "./fleet-encoding.js";
import { FleetProcess } from "./fleet-process.js";
import { brokenRule, FLEET_RULES, isServed } from "./fleet-properties.js";
import { carryOut, type Report, storageMoves } from "./fleet-storage-moves.js";
import { describeFleet, showGrant, showKeep, showNotice } from "./fleet-text.js";
import {
  FLEET_FAULTS,
  type FleetCode,
  type FleetFault,
  type FleetFaults,
  type FleetSettings,
  held,
  inUse,
  isLeased,
  type Member,
  NOW_MS,
  ownerOf,
  replace,
  spend,
  type World,
} from "./fleet-world.js";

/** Rules that lie between the real parts: `false` leaves one out. */
export interface GlueRules {
  readonly countsFromSending?: boolean;
  readonly leaseCoversTimeout?: boolean;
}

export interface FleetModelOptions extends FleetSettings {
  readonly code: FleetCode;
  /** How often each of them may happen in one run. Default: never. */
  readonly faults?: { readonly [fault in FleetFault]?: number };
  readonly rules?: GlueRules;
  /** With a clock: for how many renewals calls may wait while their process can start none. Default: any. */
  readonly patience?: number;
  /** A request is carried out and answered in the step in which it is sent. Fewer orders, for more processes. */
  readonly instantAnswers?: boolean;
  /** A notice arrives with what it is about. Fewer orders, for more processes. */
  readonly instantNotices?: boolean;
  /** The functions of a process start together, as many as can, and end together. Fewer orders, for more processes. */
  readonly batches?: boolean;
}

/** The permits of a fleet, by the real rules: processes with one limit, and all that can go wrong. */
export class FleetModel implements Model<World> {
  readonly initial: World;
  readonly #options: FleetModelOptions;
  readonly #process: FleetProcess;
  readonly #rules: Required<GlueRules> & { readonly code: FleetCode };

  constructor(options: FleetModelOptions) {
    const { code, processes, limit, faults = {} } = options;
    this.#options = options;
    this.#rules = { countsFromSending: true, leaseCoversTimeout: true, ...options.rules, code };
    this.#process = new FleetProcess(options, this.#rules);
    const member = newMember(options, code.newPermitsState(limit));
    this.initial = {
      pool: EMPTY_POOL,
      previous: undefined,
      isUp: true,
      left: Object.fromEntries(
        FLEET_FAULTS.map((fault) => [fault, faults[fault] ?? 0]),
      ) as FleetFaults,
      members: Array.from({ length: processes }, () => member),
    };
  }

  encoding(world: World): Encoding {
    return new FleetEncoding(world, { hasTurns: this.#options.limit < world.members.length });
  }

  describe(world: World): string {
    return describeFleet(world, this.#usable(world));
  }

  isJudged({ members }: World): boolean {
    return members.some(({ mode }) => mode === "live");
  }

  isGoal(world: World): boolean {
    return isServed(world, this.#usable(world), this.#options);
  }

  broken(world: World): string | undefined {
    const { patience = Number.POSITIVE_INFINITY } = this.#options;
    if (world.members.some(({ starved }) => starved > patience)) return FLEET_RULES.starved;
    return brokenRule(world, this.#usable(world), this.#options);
  }

  #usable({ members }: World): number[] {
    return members.map((member) => (member.mode === "dead" ? 0 : this.#process.usable(member)));
  }

  moves(world: World, given: Report): void {
    const report: Report = (move) => given({ ...move, next: this.#settle(move.next) });
    storageMoves(world, this.#options, report);
    const later = afterTick(world, this.#options);
    if (later !== undefined) {
      const label = () => "a tick passes";
      // Otherwise time hardly passes in a large fleet, where each process can always do something.
      const weight = 2 * world.members.length;
      report({ label, next: later, isGood: true, weight, broken: undefined });
    }
    for (const [index, member] of world.members.entries()) {
      const move = (label: () => string, isGood: boolean, next: World) =>
        report({
          label: () => `${ownerOf(index)} ${label()}`,
          next,
          isGood,
          broken: undefined,
        });
      this.#lateMoves(world, index, member, move);
      if (member.mode === "dead") continue;
      this.#requestMoves(world, index, member, move);
      if (member.mode === "frozen") {
        move(() => "wakes up", true, replace(world, index, { mode: "live" }));
        continue;
      }
      this.#lifeMoves(world, index, member, move);
      this.#callMoves(world, index, member, move);
      this.#noticeMoves(world, index, member, move);
    }
  }

  #lateMoves(world: World, index: number, { late }: Member, move: MemberReport): void {
    if (late === undefined) return;
    const without = replace(world, index, { late: undefined });
    if (world.isUp) {
      const { world: next } = this.#carryOut(without, index, late);
      move(() => `has sent ${showKeep(late)}, which is carried out late`, true, next);
    }
    move(() => `has sent ${showKeep(late)}, which never arrives`, true, without);
  }

  #requestMoves(world: World, index: number, member: Member, move: MemberReport): void {
    const { request, late } = member;
    if (request === undefined) return;
    const { keep, grant, age } = request;
    const isReached = world.isUp && !member.isCut;
    if (grant === undefined && isReached) {
      const done = this.#carryOut(world, index, keep);
      const answered = { ...request, grant: done.grant };
      const next = replace(done.world, index, { request: answered });
      move(() => `asks ${showKeep(keep)}: ${showGrant(done.grant)}`, true, next);
    }
    if (member.mode === "frozen") return;
    const failed = this.#process.fail(member);
    if (grant !== undefined && !member.isCut) {
      const next = replace(world, index, this.#process.answer(member, keep, grant));
      move(() => `has the answer ${showGrant(grant)}`, true, next);
    }
    const isLostAnswer = grant !== undefined && isReached;
    if (!isReached || (age > 0 && !isLostAnswer)) {
      move(() => "gets no answer", true, replace(world, index, failed));
    }
    if (isLostAnswer && world.left.lostAnswers > 0) {
      const next = replace(spend(world, "lostAnswers"), index, failed);
      move(() => `loses the answer ${showGrant(grant)}`, false, next);
    }
    if (grant === undefined && world.left.lateRequests > 0 && late === undefined) {
      const next = replace(spend(world, "lateRequests"), index, { ...failed, late: keep });
      move(() => `gives up on ${showKeep(keep)}`, false, next);
    }
  }

  #carryOut(world: World, index: number, keep: Member["late"] & object) {
    return carryOut(world, index, keep, this.#options, this.#rules);
  }

  #lifeMoves(world: World, index: number, member: Member, move: MemberReport): void {
    const { left } = world;
    if (left.crashes > 0) {
      const fresh = newMember(this.#options, this.#rules.code.newPermitsState(this.#options.limit));
      const dead: Member = { ...fresh, mode: "dead", late: member.late };
      move(() => "dies", false, replace(spend(world, "crashes"), index, dead));
    }
    if (left.freezes > 0 && (inUse(member) > 0 || member.request !== undefined)) {
      move(() => "freezes", false, replace(spend(world, "freezes"), index, { mode: "frozen" }));
    }
    if (member.isCut) {
      move(() => "reaches the storage again", true, replace(world, index, { isCut: false }));
    } else if (left.cuts > 0) {
      const apart = Math.max(held(member.permits), inUse(member));
      const change = { isCut: true, apart, notice: undefined };
      move(() => "is cut off", false, replace(spend(world, "cuts"), index, change));
    }
    if (this.#options.times === undefined && isLeased(member)) {
      const permits = { ...member.permits, until: NOW_MS };
      move(() => "is at the end of its lease", false, replace(world, index, { permits }));
    }
  }

  #callMoves(world: World, index: number, member: Member, move: MemberReport): void {
    const process = this.#process;
    if (!member.hasCalls) {
      move(() => "has calls", true, replace(world, index, process.comeCalls(member)));
    } else if (world.left.idles > 0) {
      const change = { hasCalls: false };
      move(() => "has no more calls", false, replace(spend(world, "idles"), index, change));
    }
    if (process.canStart(member)) {
      const label = () => (isLeased(member) ? "starts a function" : "starts one without a lease");
      move(label, true, replace(world, index, this.#started(member)));
    }
    for (const [age, count] of member.calls.entries()) {
      if (count === 0) continue;
      move(() => "ends a function", true, replace(world, index, this.#ended(member, age)));
    }
    if (member.request === undefined && member.isActive) {
      const asking = process.ask(member);
      const next = replace(world, index, asking);
      if (this.#options.instantAnswers && world.isUp && !member.isCut) {
        this.#instantAnswer(next, index, asking, move);
      } else {
        move(() => `sends ${showKeep(asking.request?.keep)}`, true, next);
      }
    }
  }

  #started(member: Member): Member {
    const next = this.#process.start(member);
    return this.#options.batches && this.#process.canStart(next) ? this.#started(next) : next;
  }

  #ended(member: Member, age: number): Member {
    const next = this.#process.end(member, age);
    return this.#options.batches && next.calls[age] !== 0 ? this.#ended(next, age) : next;
  }

  #instantAnswer(world: World, index: number, asking: Member, move: MemberReport): void {
    if (asking.request === undefined) return;
    const { keep } = asking.request;
    const { world: done, grant } = this.#carryOut(world, index, keep);
    const told = done.members[index] ?? asking;
    const next = replace(done, index, this.#process.answer(told, keep, grant));
    move(() => `asks ${showKeep(keep)}: ${showGrant(grant)}`, true, next);
    if (world.left.lostAnswers > 0) {
      const lost = replace(spend(done, "lostAnswers"), index, this.#process.fail(told));
      move(() => `asks ${showKeep(keep)} and loses the answer ${showGrant(grant)}`, false, lost);
    }
    if (world.left.lateRequests > 0 && asking.late === undefined) {
      const late = { ...this.#process.fail(asking), late: keep };
      move(
        () => `gives up on ${showKeep(keep)}`,
        false,
        replace(spend(world, "lateRequests"), index, late),
      );
    }
  }

  #noticeMoves(world: World, index: number, member: Member, move: MemberReport): void {
    const { notice } = member;
    if (notice === undefined) return;
    const heard = this.#process.hear(member, notice);
    move(() => `hears ${showNotice(notice)}`, true, replace(world, index, heard));
    if (world.left.lostNotices > 0) {
      const next = replace(spend(world, "lostNotices"), index, { notice: undefined });
      move(() => `does not hear ${showNotice(notice)}`, false, next);
    }
  }

  /** What follows from a step. */
  #settle(world: World): World {
    const members = world.members.map((member) => {
      if (member.mode !== "live") return member;
      const told = this.#options.instantNotices ? this.#toldOf(member) : member;
      return this.#settled(told);
    });
    return { ...world, members };
  }

  #toldOf(member: Member): Member {
    return member.notice === undefined ? member : this.#process.hear(member, member.notice);
  }

  #settled(member: Member): Member {
    const running = inUse(member);
    const isOrderly = isLeased(member) ? running <= held(member.permits) : running === 0;
    const isUnanswered = member.request?.isLost === true || member.permits.isFailing;
    const couldStart = member.couldStart || this.#process.usable(member) > 0;
    return {
      ...member,
      hasExtra: member.hasExtra && !isOrderly,
      // Its permits cover all that runs.
      strays: isLeased(member) && isOrderly ? 0 : member.strays,
      lost: running === 0 && !isLeased(member) && !isUnanswered ? 0 : member.lost,
      couldStart: this.#options.times !== undefined && couldStart,
    };
  }
}

type MemberReport = (label: () => string, isGood: boolean, next: World) => void;
