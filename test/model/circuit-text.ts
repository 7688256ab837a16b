import type { CircuitChange, CircuitRecord } from "../../src/storage/circuit-storage.js";
import { liveVotes } from "../../src/storage/votes.js";
import { NOW_MS } from "./circuit-process.js";
import { isForged, type Member, timeLeft, type World } from "./circuit-world.js";

export function show(record: CircuitRecord): string {
  const { state, version, probeOwner, probeSuccesses, openedBy, reason } = record;
  const votes = liveVotes(record);
  const time = ["over", "running", "for ever"][timeLeft(record)];
  return [
    `${isForged(record) ? "forged " : ""}${state} ${version}`,
    state === "CLOSED" ? "" : time,
    probeOwner === null ? "" : `probed by ${probeOwner}`,
    probeSuccesses > 0 ? `${probeSuccesses} successes` : "",
    openedBy === null ? "" : `opened by ${openedBy}`,
    reason === null ? "" : "with a reason",
    votes.length === 0 ? "" : `votes of ${votes.map(({ owner }) => owner).join(" and ")}`,
  ]
    .filter(Boolean)
    .join(", ");
}

export function showChange(change: CircuitChange | undefined): string {
  if (change === undefined) return "load";
  const { to, version } = change;
  const early = to === "HALF_OPEN" && change.early ? " early" : "";
  const vote = to === "OPEN" && (change.quorum ?? 1) > 1 ? ", a vote" : "";
  if (to === "CLOSED" && change.withdraws) return `end of its vote at ${version}`;
  return `change of ${version} to ${to}${early}${vote}`;
}

export function describeWorld({ record, isUp, members }: World): string {
  return [
    `storage${isUp ? "" : " (out)"}: ${show(record)}`,
    ...members.map((member, index) => `P${index}: ${describeMember(member)}`),
  ].join("; ");
}

function describeMember({ mode, process, notice, isDisconnected, late }: Member): string {
  const writes = late === undefined ? "" : `, ${showChange(late.change)} may still arrive`;
  if (mode === "dead") return `dead${writes}`;
  const { circuit, sync, outstanding, probes, hanging } = process;
  const { known, pending, isOwn, needsRenewal: renews } = sync.reconciler;
  const timers = Object.entries(sync.timers).flatMap(([name, timer]) => (timer ? [name] : []));
  const { state } = circuit;
  const left =
    state.status === "CLOSED" ? "" : ` ${state.until <= NOW_MS ? "over" : state.until - NOW_MS}`;
  const probing =
    state.status === "HALF_OPEN"
      ? ` ${state.prober}, ${state.probesLeft} places, ${probes} probes, ${hanging} hang`
      : "";
  return [
    `${mode} ${state.status}${left}${probing}`,
    known === undefined ? "knows nothing" : `knows ${show(known)}`,
    pending && `pending ${pending.transition.to}${pending.isLate ? " (late)" : ""}`,
    isOwn && "voted",
    renews && "renews",
    sync.io.kind !== "idle" && sync.io.kind,
    outstanding &&
      `asks to ${showChange(outstanding.change)}${outstanding.answer ? " (answered)" : ""}`,
    timers.length > 0 && `timers ${timers.join(", ")}`,
    notice && `a notice comes: ${show(notice)}`,
    isDisconnected && "disconnected",
  ]
    .filter(Boolean)
    .join(", ")
    .concat(writes);
}
