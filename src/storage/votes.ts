import type { CircuitRecord, CircuitVote } from "./circuit-storage.js";

/** A Node timer can fire a millisecond early: a process that sleeps for the whole isolation finds it over. */
export const TIMER_TOLERANCE_MS = 1;

/** The votes of a record whose isolations are not over at `now`, by the storage's clock. */
export function liveVotes(
  { votes = [], readAt }: Pick<CircuitRecord, "votes" | "readAt">,
  now = readAt,
): readonly CircuitVote[] {
  const end = now.getTime() + TIMER_TOLERANCE_MS;
  return votes.filter(({ until }) => until.getTime() > end);
}

/** How many milliseconds the votes of a host live on; 0 without any. */
export function voteMsLeft(record: CircuitRecord, host: string): number {
  const ends = liveVotes(record).flatMap((vote) =>
    vote.host === host ? [vote.until.getTime()] : [],
  );
  return ends.length === 0 ? 0 : Math.max(...ends) - record.readAt.getTime();
}

/** The hosts that the votes came from, each once, in the order of their votes. */
export function votingHosts(votes: readonly CircuitVote[]): string[] {
  return [...new Set(votes.map(({ host }) => host))];
}
