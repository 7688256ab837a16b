import { now } from "../common/clock.js";
import type { Deadline } from "../common/deadline.js";
import { Deadlines } from "../common/deadlines.js";

type CutShort = () => void;

/** Those who wait for the bulkhead to become idle: to close it, each for a time of its own, or only to know. */
export class Drains {
  #ended: Promise<void> | undefined = undefined;
  #resolve: (() => void) | undefined = undefined;
  /** Made for the first drain: most bulkheads have none. */
  #deadlines: Deadlines<CutShort> | undefined = undefined;
  readonly #pending: Array<Deadline<CutShort>> = [];
  #idle: Promise<void> | undefined = undefined;
  #resolveIdle: (() => void) | undefined = undefined;

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

  /** Whether {@link becameIdle} has a promise to resolve. */
  get isIdleAwaited(): boolean {
    return this.#idle !== undefined;
  }

  /** Settles when the bulkhead becomes idle. */
  untilIdle(): Promise<void> {
    this.#idle ??= new Promise((resolve) => {
      this.#resolveIdle = resolve;
    });
    return this.#idle;
  }

  becameIdle(): void {
    this.#resolveIdle?.();
    this.#resolveIdle = undefined;
    this.#idle = undefined;
    this.end();
  }

  /** The bulkhead is idle, or its calls were cut. */
  end(): void {
    for (const deadline of this.#pending.splice(0)) this.#deadlines?.clear(deadline);
    this.#resolve?.();
    this.#resolve = undefined;
    this.#ended = undefined;
  }
}
