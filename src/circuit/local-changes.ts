import { nameFailure } from "../common/name-failure.js";
import type { CircuitChange, CircuitRecord } from "../storage/circuit-storage.js";
import type { Circuit } from "./circuit.js";
import {
  isAlone,
  type PendingChange,
  type ReconcilerState,
  type StorageRequest,
} from "./reconciler-state.js";
import type { CircuitTransition } from "./transition.js";

const LOAD: StorageRequest = { kind: "load" };

/**
 * What this process decided, and what to request from the storage for it. Does no I/O and owns no timer: every method
 * is one synchronous step. What the storage answers is the {@link Reconciler}'s.
 */
export class LocalChanges {
  readonly #circuit: Circuit;
  readonly #state: ReconcilerState;

  constructor(circuit: Circuit, state: ReconcilerState) {
    this.#circuit = circuit;
    this.#state = state;
  }

  /** The circuit has changed. What this process decided is to be offered to the storage. */
  onTransition(transition: CircuitTransition): void {
    const { from, to, origin } = transition;
    const state = this.#state;
    const wasOwn = state.isOwn;
    const isVote = to === "OPEN" && this.#quorumOf(transition) > 1;
    state.opening = undefined;
    state.isOwn = to !== "CLOSED" && (wasOwn || isVote);
    if (origin === "storage" || origin === "clock") return;
    if (to === "OPEN") state.openings++;
    if (to === "OPEN" && (from === "CLOSED" || isVote)) {
      state.opening = { transition, tag: this.#tag, isSent: false, isVote };
    }
    const beginsAnew = state.pending?.transition.to === "CLOSED" || state.pending?.beginsAnew;
    const withdraws = to === "CLOSED" && wasOwn;
    state.pending = { transition, isLate: false, needsLease: false, beginsAnew, withdraws };
  }

  #quorumOf({ origin, isPrescribed }: CircuitTransition): number {
    return origin === "verdict" && !isPrescribed ? this.#circuit.openQuorum : 1;
  }

  renewLease(): void {
    if (!isAlone(this.#circuit, this.#state)) this.#state.needsRenewal = true;
  }

  /** The storage did not answer. */
  requestFailed(): void {
    const state = this.#state;
    if (state.pending !== undefined) state.pending = { ...state.pending, isLate: true };
  }

  // The next request

  /** The next request, or `undefined` when nothing is to be sent or read. */
  nextRequest(options: {
    readonly needsRead: boolean;
    readonly isClosing: boolean;
  }): StorageRequest | undefined {
    const state = this.#state;
    const isOpen = this.#circuit.status === "OPEN";
    const needsRead = options.needsRead && !options.isClosing;
    if (!needsRead && !this.#hasChange(options.isClosing)) return undefined;
    const { known } = state;
    if (needsRead || known === undefined) return LOAD;
    if (state.pending?.transition.to === "HALF_OPEN" && isAlone(this.#circuit, state)) {
      // Nothing is isolated but this process.
      state.pending = undefined;
      return undefined;
    }
    if (state.pending?.isLate && state.pending.transition.to === "OPEN" && !isOpen) {
      // The isolation is over by now: sent this late, it would begin another one in every process.
      state.pending = undefined;
      return LOAD;
    }
    const change = this.#change(known);
    state.needsRenewal = false;
    if (change === undefined) return undefined;
    const offered = state.pending?.transition;
    if (state.opening && state.opening.transition === offered) {
      state.opening = { ...state.opening, isSent: true };
    }
    return { kind: "change", change, offered };
  }

  /** The last change before the process disconnects: the verdict of its probes, or the return of its lease. */
  finalChange(): CircuitChange | undefined {
    const { known, pending, owner } = this.#state;
    if (known?.state !== "HALF_OPEN" || known.probeOwner !== owner) return undefined;
    if (pending !== undefined && !pending.needsLease) return this.#change(known);
    const successes = this.#circuit.successesUnderLease ?? known.probeSuccesses;
    return { to: "HALF_OPEN", version: known.version, owner, early: true, successes };
  }

  #hasChange(isClosing: boolean): boolean {
    if (this.#state.pending !== undefined) return true;
    return !isClosing && (this.#circuit.isAcquiringLease || this.#state.needsRenewal);
  }

  #change({ state, version, openings = 0 }: CircuitRecord): CircuitChange | undefined {
    const { owner, host, pending } = this.#state;
    const common = { version, owner };
    if (pending === undefined) {
      if (this.#circuit.isAcquiringLease) return { to: "HALF_OPEN", host, ...common };
      const successes = this.#circuit.successesUnderLease;
      return successes === undefined ? undefined : { to: "HALF_OPEN", successes, host, ...common };
    }
    if (pending.needsLease) return { to: "HALF_OPEN", host, ...common };
    const { to, origin, failures, reason, cause } = pending.transition;
    const byHand = origin === "manual";
    if (to === "HALF_OPEN") return { to, early: true, ...common };
    if (to === "CLOSED") {
      const withdraws = pending.withdraws === true && state === "CLOSED" && !byHand;
      return { to, byHand, ...(withdraws && { withdraws }), ...common };
    }
    const quorum = this.#quorumOf(pending.transition);
    return {
      to,
      byHand,
      ...(quorum > 1 && { quorum, host }),
      openSeconds: this.#circuit.retryAfterSeconds,
      failureCount: failures,
      opening: this.#tag,
      cause: { rule: reason, ...nameFailure(cause) },
      ...this.#openingsToSend(pending, openings),
      ...common,
    };
  }

  /** A manual opening leaves them. This process can have missed some while the storage was away. */
  #openingsToSend({ transition, beginsAnew }: PendingChange, known: number): { openings?: number } {
    const { openings } = this.#circuit;
    if (beginsAnew) return { openings };
    return transition.origin === "manual" ? {} : { openings: Math.max(openings, known) };
  }

  /** Of the newest opening. */
  get #tag(): string {
    return `${this.#state.owner} ${this.#state.openings}`;
  }
}
