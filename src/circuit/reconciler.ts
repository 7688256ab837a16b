import type { CircuitChangeResult, CircuitRecord } from "../storage/circuit-storage.js";
import { isolationMsLeft, leaseMsLeft } from "../storage/remaining.js";
import { voteMsLeft } from "../storage/votes.js";
import type { Circuit } from "./circuit.js";
import { differsInSettings, differsInVotes, isFree, isSame } from "./circuit-record.js";
import {
  isAlone,
  type Opening,
  type PendingChange,
  type ReconcilerState,
} from "./reconciler-state.js";
import type { CircuitTransition } from "./transition.js";

/**
 * Decides what follows from each record that the storage sends, for the circuit and for what {@link LocalChanges}
 * requests next. Does no I/O and owns no timer: every method is one synchronous step.
 */
export class Reconciler {
  readonly #circuit: Circuit;
  readonly #state: ReconcilerState;

  constructor(circuit: Circuit, state: ReconcilerState) {
    this.#circuit = circuit;
    this.#state = state;
  }

  /** Whether an operator has isolated the circuit for the whole fleet: no health check ends that. */
  get isIsolatedByOperator(): boolean {
    const { known } = this.#state;
    return known?.state === "OPEN" && Boolean(known.reason);
  }

  /** Whether what opened the circuit here has not opened the record: then this process probes without the lease. */
  get isAlone(): boolean {
    return isAlone(this.#circuit, this.#state);
  }

  // What the storage answered. The circuit is refreshed first, because its listeners can change it.

  /** The storage returned the record. It wins over a notice, also with a lower version. */
  applyRead(record: CircuitRecord): void {
    this.#circuit.refresh();
    const state = this.#state;
    const { known, pending } = state;
    const wasAlone = this.isAlone;
    if (known === undefined && record.state === "CLOSED") state.known = record;
    else if (known === undefined || !isSame(record, known)) this.#adopt(record);
    else if (pending === undefined) this.#confirm(record);
    this.#changeProbing(wasAlone);
  }

  /** The record closed, or is closed no more, and the circuit did not follow it: all the same it probes in the other way. */
  #changeProbing(wasAlone: boolean): void {
    const { known, pending } = this.#state;
    const circuit = this.#circuit;
    if (wasAlone === this.isAlone || known === undefined || circuit.status !== "HALF_OPEN") return;
    const isOurs = circuit.successesUnderLease !== undefined;
    if (!wasAlone && !isOurs) circuit.probeAlone("the circuit is closed elsewhere");
    else if (wasAlone && isOurs && !circuit.isProbing) {
      if (pending === undefined) this.#follow(known);
      else this.#followProbing(known, 0, "the probe lease is needed");
    }
  }

  /** The record is unchanged. The circuit can have changed since: its isolation ended, or it probes alone. */
  #confirm(record: CircuitRecord): void {
    const { status, isProbing } = this.#circuit;
    const isolationEnded = record.state === "OPEN" && status === "HALF_OPEN";
    if (record.state !== status && !isolationEnded) this.#adopt(record);
    else if (this.#ownsLease(record)) this.#extendLease(record);
    else if (isProbing) this.#state.needsRenewal = true;
  }

  /** A notice arrived. Returns whether it was new, so that it has to be confirmed by reading the record. */
  applyNotice(record: CircuitRecord): boolean {
    this.#circuit.refresh();
    const { known } = this.#state;
    if (known !== undefined && record.version <= known.version) return false;
    // The next change of this process learns of the new version. Until then nothing is read.
    if (known !== undefined && differsInVotes(known, record)) return false;
    const isNothing = known === undefined && record.state === "CLOSED";
    // Only a response grants a lease: a forged notice could grant one without an end.
    const isOwn = this.#ownsLease(record) && (this.#state.pending !== undefined || this.#probes);
    const wasAlone = this.isAlone;
    if (isNothing || isOwn) this.#state.known = record;
    else this.#adopt(record);
    this.#changeProbing(wasAlone);
    return true;
  }

