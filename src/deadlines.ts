import { MAX_TIMER_MS, now } from "./clock.js";
import { LinkedList, ListNode } from "./linked-list.js";

/** A deadline that was set and can be taken back with {@link Deadlines.clear}. */
export class Deadline<T> extends ListNode<Deadline<T>> {
  constructor(
    readonly at: number,
    readonly delayMs: number,
    readonly owner: T,
  ) {
    super();
  }
}

/** Empty lists that are kept for the next deadline of their delay. */
const KEPT_LISTS = 4;

/**
 * Many deadlines on one timer. Deadlines of the same delay fall due in the order in which they were
 * set, so each delay has a list that is sorted by itself, and setting and clearing are O(1). Without
 * deadlines there is no timer.
 */
export class Deadlines<T> {
  readonly #onDue: (owner: T) => void;
  readonly #onTimer = () => this.#fire();
  readonly #lists = new Map<number, LinkedList<Deadline<T>>>();
  #timer: NodeJS.Timeout | undefined = undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #size = 0;
  #holdsProcess: boolean;

  /**
   * @param onDue told the owner of each deadline that has passed; must not throw
   * @param options.holdsProcess whether pending deadlines keep the process alive
   */
  constructor(onDue: (owner: T) => void, { holdsProcess }: { holdsProcess: boolean }) {
    this.#onDue = onDue;
    this.#holdsProcess = holdsProcess;
  }

  /** Sets a deadline `delayMs` milliseconds from `from` on the monotonic clock. */
  set(owner: T, from: number, delayMs: number): Deadline<T> {
    let list = this.#lists.get(delayMs);
    if (list === undefined) {
      list = new LinkedList();
      this.#lists.set(delayMs, list);
    }
    const at = from + delayMs;
    const deadline = new Deadline(at, delayMs, owner);
    list.push(deadline);
    this.#size++;
    if (at < this.#timerAt) this.#arm(at);
    return deadline;
  }

  /** Takes a deadline back. Does nothing when it has passed or was taken back already. */
  clear(deadline: Deadline<T>): void {
    if (deadline.list === undefined) return;
    deadline.list.remove(deadline);
    this.#dropEmpty(deadline.delayMs);
    this.#size--;
    if (this.#size === 0) this.#disarm();
  }

  /** Says whether pending deadlines keep the process alive from now on. */
  holdProcess(holds: boolean): void {
    if (this.#holdsProcess === holds) return;
    this.#holdsProcess = holds;
    if (holds) this.#timer?.ref();
    else this.#timer?.unref();
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = at;
    // A timer counts whole milliseconds and may fire a fraction early by the monotonic clock.
    const delay = Math.min(Math.max(Math.ceil(at - now()), 1), MAX_TIMER_MS);
    this.#timer = setTimeout(this.#onTimer, delay);
    if (!this.#holdsProcess) this.#timer.unref();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #dropEmpty(delayMs: number): void {
    if (this.#lists.size > KEPT_LISTS && this.#lists.get(delayMs)?.size === 0) {
      this.#lists.delete(delayMs);
    }
  }

  #fire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const time = now();
    let earliest = Number.POSITIVE_INFINITY;
    for (const [delay, list] of this.#lists) {
      for (let first = list.first; first !== undefined && first.at <= time; first = list.first) {
        list.shift();
        this.#size--;
        this.#onDue(first.owner);
      }
      if (list.first === undefined) this.#dropEmpty(delay);
      else earliest = Math.min(earliest, list.first.at);
    }
    if (this.#size === 0) this.#disarm();
    else if (earliest < this.#timerAt) this.#arm(earliest);
  }
}
