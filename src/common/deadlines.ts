import { hasNativeTimers, MAX_TIMER_MS, now } from "./clock.js";
import { Deadline } from "./deadline.js";
import { LinkedList } from "./linked-list.js";
import { UnsharedDeadlines } from "./unshared-deadlines.js";

/** Empty lists that are kept for the next deadline of their delay. */
const KEPT_LISTS = 4;

/**
 * How long deadlines may expire in one turn of the event loop, and after how many of them the clock is read.
 * When thousands are due together, the rest waits for another turn, so that other work gets one.
 */
const TURN_MS = 1;
const LOOK_EVERY = 32;

/** A timer that fires later than this has waited for a blocked event loop. Some lateness is usual. */
const LATE_MS = 2;

/** A timer that was cleared sooner was probably not needed. */
const BRIEF_MS = 1;

const SOON = Promise.resolve();

/**
 * Many deadlines on one timer. Deadlines of the same delay fall due in the order in which they were
 * set, so each delay has a list that is sorted by itself, and setting and clearing are O(1). Without
 * deadlines there is no timer.
 *
 * A timer costs as much as the rest of a short call. So after one that was cleared at once, the next
 * is set only when its deadline has outlived the promises that are ready by now.
 *
 * All this relies on timers that fire. Where timers are faked, {@link UnsharedDeadlines} are used instead.
 */
export class Deadlines<T> {
  readonly #onDue: (owner: T) => void;
  readonly #onTimer = () => this.#fire(this.#firesAt);
  readonly #onSoon = () => {
    this.#isArming = false;
    const earliest = this.#earliest;
    if (earliest === undefined || earliest.at >= this.#timerAt) return;
    // When timers were faked since the deadline was set, `now()` may be another clock's.
    const time = hasNativeTimers() ? now() : earliest.at - earliest.delayMs;
    this.#arm(earliest.at, time);
  };
  readonly #lists = new Map<number, LinkedList<Deadline<T>>>();
  #recent: LinkedList<Deadline<T>> | undefined = undefined;
  #recentDelayMs = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  /** What makes and clears that timer; a test may fake the global functions while it is pending. */
  #setTimer: typeof setTimeout | undefined = undefined;
  #clearTimer: typeof clearTimeout = clearTimeout;
  /** Made for the first deadline whose timer may be faked. */
  #unshared: UnsharedDeadlines<T> | undefined = undefined;
  /** The deadline that the timer is for. */
  #timerAt = Number.POSITIVE_INFINITY;
  #armedAt = 0;
  #firesAt = 0;
  /** When due deadlines were last looked at: the event loop has had a turn since. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  #wasBrief = false;
  #isArming = false;
  #size = 0;
  #holdsProcess: boolean;

  /**
   * @param onDue called with the owner of each deadline that has passed; must not throw
   * @param options.holdsProcess whether pending deadlines keep the process alive
   */
  constructor(onDue: (owner: T) => void, { holdsProcess }: { holdsProcess: boolean }) {
    this.#onDue = onDue;
    this.#holdsProcess = holdsProcess;
  }

