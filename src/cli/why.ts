import type { CircuitCause, CircuitRecord, CircuitSettings } from "../storage/circuit-storage.js";
import { settingsMsLeft } from "../storage/remaining.js";
import { liveVotes, votingHosts } from "../storage/votes.js";

const NO_PROBER = "next call probes";

/** Why a circuit is open and who opened it, or who probes it; while it is closed, which hosts vote to open it. */
export function whyOf(record: CircuitRecord): string {
  const { state, openUntil, readAt } = record;
  if (state === "CLOSED") return describeVotes(record);
  if (state === "HALF_OPEN") {
    const { probeOwner, probeUntil, probeSuccesses } = record;
    const succeeded = probeSuccesses > 0 ? `${probeSuccesses} succeeded; ` : "";
    return succeeded + (isOver(probeUntil, readAt) ? NO_PROBER : (probeOwner ?? NO_PROBER));
  }
  if (isOver(openUntil, readAt)) return `over; ${NO_PROBER}`;
  const by = record.changedBy ? `(${record.changedBy})` : "";
  return [describeCause(record), by].filter(Boolean).join(" ");
}

/** Such as `1 of 2 hosts: web-3`; empty without a vote. */
export function describeVotes(record: CircuitRecord): string {
  const votes = liveVotes(record);
  const hosts = votingHosts(votes).sort();
  if (hosts.length === 0) return "";
  const quorum = Math.max(...votes.map((vote) => vote.quorum));
  return `${hosts.length} of ${quorum} hosts: ${hosts.join(", ")}`;
}

/** An operator's reason, or else what opened it. */
export function describeCause({
  reason,
  cause,
  failureCount,
}: Pick<CircuitRecord, "reason" | "cause" | "failureCount">): string {
  if (reason !== null) return reason;
  if (cause) return `${cause.rule}${cause.failure === null ? "" : `: ${failureOf(cause)}`}`;
  // By a health check, or by another program.
  if (failureCount === 0) return "";
  return failureCount === 1 ? "1 failure" : `${failureCount} failures`;
}

/** A code says more than the name of its class: `ECONNREFUSED` than `Error`. */
function failureOf({ failure, code }: CircuitCause): string {
  return failure === null || failure === "Error"
    ? (code ?? "Error")
    : [failure, code].join(" ").trim();
}

function isOver(end: Date | null, readAt: Date): boolean {
  return end === null || end <= readAt;
}

/** The settings that are in force, or `null`. */
export function settingsOf(record: CircuitRecord): CircuitSettings | null {
  return settingsMsLeft(record) > 0 ? (record.settings ?? null) : null;
}

/** Such as `maxConcurrentCalls=5 timeoutSeconds=2`, by name: Postgres has an order of its own. */
export function fieldsOf({ values }: Pick<CircuitSettings, "values">): string {
  return Object.entries(values)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([field, value]) => `${field}=${JSON.stringify(value)}`)
    .join(" ");
}

/**
 * Such as `maxConcurrentCalls=5 until 09:10:00, by ann@laptop: a slow index`.
 * @param time formats the end
 */
export function describeSettings(settings: CircuitSettings, time: (date: Date) => string): string {
  const { until, reason, by } = settings;
  const parts = [
    fieldsOf(settings) + (until === null ? "" : ` until ${time(until)}`),
    ...(by === null ? [] : [`by ${by}`]),
  ];
  return parts.join(", ") + (reason === null ? "" : `: ${reason}`);
}
