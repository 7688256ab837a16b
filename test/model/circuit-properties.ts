import { isSame } from "../../src/circuit/circuit-record.js";
import type { SharedCircuitState } from "../../src/circuit/shared-circuit-state.js";
import type { CircuitTransition } from "../../src/circuit/transition.js";
import type { CircuitRecord } from "../../src/storage/circuit-storage.js";
import { voteMsLeft } from "../../src/storage/votes.js";
import { NOW_MS } from "./circuit-process.js";
import {
  type Fleet,
  isForged,
  isSick,
  type Member,
  timeLeft,
  type World,
} from "./circuit-world.js";

const MOST_REQUESTS = 10;

export const RULES = {
  reopened: "a circuit that its own probes closed is opened by a record that is over",
  closed: "an opening that the storage never made is closed by a record",
  disobeyed: "a change by hand is dropped because of a record",
  unleased: "a process takes another's lease for its own",
  ended: "a process that voted to open is closed by a record, or told to wait for its probes",
  unsent: "everything has been said, and a vote was never sent",
  disagreeing: "everything has been said, and a process does not do what the record says",
} as const;

/** The circuit is closed in the storage and in every process, and all know it. */
export function isClosedEverywhere({ fleet, record, isUp, members }: World): boolean {
  return (
    isUp &&
    record.state === "CLOSED" &&
    members.every(({ mode, process: { circuit, sync, outstanding } }, index) => {
      if (mode !== "live" || isSick(fleet, index)) return mode !== "leaving";
      const { known, pending } = sync.reconciler;
      const isClosed = circuit.state.status === "CLOSED";
      return isClosed && !pending && !outstanding && isKnown(fleet, record, known);
    })
  );
}

/** Votes alone are not read: a process learns of their version with its next change. */
function isKnown({ openQuorum }: Fleet, record: CircuitRecord, known: CircuitRecord | undefined) {
  if (known?.version === record.version) return true;
  if (openQuorum === 1 || known === undefined) return false;
  return isSame({ ...known, version: record.version }, record);
}

/** The circuit is closed in every process, whatever the storage has. */
export function isClosedInProcesses({ members }: World): boolean {
  return members.every(
    ({ mode, process: { circuit } }) => mode === "dead" || circuit.state.status === "CLOSED",
  );
}

/** When everything has been said, every process agrees with the record. */
export function disagreement({ fleet, record, isUp, members }: World): string | undefined {
  const isQuiet = members.every(
    ({ mode, process: { timers, outstanding }, notice, isDisconnected, late }) =>
      late === undefined &&
      (mode === "dead" || !(timers.length > 0 || outstanding || notice || isDisconnected)),
  );
  if (!isUp || !isQuiet) return undefined;
  const agrees = members.every(({ mode, process: { circuit, sync } }) => {
    if (mode === "dead") return true;
    const { status } = circuit.state;
    const { isOwn, known } = sync.reconciler;
    // With a quorum it needs no lease for that, whatever opened it.
    const probes = circuit.state.status === "HALF_OPEN" && circuit.state.prober === "ours";
    const isAlone = isOwn ? status === "HALF_OPEN" : probes && fleet.openQuorum > 1;
    const isProbingAlone = isAlone && record.state === "CLOSED";
    const isForever = status !== "CLOSED" && circuit.state.until > NOW_MS + 1e6;
    const isSame = (status === "CLOSED") === (record.state === "CLOSED");
    const knows = isKnown(fleet, record, known);
    return (isSame || isOwn || isProbingAlone) && (!isForever || isProbingAlone) && knows;
  });
  const isUnsent = members.some(({ mode, process: { sync }, isTaken }) => {
    return mode === "live" && sync.reconciler.opening?.isVote && !isTaken;
  });
  if (isUnsent) return RULES.unsent;
  return agrees ? undefined : RULES.disagreeing;
}

/** A process that has begun to probe by an answer was given the lease. */
export function unleased(before: Member, after: Member, owner: string): string | undefined {
  const { state: was } = before.process.circuit;
  const { state } = after.process.circuit;
  if (state.status !== "HALF_OPEN" || state.prober !== "ours") return undefined;
  if (was.status === "HALF_OPEN" && was.prober === "ours") return undefined;
  // Alone it needs no lease.
  const { isOwn, known } = after.process.sync.reconciler;
  const isAlone = isOwn || state.until === Number.POSITIVE_INFINITY;
  if (isAlone && known?.state === "CLOSED") return undefined;
  // After so many requests without a pause it goes on as without the storage.
  if (before.process.sync.requests >= MOST_REQUESTS) return undefined;
  const owners = [before.process.outstanding?.answer?.record, after.process.sync.reconciler.known];
  const hasLease = owners.some((record) => record?.probeOwner === owner);
  return hasLease ? undefined : RULES.unleased;
}

/**
 * What a record must not do to a process. The first transition by a record within a step is judged by what
 * the process had decided before the step; what follows it in the step follows from it.
 */
export function brokenByRecord(
  { process, isTaken }: Member,
  { from, to }: CircuitTransition,
  { reconciler, io }: Readonly<SharedCircuitState>,
  isFailing: boolean,
): string | undefined {
  const { known, opening } = reconciler;
  if (known === undefined || isForged(known)) return undefined;
  const isReplaced = known.state === "OPEN" && timeLeft(known) > 0;
  if (opening?.isVote && from === "OPEN" && !isReplaced) return RULES.ended;
  if (reconciler.isOwn && to === "CLOSED") return RULES.ended;
  if (opening !== undefined && from === "OPEN" && to === "CLOSED" && !isTaken) return RULES.closed;
  const { outstanding } = process;
  const { pending } = process.sync.reconciler;
  if (pending === undefined) return undefined;
  // It is pending no more when it was made in this very step, or is known to be so.
  const { changed, record } = outstanding?.answer ?? {};
  const isMade = (changed && !pending.needsLease) || record?.state === "CLOSED";
  if (isMade && io.kind === "deciding") return undefined;
  const { origin: whose, to: wanted } = pending.transition;
  const isFree = known.state !== "CLOSED" && timeLeft(known) === 0;
  const waits = voteMsLeft(known, reconciler.host) > 0;
  if (whose === "verdict" && wanted === "CLOSED" && from === "CLOSED" && isFree && !waits) {
    return RULES.reopened;
  }
  // How it probes is no matter of the person's.
  if (from === to) return undefined;
  return whose === "manual" && !pending.isLate && !isFailing ? RULES.disobeyed : undefined;
}
