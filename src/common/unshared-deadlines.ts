import { lookAtTimer, MAX_TIMER_MS, now, unref } from "./clock.js";
import type { Deadline } from "./deadline.js";

/** The deadlines of one instant, on one timer. */
interface Instant<T> {
  readonly at: number;
  readonly deadlines: Set<Deadline<T>>;
  readonly cancel: () => void;
}

const SOON = Promise.resolve();

/**
 * Deadlines that are set while timers are faked, or not known yet. Each has a timer of its own, so that it
 * expires exactly when a test's clock says so, and a timer that never fires, because its test has ended,
 * delays no other deadline. Only deadlines of the same instant that are set in one turn have one together.
 */
export class UnsharedDeadlines<T> {
  readonly #onDue: (owner: T) => void;
  readonly #instants = new WeakMap<Deadline<T>, Instant<T>>();
  /** Open to more deadlines until promises have their turn: before that, no test can have ended. */
  #open: Instant<T> | undefined = undefined;

  constructor(onDue: (owner: T) => void) {
    this.#onDue = onDue;
  }

  set(deadline: Deadline<T>, holdsProcess: boolean): void {
    if (this.#open?.at !== deadline.at) this.#open = this.#begin(deadline.at, holdsProcess);
    this.#open.deadlines.add(deadline);
    this.#instants.set(deadline, this.#open);
  }

  clear(deadline: Deadline<T>): void {
    const instant = this.#instants.get(deadline);
    if (instant === undefined) return;
    this.#instants.delete(deadline);
    instant.deadlines.delete(deadline);
    if (instant.deadlines.size > 0) return;
    this.#close(instant);
    instant.cancel();
  }

  #begin(at: number, holdsProcess: boolean): Instant<T> {
    const deadlines = new Set<Deadline<T>>();
    const setTimer = setTimeout;
    let timer: NodeJS.Timeout | undefined;
    const wait = (ms: number) => {
      const step = Math.min(ms, MAX_TIMER_MS);
      timer = setTimer(() => {
        if (ms > step) wait(ms - step);
        else expire();
      }, step);
      lookAtTimer(timer);
      if (!holdsProcess) unref(timer);
    };
    const expire = () => {
      this.#close(instant);
      for (const deadline of deadlines) {
        deadlines.delete(deadline);
        this.#instants.delete(deadline);
        this.#onDue(deadline.owner);
      }
    };
    // A timer of an ended test is not cleared: node:test would clear one of the next test instead.
    const cancel = () => {
      if (setTimeout === setTimer) clearTimeout(timer);
    };
    const instant = { at, deadlines, cancel };
    wait(Math.max(Math.ceil(at - now()), 1));
    void SOON.then(() => this.#close(instant));
    return instant;
  }

  /** No more deadlines share its timer. */
  #close(instant: Instant<T>): void {
    if (this.#open === instant) this.#open = undefined;
  }
}
