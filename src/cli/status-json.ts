import type { CircuitRecord } from "../storage/circuit-storage.js";
import { liveVotes } from "../storage/votes.js";
import type { Records } from "./watch.js";
import { settingsOf } from "./why.js";

/** The JSON for programs: fields are added, and never removed. */
export function circuitJson(name: string, record: CircuitRecord) {
  const { state, updatedAt, openUntil, failureCount, openedBy, reason } = record;
  const { probeOwner, probeUntil, probeSuccesses, openings, version } = record;
  const { cause = null, changedBy = null } = record;
  const votes = liveVotes(record);
  const settings = settingsOf(record);
  return {
    ...{
      name,
      state,
      since: updatedAt,
      openUntil,
      failureCount,
      openedBy,
      reason,
      cause,
      changedBy,
    },
    ...{ probeOwner, probeUntil, probeSuccesses, openings, votes, settings, version },
  };
}

/** One line for each circuit that has changed. */
export function changeLines(
  namespace: string,
  records: Records,
  changed: readonly string[],
): string[] {
  return changed.map((name) => {
    const record = records.get(name);
    return JSON.stringify(
      record === undefined
        ? { namespace, name, removed: true }
        : { namespace, ...circuitJson(name, record), readAt: record.readAt },
    );
  });
}
