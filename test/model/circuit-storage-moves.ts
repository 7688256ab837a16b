import type { CircuitChange, CircuitChangeResult } from "../../src/storage/circuit-storage.js";
import { liveVotes } from "../../src/storage/votes.js";
import type { Move } from "./checker.js";
import { showChange } from "./circuit-text.js";
import {
  change,
  failOver,
  type Member,
  over,
  replace,
  spend,
  timeLeft,
  type World,
  withoutVote,
  write,
  writtenByPython,
} from "./circuit-world.js";

export type Report = (move: Move<World>) => void;

/** What happens to the storage, by itself and by others that write to it. */
export function storageMoves(world: World, recovers: boolean, report: Report): void {
  const { record, previous, isUp, left, fleet } = world;
  const move = (label: string, isGood: boolean, next: World) =>
    report({ label: () => `storage: ${label}`, isGood, next, broken: undefined });
  if (timeLeft(record) === 1) {
    const what = record.state === "OPEN" ? "isolation" : "lease";
    move(`the ${what} is over`, true, { ...world, record: over(record) });
  }
  for (const { owner } of liveVotes(record)) {
    move(`the vote of ${owner} is over`, true, { ...world, record: withoutVote(record, owner) });
  }
  if (!isUp) {
    move("is back", recovers, { ...world, isUp: true });
    return;
  }
  if (left.outages > 0) move("is out", false, { ...spend(world, "outages"), isUp: false });
  if (left.operators > 0) {
    for (const asked of changesByHand(record.version)) {
      const next = write(spend(world, "operators"), change(world, asked).record);
      move(`an operator changes it to ${asked.to}`, false, next);
    }
  }
  if (left.otherVotes > 0) {
    const { openQuorum: quorum } = fleet;
    const vote = { to: "OPEN", openSeconds: 1, failureCount: 1, quorum } as const;
    const asked = { ...vote, version: record.version, owner: "other", host: "other" };
    const { changed, record: voted, broken } = change(world, asked);
    const next = write(spend(world, "otherVotes"), voted);
    const label = () => "storage: another host votes";
    if (changed) report({ label, isGood: false, next, broken });
  }
  if (left.pythonWrites > 0) {
    for (const state of ["OPEN", "HALF_OPEN", "CLOSED"] as const) {
      const written = writtenByPython(world, state);
      if (written === undefined) continue;
      move(`Python writes ${state}`, false, write(spend(world, "pythonWrites"), written));
    }
  }
  if (left.failovers > 0 && previous !== undefined) {
    move("comes back as it was before the last change", false, failOver(world, previous));
  }
}

function changesByHand(version: number): CircuitChange[] {
  const common = { version, owner: "operator", byHand: true };
  const isolation = { openSeconds: 1, failureCount: 0, reason: "why" };
  return [
    { to: "OPEN", ...isolation, ...common },
    { to: "CLOSED", ...common },
  ];
}

/** What becomes of a write that its process has given up. */
export function lateMoves(world: World, index: number, member: Member, report: Report): void {
  const { late } = member;
  if (late === undefined) return;
  const next = replace(world, index, { ...member, late: undefined });
  const what = () => `P${index}'s given-up ${showChange(late.change)}`;
  const label = () => `${what()} never arrives`;
  report({ label, isGood: true, next, broken: undefined });
  if (!world.isUp) return;
  const { next: arrived, broken } = makeChange(next, index, late.change, late.openings);
  report({ label: () => `storage: ${what()} arrives`, isGood: true, next: arrived, broken });
}

/** The world when the storage has carried out what the process asks, and the rule that it breaks by that. */
export function carryOut(world: World, index: number, { process }: Member) {
  const { outstanding } = process;
  if (outstanding?.change === undefined) {
    return {
      next: answer(world, index, { changed: false, record: world.record }),
      broken: undefined,
    };
  }
  const { change, openings } = outstanding;
  const { next, result, broken } = makeChange(world, index, change, openings);
  return { next: answer(next, index, result), broken };
}

function makeChange(world: World, index: number, asked: CircuitChange, openings: number) {
  const { changed, record, broken } = change(world, asked);
  const result = { changed, record };
  if (!changed) return { next: world, result, broken };
  const next = write(world, record);
  const member = next.members[index];
  if (member === undefined || member.mode === "dead" || asked.to !== "OPEN") {
    return { next, result, broken };
  }
  const isTaken = member.isTaken || openings === member.process.sync.reconciler.openings;
  return { next: replace(next, index, { ...member, isTaken }), result, broken };
}

function answer(world: World, index: number, answer: CircuitChangeResult): World {
  const member = world.members[index];
  if (member?.process.outstanding === undefined) return world;
  const outstanding = { ...member.process.outstanding, answer };
  return replace(world, index, { ...member, process: { ...member.process, outstanding } });
}
