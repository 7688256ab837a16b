import type { SharedCircuitState } from "../../src/circuit/shared-circuit-state.js";
import type { CircuitTransition } from "../../src/circuit/transition.js";
import { NOW_MS } from "./circuit-process.js";
import { isForged, type Member, timeLeft, type World } from "./circuit-world.js";

export const RULES = {
  reopened: "a circuit that its own probes closed is opened by a record that is over",
  closed: "an opening that the storage never made is closed by a record",
  disobeyed: "a change by hand is dropped because of a record",
  unleased: "a process takes another's lease for its own",
  disagreeing: "everything has been said, and a process does not do what the record says",
} as const;

/** The circuit is closed in the storage and in every process, and all know it. */
export function isClosedEverywhere({ record, isUp, members }: World): boolean {
  return (
    isUp &&
    record.state === "CLOSED" &&
    members.every(({ mode, process: { circuit, sync, outstanding } }) => {
      if (mode !== "live") return mode === "dead";
      const { known, pending } = sync.reconciler;
      const isClosed = circuit.state.status === "CLOSED";
      return isClosed && !pending && !outstanding && known?.version === record.version;
    })
  );
}

/** The circuit is closed in every process, whatever the storage has. */
export function isClosedInProcesses({ members }: World): boolean {
  return members.every(
    ({ mode, process: { circuit } }) => mode === "dead" || circuit.state.status === "CLOSED",
  );
}

/** When everything has been said, every process agrees with the record. */
export function disagreement({ record, isUp, members }: World): string | undefined {
  const isQuiet = members.every(
    ({ mode, process: { timers, outstanding }, notice, isDisconnected, late }) =>
      late === undefined &&
      (mode === "dead" || !(timers.length > 0 || outstanding || notice || isDisconnected)),
  );
  if (!isUp || !isQuiet) return undefined;
  const agrees = members.every(({ mode, process: { circuit, sync } }) => {
    if (mode === "dead") return true;
    const { status } = circuit.state;
    const isForever = status !== "CLOSED" && circuit.state.until > NOW_MS + 1e6;
    const isSame = (status === "CLOSED") === (record.state === "CLOSED");
    return isSame && !isForever && sync.reconciler.known?.version === record.version;
  });
  return agrees ? undefined : RULES.disagreeing;
}

/** A process that has begun to probe by an answer was given the lease. */
export function unleased(before: Member, after: Member, owner: string): string | undefined {
  const { state: was } = before.process.circuit;
  const { state } = after.process.circuit;
  if (state.status !== "HALF_OPEN" || state.prober !== "ours") return undefined;
  if (was.status === "HALF_OPEN" && was.prober === "ours") return undefined;
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
  if (whose === "verdict" && wanted === "CLOSED" && from === "CLOSED" && isFree) {
    return RULES.reopened;
  }
  return whose === "manual" && !pending.isLate && !isFailing ? RULES.disobeyed : undefined;
}