  get #probes(): boolean {
    return this.#circuit.isAcquiringLease || this.#circuit.isProbing;
  }

  /** The storage made or rejected a change. */
  applyResult(
    offered: CircuitTransition | undefined,
    { changed, record }: CircuitChangeResult,
  ): void {
    this.#circuit.refresh();
    const state = this.#state;
    const isNewest = state.pending?.transition === offered;
    const wasAlone = this.isAlone;
    if (changed) {
      state.known = record;
      if (isNewest) state.pending = this.#stillPending();
      if (record.state === "HALF_OPEN") this.#extendLease(record);
      if (isNewest) this.#adjustIsolation(record);
    } else if (offered?.origin === "manual" && isNewest) {
      // Requested again, on top of what another process did, also when it is late.
      state.known = record;
    } else {
      this.#adopt(record);
    }
    this.#changeProbing(wasAlone);
  }

  /** The storage recorded the opening, or the vote: what is left of it counts by the storage's clock. */
  #adjustIsolation(record: CircuitRecord): void {
    if (record.state === "OPEN") this.#circuit.applyIsolation(isolationMsLeft(record));
    else if (this.#state.opening?.isVote) {
      const vote = record.votes?.find(({ owner }) => owner === this.#state.owner);
      if (vote !== undefined)
        this.#circuit.applyIsolation(Number(vote.until) - Number(record.readAt));
    }
  }

  #ownsLease(record: CircuitRecord): boolean {
    const isProbed = record.state === "HALF_OPEN" && !isFree(record);
    return isProbed && record.probeOwner === this.#state.owner;
  }

  /** What is left of the pending change after the storage made what was requested. */
  #stillPending(): PendingChange | undefined {
    const { pending } = this.#state;
    return pending?.needsLease ? { ...pending, needsLease: false } : undefined;
  }

  /** Does nothing unless this process holds the lease. */
  #extendLease(record: CircuitRecord): void {
    if (record.probeOwner !== this.#state.owner) return;
    const leaseMs = leaseMsLeft(record);
    if (this.#circuit.isAcquiringLease)
      this.#circuit.leaseGranted(leaseMs, record.probeSuccesses, record.openings);
    else this.#circuit.leaseRenewed(leaseMs);
  }

  #adopt(record: CircuitRecord): void {
    const state = this.#state;
    const { known } = state;
    state.known = record;
    if (known !== undefined && this.#isUnchangedBut(known, record)) return;
    if (this.#ownsLease(record)) {
      // What this process decided under its lease is still to be written, whatever delayed it.
      this.#extendLease(record);
      if (state.pending !== undefined || this.#circuit.isProbing) return;
    }
    if (this.#outlivesRecord(record)) return;
    const { opening } = state;
    if (opening !== undefined && record.state === "CLOSED" && this.#lacksOpening(record, opening)) {
      // No process closed this opening: the storage never received it, or lost it.
      state.pending ??= { transition: opening.transition, isLate: true, needsLease: false };
      return;
    }
    // A manual change wins, also when another process was a moment faster.
    if (state.pending?.transition.origin === "manual" && !state.pending.isLate) return;
    if (this.#waitsForVotes(record)) return;
    if (isFree(record) && this.#outlastsRecord()) return;
    state.pending = undefined;
    this.#follow(record, known);
  }

  /** The storage gives a host no lease while it has a vote. Returns whether this one waits for that. */
  #waitsForVotes(record: CircuitRecord): boolean {
    const state = this.#state;
    const waitMs = isFree(record) ? voteMsLeft(record, state.host) : 0;
    if (waitMs === 0 || this.#circuit.status === "OPEN") return false;
    state.pending = undefined;
    state.needsRenewal = false;
    this.#followProbing(record, waitMs, "the dependency has just failed on this host");
    return true;
  }

  /** Whether a vote of this process, or the end of one, stands whatever the record says: then it is sent. */
  #outlivesRecord(record: CircuitRecord): boolean {
    const { opening, pending } = this.#state;
    if (pending?.withdraws && record.state === "CLOSED") {
      this.#state.pending = { ...pending, needsLease: false };
      return true;
    }
    if (opening?.isVote !== true) return false;
    return record.state !== "OPEN" || isFree(record);
  }

  /** Only the settings changed, so there is nothing to follow: an open circuit keeps its end, and its cause. */
  #isUnchangedBut(known: CircuitRecord, record: CircuitRecord): boolean {
    const isFollowed = this.#circuit.status === record.state && !this.#probes;
    return isFollowed && this.#state.pending === undefined && differsInSettings(known, record);
  }

  /**
   * The isolation or the lease of the record is over, so a verdict or a probing of this process is newer.
   * Returns whether there is one: then the process changes the record instead of following it.
   */
  #outlastsRecord(): boolean {
    const state = this.#state;
    const { pending } = state;
    const to = pending?.transition.to;
    if (pending !== undefined && to !== "HALF_OPEN") {
      const isVerdict = pending.transition.origin === "verdict";
      state.pending = { ...pending, needsLease: isVerdict && to === "CLOSED" };
      return true;
    }
    if (!this.#probes) return false;
    state.pending = undefined;
    state.needsRenewal = this.#circuit.isProbing;
    return true;
  }

  /** @param before what was known until now */
  #follow(record: CircuitRecord, before?: CircuitRecord): void {
    const circuit = this.#circuit;
    if (record.state === "CLOSED" && this.#state.isOwn) {
      const isProbingAlone =
        before?.state === "CLOSED" && circuit.successesUnderLease !== undefined;
      if (!isProbingAlone) circuit.probeAlone("this process opened it, and probes by itself");
    } else if (record.state === "CLOSED") {
      circuit.applyRemoteClose("closed by another process");
    } else if (record.state === "OPEN") {
      circuit.applyRemoteOpen(isolationMsLeft(record), this.#whyOpen(record), record.openings);
    } else {
      // A lease that this process holds without probing is free for its next call.
      const leaseMs = this.#ownsLease(record) ? 0 : leaseMsLeft(record);
      const why = leaseMs > 0 ? "another process probes" : "the probe lease is free";
      this.#followProbing(record, leaseMs, why);
    }
  }

  #followProbing({ probeSuccesses, openings }: CircuitRecord, leaseMs: number, why: string): void {
    this.#circuit.applyRemoteProbing(leaseMs, probeSuccesses, why, openings);
  }

  #whyOpen({ reason, openedBy }: CircuitRecord): string {
    if (reason) return `isolated: ${reason}`;
    const isOwn = openedBy?.startsWith(this.#state.owner);
    return isOwn ? "opened by this process before" : "opened by another process";
  }

  /**
   * Whether the record of a closed circuit does not include the opening of this process. The owner alone
   * cannot show that: the record may be the closing of an earlier opening of the same owner.
   */
  #lacksOpening({ openedBy }: Partial<CircuitRecord>, { tag, isSent }: Opening): boolean {
    if (openedBy === undefined || openedBy === tag) return false;
    // A custom storage without `opening` keeps the owner instead.
    return openedBy !== this.#state.owner || !isSent;
  }
}
