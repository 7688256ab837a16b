import pLimit, { type LimitFunction } from "p-limit";

/** Gives a slot of p-limit back. */
export type Lane = () => void;

const SOON = Promise.resolve();

/**
 * The permits. A lane is a slot of p-limit that goes from call to call: a burst pays p-limit once per
 * lane, and so do calls one after another, since a free lane is kept until the caller that was just
 * answered has had its turn. p-limit lowers its count some microtasks after a slot was given back; a
 * call that comes in between has its lane all the same, since the ledger says that a permit is free,
 * and its slot follows.
 */
export class Lanes {
  readonly #limit: LimitFunction;
  readonly #free: Lane[] = [];
  readonly #closeFree = () => {
    this.#isClosing = false;
    for (let lane = this.#free.pop(); lane !== undefined; lane = this.#free.pop()) lane();
  };
  #isClosing = false;

  constructor(count: number) {
    this.#limit = pLimit(count);
  }

  take(): Lane {
    return this.#free.pop() ?? this.#open();
  }

  /** The lane's call is over: the next `take()` gets it. */
  leave(lane: Lane): void {
    this.#free.push(lane);
  }

  /** Gives the slots back that nobody takes soon. */
  closeSoon(): void {
    if (this.#isClosing || this.#free.length === 0) return;
    this.#isClosing = true;
    void SOON.then(this.#closeFree);
  }

  #open(): Lane {
    let close: Lane = () => {};
    const closed = new Promise<void>((resolve) => {
      close = resolve;
    });
    void this.#limit(() => closed);
    return close;
  }
}
