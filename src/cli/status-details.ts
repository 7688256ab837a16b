import type { CircuitRecord } from "../storage/circuit-storage.js";
import { type FleetPermits, heldOf, holderLines } from "./permits.js";
import { localTime, printable } from "./text.js";
import { describeCause, describeSettings, describeVotes, settingsOf } from "./why.js";

/** All that is known of one circuit, and of the permits of its name, one fact a line. */
export function statusDetails(
  namespace: string,
  name: string,
  record: CircuitRecord | undefined,
  permits: FleetPermits | undefined,
): string[] {
  const heading =
    record === undefined
      ? `${name} of ${namespace} has permits, and no circuit`
      : `${name} of ${namespace} is ${record.state} at ${localTime(record.readAt)}`;
  const held: readonly Fact[] =
    permits === undefined
      ? []
      : [["permits", heldOf(permits)], ...holderLines(permits).map((text) => ["", text] as const)];
  const facts = record === undefined ? held : factsOf(record, held);
  const shown = facts.filter(([, text]) => text !== "");
  return [heading, "", ...shown.map(([fact, text]) => `${fact.padEnd(12)}${text}`)].map(printable);
}

type Fact = readonly [fact: string, text: string];

function factsOf(record: CircuitRecord, permits: readonly Fact[]): readonly Fact[] {
  const { state, updatedAt, openUntil, probeOwner, probeUntil, probeSuccesses } = record;
  const settings = settingsOf(record);
  const isOpen = state === "OPEN";
  const isProbed = state === "HALF_OPEN";
  const time = (date: Date | null) => (date === null ? "" : localTime(date));
  return [
    ["since", time(updatedAt)],
    ["until", time(openUntil)],
    ["why", state === "CLOSED" ? "" : describeCause(record)],
    ["failure", [record.cause?.failure, record.cause?.code].filter(Boolean).join(" ")],
    [isOpen ? "opened by" : "changed by", record.changedBy ?? ""],
    ["openings", isOpen || isProbed ? `${record.openings ?? 0} since it was closed last` : ""],
    ["probes", isProbed ? `${probeSuccesses} succeeded` : ""],
    ["prober", probeOwner === null ? "" : `${probeOwner} until ${time(probeUntil)}`],
    ...permits,
    ["votes", describeVotes(record)],
    ["set", settings === null ? "" : describeSettings(settings, localTime)],
  ];
}