  /** Sets a deadline `delayMs` milliseconds from `from` on the monotonic clock. */
  set(owner: T, from: number, delayMs: number): Deadline<T> {
    const at = from + delayMs;
    const deadline = new Deadline(at, delayMs, owner);
    if (setTimeout !== this.#setTimer && !this.#canShare(deadline)) return deadline;
    this.#listOf(delayMs).push(deadline);
    this.#size++;
    // A timer has whole milliseconds: it is not set again for less.
    if (at < this.#timerAt - 0.5) {
      if (this.#wasBrief) this.#armSoon();
      else this.#arm(at, now());
    }
    return deadline;
  }

  /** Clears a deadline. Does nothing when it has passed or was cleared already. */
  clear(deadline: Deadline<T>): void {
    const { list } = deadline;
    if (list === undefined) {
      this.#unshared?.clear(deadline);
      return;
    }
    list.remove(deadline);
    this.#size--;
    if (list.size === 0) this.#dropEmpty(deadline.delayMs);
    if (this.#size === 0 && this.#timer !== undefined) {
      const elapsed = now() - this.#armedAt;
      // A clock that stands still is a faked one: the test that moves it expects a timer at once.
      this.#wasBrief = elapsed > 0 && elapsed < BRIEF_MS;
      this.#disarm();
    }
  }

  /** Sets whether pending deadlines keep the process alive from now on. */
  holdProcess(holds: boolean): void {
    if (this.#holdsProcess === holds) return;
    this.#holdsProcess = holds;
    if (holds) this.#timer?.ref();
    else this.#timer?.unref();
  }

  #armSoon(): void {
    if (this.#isArming) return;
    this.#isArming = true;
    void SOON.then(this.#onSoon);
  }

  /** Whether the timers of this moment can be shared. The deadline gets one of its own if not. */
  #canShare(deadline: Deadline<T>): boolean {
    if (!hasNativeTimers()) {
      this.#unshared ??= new UnsharedDeadlines(this.#onDue);
      this.#unshared.set(deadline, this.#holdsProcess);
      // That was a look at what `setTimeout` makes.
      if (!hasNativeTimers()) return false;
      this.#unshared.clear(deadline);
    }
    this.#setTimer = setTimeout;
    this.#clearTimer = clearTimeout;
    return true;
  }

  /** @param time the time now */
  #arm(at: number, time: number): void {
    const setTimer = this.#setTimer ?? setTimeout;
    this.#disarm();
    this.#timerAt = at;
    this.#armedAt = time;
    this.#wasBrief = false;
    const delay = Math.min(Math.max(Math.ceil(at - time), 1), MAX_TIMER_MS);
    this.#firesAt = time + delay;
    this.#timer = setTimer(this.#onTimer, delay);
    if (!this.#holdsProcess) this.#timer.unref();
  }

  #disarm(): void {
    if (this.#timer === undefined) return;
    const clearTimer = this.#clearTimer;
    clearTimer(this.#timer);
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #listOf(delayMs: number): LinkedList<Deadline<T>> {
    // Nearly all calls of a bulkhead have the same limit.
    if (this.#recent !== undefined && delayMs === this.#recentDelayMs) return this.#recent;
    let list = this.#lists.get(delayMs);
    if (list === undefined) {
      list = new LinkedList();
      this.#lists.set(delayMs, list);
    }
    this.#recent = list;
    this.#recentDelayMs = delayMs;
    return list;
  }

  #dropEmpty(delayMs: number): void {
    if (this.#lists.size <= KEPT_LISTS || this.#lists.get(delayMs)?.size !== 0) return;
    this.#lists.delete(delayMs);
    this.#recent = undefined;
  }

  get #earliest(): Deadline<T> | undefined {
    let earliest: Deadline<T> | undefined;
    for (const { first } of this.#lists.values()) {
      if (first !== undefined && (earliest === undefined || first.at < earliest.at)) {
        earliest = first;
      }
    }
    return earliest;
  }

  /**
   * Expires what is due. After a blocked event loop, timers have their turn before the answers that have
   * arrived meanwhile, and an answered call must not time out: then what has become due since the last look
   * waits for the next one, and the poll phase lies between them.
   * @param due when this was to happen: Node's timers can fire up to a millisecond early by the monotonic
   *   clock
   */
  #fire(due: number): void {
    this.#disarm();
    // A test may have faked timers, and the clock with them, while this one was pending.
    const begun = hasNativeTimers() ? now() : due;
    const time = Math.max(begun, due);
    const until = time - due > LATE_MS ? this.#lookedAt : time;
    this.#lookedAt = time;
    let untilLook = LOOK_EVERY;
    for (const [delay, list] of this.#lists) {
      for (let first = list.first; first !== undefined && first.at <= until; first = list.first) {
        if (untilLook-- === 0) {
          if (now() - begun >= TURN_MS) break;
          untilLook = LOOK_EVERY;
        }
        list.shift();
        this.#size--;
        this.#onDue(first.owner);
      }
      if (list.first === undefined) this.#dropEmpty(delay);
    }
    const earliest = this.#earliest;
    if (earliest === undefined) this.#disarm();
    else if (earliest.at < this.#timerAt) {
      this.#arm(earliest.at, hasNativeTimers() ? Math.max(now(), due) : due);
    }
  }
}
