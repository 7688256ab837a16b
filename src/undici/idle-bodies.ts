import { now } from "../common/clock.js";
import type { Deadline } from "../common/deadline.js";
import { Deadlines } from "../common/deadlines.js";

/** The body of a response that may stall. */
export interface IdleBody {
  /** Whether it has ended. */
  readonly isEnded: boolean;
  /** Set while the body is watched. */
  watch: BodyWatch | undefined;
  /** The limit has passed since something moved. */
  stalled(): void;
}

const SOON = Promise.resolve();

/** Limits how long bodies may stall, all on one timer. Most end in the turn in which they begin, and cost nothing here. */
export class IdleBodies {
  readonly limitMs: number;
  readonly #deadlines = new Deadlines<BodyWatch>((watch) => watch.due(), { holdsProcess: false });
  #begun: IdleBody[] = [];
  readonly #onSoon = () => {
    const begun = this.#begun;
    this.#begun = [];
    for (const body of begun) {
      if (!body.isEnded) body.watch = new BodyWatch(body, this.limitMs, this.#deadlines);
    }
  };

  constructor(limitMs: number) {
    this.limitMs = limitMs;
  }

  /** A body begins. */
  add(body: IdleBody): void {
    this.#begun.push(body);
    if (this.#begun.length === 1) void SOON.then(this.#onSoon);
  }
}

/** One body that has not ended. Its deadline is not moved with each chunk, but when it has come. */
export class BodyWatch {
  readonly #body: IdleBody;
  readonly #limitMs: number;
  readonly #deadlines: Deadlines<BodyWatch>;
  #movedAt = now();
  #deadline: Deadline<BodyWatch>;

  constructor(body: IdleBody, limitMs: number, deadlines: Deadlines<BodyWatch>) {
    this.#body = body;
    this.#limitMs = limitMs;
    this.#deadlines = deadlines;
    this.#deadline = deadlines.set(this, this.#movedAt, limitMs);
  }

  /** A chunk came, or the reader goes on. */
  moved(): void {
    this.#movedAt = now();
  }

  stop(): void {
    this.#deadlines.clear(this.#deadline);
  }

  due(): void {
    // Timers can be a millisecond early.
    if (now() - this.#movedAt >= this.#limitMs - 1) this.#body.stalled();
    else this.#deadline = this.#deadlines.set(this, this.#movedAt, this.#limitMs);
  }
}
