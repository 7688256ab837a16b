import pLimit, { type LimitFunction } from "p-limit";

/** A slot of p-limit, and who has it. */
export class Lane<T> {
  /** Kept for V8, as a call's. */
  static readonly specimen = new Lane<unknown>(() => {});

  holder: T | undefined = undefined;
  /** Gives the slot back. */
  readonly close: () => void;

  constructor(close: () => void) {
    this.close = close;
  }
}

const SOON = Promise.resolve();

/**
 * The permits. A lane is a slot of p-limit that goes from call to call: a burst pays p-limit once per
 * lane, and so do calls one after another, since a free lane is kept until the caller that was just
 * answered has had its turn. p-limit lowers its count some microtasks after a slot was given back; a
 * call that comes in between has its lane all the same, since the ledger says that a permit is free,
 * and its slot follows.
 */
export class Lanes<T> {
  readonly #count: number;
  /** Made for the first call: an idle bulkhead is small. */
  #limit: LimitFunction | undefined = undefined;
  readonly #open = new Set<Lane<T>>();
  readonly #free: Lane<T>[] = [];
  readonly #closeFree = () => {
    this.#isClosing = false;
    for (let lane = this.#free.pop(); lane !== undefined; lane = this.#free.pop()) {
      this.#open.delete(lane);
      lane.close();
    }
  };
  #isClosing = false;

  constructor(count: number) {
    this.#count = count;
  }

  /** Who has a lane now. */
  get holders(): T[] {
    return [...this.#open].flatMap(({ holder }) => (holder === undefined ? [] : [holder]));
  }

  take(holder: T): Lane<T> {
    const lane = this.#free.pop() ?? this.#add();
    lane.holder = holder;
    return lane;
  }

  /** The lane's call is over: the next `take()` gets it. */
  leave(lane: Lane<T>): void {
    lane.holder = undefined;
    this.#free.push(lane);
  }

  /** Gives the slots back that nobody takes soon. */
  closeSoon(): void {
    if (this.#isClosing || this.#free.length === 0) return;
    this.#isClosing = true;
    void SOON.then(this.#closeFree);
  }

  #add(): Lane<T> {
    let close = () => {};
    const closed = new Promise<void>((resolve) => {
      close = resolve;
    });
    this.#limit ??= pLimit(this.#count);
    void this.#limit(() => closed);
    const lane = new Lane<T>(close);
    this.#open.add(lane);
    return lane;
  }
}
