import pLimit, { type LimitFunction } from "p-limit";
import { outsideRequests } from "../common/async-context.js";

export interface LanesHooks<T> {
  /** A lane is idle that was not before: p-limit has opened it. */
  readonly onOpen: () => void;
  /** The promise that the function of `holder` returned has settled. */
  readonly onSettled: (holder: T, succeeded: boolean, value: unknown) => void;
}

/** A slot of p-limit that runs one call after another. */
export class Lane<T> {
  holder: T | undefined = undefined;
  /** No slot of p-limit, for a call that only is watched. `refused`: it would not have been started. */
  unlimited: "admitted" | "refused" | undefined = undefined;
  /** Gives the slot back to p-limit. */
  readonly close: () => void;
  // Here and not per call: two closures less for each call.
  readonly onFulfilled: (value: unknown) => void;
  readonly onRejected: (error: unknown) => void;

  constructor(close: () => void, onSettled: LanesHooks<T>["onSettled"]) {
    this.close = close;
    this.onFulfilled = (value) => {
      if (this.holder !== undefined) onSettled(this.holder, true, value);
    };
    this.onRejected = (error) => {
      if (this.holder !== undefined) onSettled(this.holder, false, error);
    };
  }
}

/**
 * Idle lanes that stay open: with none, a request that comes a turn after another one has p-limit open a lane anew, which
 * takes a promise and three turns of the microtasks.
 */
const KEPT_LANES = 1;

const SOON = Promise.resolve();

/**
 * The permits. p-limit alone decides how many lanes are open, and a function runs only in a lane.
 *
 * At most one lane is requested at a time. p-limit opens it when a slot is free: within the same turn of
 * the event loop, or when another lane closes. A lane goes from call to call; when no call is queued, one lane
 * stays open, and the others for one microtask, so that calls one after another pay for p-limit once.
 */
export class Lanes<T> {
  #count: number;
  readonly #hooks: LanesHooks<T>;
  /** Created for the first call: an idle bulkhead stays small. */
  #limit: LimitFunction | undefined = undefined;
  readonly #open = new Set<Lane<T>>();
  readonly #idle: Lane<T>[] = [];
  #isRequested = false;
  #isClosing = false;
  /** Without slots of p-limit. */
  readonly #unlimited = new Set<Lane<T>>();
  /** Calls that run and would not have been started. */
  refused = 0;
  /** More lanes are open than p-limit may open by now. */
  #hasSurplus = false;
  readonly #requestLane = () => {
    this.#limit ??= pLimit(Math.max(1, this.#count));
    void this.#limit(this.#openLane);
  };
  readonly #openLane = () => new Promise<void>((close) => this.#opened(close));
  readonly #closeIdle = () => {
    this.#isClosing = false;
    while (this.#idle.length > KEPT_LANES) {
      const lane = this.#idle.pop();
      if (lane === undefined) return;
      this.#open.delete(lane);
      lane.close();
    }
  };

  constructor(count: number, hooks: LanesHooks<T>) {
    this.#count = count;
    this.#hooks = hooks;
  }

  /** How many lanes p-limit opens at most. */
  get count(): number {
    // p-limit itself cannot have 0.
    return this.#count === 0 ? 0 : (this.#limit?.concurrency ?? this.#count);
  }

  /** Opens at most `count` lanes from now on, which may be 0. A lane that is taken closes when its function has settled. */
  resize(count: number): void {
    if (count === this.#count) return;
    this.#count = count;
    if (this.#limit !== undefined) this.#limit.concurrency = Math.max(1, count);
    this.#hasSurplus = this.#open.size > count;
    this.#closeSurplus();
  }

  #closeSurplus(): void {
    while (this.#hasSurplus) {
      const lane = this.#idle.pop();
      if (lane === undefined) return;
      this.#close(lane);
    }
  }

  /** Who has a lane now. */
  get holders(): T[] {
    return [...this.#open, ...this.#unlimited].flatMap(({ holder }) =>
      holder === undefined ? [] : [holder],
    );
  }

  /** An idle lane for `holder`, if there is one. */
  take(holder: T): Lane<T> | undefined {
    const lane = this.#idle.pop();
    if (lane !== undefined) lane.holder = holder;
    return lane;
  }

  /** Whether calls run that p-limit does not count. */
  get hasUnlimited(): boolean {
    return this.#unlimited.size > 0;
  }

  /** A lane without a slot of p-limit. */
  openUnlimited(holder: T, as: "admitted" | "refused"): Lane<T> {
    const lane = new Lane<T>(ignore, this.#hooks.onSettled);
    lane.holder = holder;
    lane.unlimited = as;
    if (as === "refused") this.refused++;
    this.#unlimited.add(lane);
    return lane;
  }

  /** Asks p-limit for one more lane, unless p-limit has been asked already. */
  request(): void {
    if (this.#isRequested || this.#count === 0) return;
    this.#isRequested = true;
    // A lane outlives the request that it was opened for.
    outsideRequests(this.#requestLane);
  }

  /** The function in the lane has settled. */
  release(lane: Lane<T>): void {
    lane.holder = undefined;
    if (lane.unlimited !== undefined) this.#closeUnlimited(lane);
    else if (this.#hasSurplus) this.#close(lane);
    else this.#idle.push(lane);
  }

  #close(lane: Lane<T>): void {
    this.#open.delete(lane);
    lane.close();
    this.#hasSurplus = this.#open.size > this.count;
  }

  /**
   * Takes the lane away from a function that is still running. The old lane object keeps its holder:
   * the function may settle later, and must not settle the call that has the slot by then.
   */
  reclaim(lane: Lane<T>): void {
    if (lane.unlimited !== undefined) {
      this.#closeUnlimited(lane);
      return;
    }
    if (this.#hasSurplus) {
      this.#close(lane);
      return;
    }
    this.#open.delete(lane);
    this.#add(lane.close);
  }

  #closeUnlimited(lane: Lane<T>): void {
    if (!this.#unlimited.delete(lane)) return;
    if (lane.unlimited === "refused") this.refused--;
  }

  /** Closes the lanes, except for one, that are still idle after the microtasks that are queued by now. */
  closeIdleSoon(): void {
    if (this.#isClosing || this.#idle.length <= KEPT_LANES) return;
    this.#isClosing = true;
    void SOON.then(this.#closeIdle);
  }

  #opened(close: () => void): void {
    this.#isRequested = false;
    this.#add(close);
    // p-limit was about to open it when the count was lowered.
    this.#hasSurplus = this.#open.size > this.count;
    this.#closeSurplus();
    this.#hooks.onOpen();
  }

  #add(close: () => void): void {
    const lane = new Lane<T>(close, this.#hooks.onSettled);
    this.#open.add(lane);
    this.#idle.push(lane);
  }
}

function ignore(): void {}
