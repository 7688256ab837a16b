import { now } from "../common/clock.js";
import type { Deadline } from "../common/deadline.js";
import { Deadlines } from "../common/deadlines.js";

type CutShort = () => void;

/** Those who wait for a closed bulkhead to become idle, each for a time of its own. */
export class Drains {
  #ended: Promise<void> | undefined = undefined;
  #resolve: (() => void) | undefined = undefined;
  /** Made for the first drain: most bulkheads have none. */
  #deadlines: Deadlines<CutShort> | undefined = undefined;
  readonly #pending: Array<Deadline<CutShort>> = [];

  /** Settles when the drains that are under way have ended; `undefined` when none is. */
  get ended(): Promise<void> | undefined {
    return this.#ended;
  }

  /** Waits for the end, and cuts it short after `limitMs`. The shortest limit counts. */
  begin(limitMs: number, cut: () => void): void {
    this.#ended ??= new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const cutShort = () => {
      cut();
      this.end();
    };
    if (limitMs === 0) {
      cutShort();
      return;
    }
    this.#deadlines ??= new Deadlines((cutShort) => cutShort(), { holdsProcess: true });
    this.#pending.push(this.#deadlines.set(cutShort, now(), limitMs));
  }

  /** The bulkhead is idle, or its calls were cut. */
  end(): void {
    for (const deadline of this.#pending.splice(0)) this.#deadlines?.clear(deadline);
    this.#resolve?.();
    this.#resolve = undefined;
    this.#ended = undefined;
  }
}
