import { outsideRequests } from "../common/async-context.js";
import type { CircuitTransition } from "./transition.js";

/** A transition that has taken effect, and is not emitted yet. */
interface PendingTransition<C> {
  readonly transition: CircuitTransition;
  /** Queued calls that it has rejected. */
  rejected: readonly C[];
}

export interface TransitionQueueHooks<C> {
  /** The transition takes effect. Returns the queued calls that it rejects. */
  readonly onEffect: (transition: CircuitTransition) => readonly C[];
  /** Its events are to be emitted, and these calls rejected, outside of every request. */
  readonly onNotify: (transition: CircuitTransition, rejected: readonly C[]) => void;
}

/**
 * Takes the transitions of a circuit apart into their effects and their events: everything takes effect first, also of
 * a transition that another one leads to. Events follow in the order of the transitions, also when a listener makes
 * the next one.
 */
export class TransitionQueue<C> {
  readonly #hooks: TransitionQueueHooks<C>;
  readonly #pending: PendingTransition<C>[] = [];
  #isNotifying = false;

  constructor(hooks: TransitionQueueHooks<C>) {
    this.#hooks = hooks;
  }

  push(transition: CircuitTransition): void {
    const pending: PendingTransition<C> = { transition, rejected: [] };
    this.#pending.push(pending);
    const isFirst = !this.#isNotifying;
    this.#isNotifying = true;
    pending.rejected = this.#hooks.onEffect(transition);
    if (isFirst) outsideRequests(() => this.#notify());
  }

  #notify(): void {
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      this.#hooks.onNotify(next.transition, next.rejected);
    }
    this.#isNotifying = false;
  }
}
