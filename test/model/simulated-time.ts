interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  isCleared: boolean;
  ref(): Timer;
  unref(): Timer;
}

/** Timers that fire in their order, without waiting: a heap, the next one first. */
export class SimulatedTime {
  now = 0;
  readonly #heap: Timer[] = [];
  #made = 0;

  setTimer(run: () => void, delayMs: number): Timer {
    const timer: Timer = {
      at: this.now + Math.max(delayMs, 0),
      order: this.#made++,
      run,
      isCleared: false,
      ref: () => timer,
      unref: () => timer,
    };
    this.#push(timer);
    return timer;
  }

  /** Runs everything that is due until then, on clocks and timers that belong to this time. */
  async runUntil(end: number): Promise<void> {
    const { setTimeout, clearTimeout } = globalThis;
    const { now } = performance;
    Object.assign(globalThis, {
      setTimeout: (run: () => void, delayMs: number) => this.setTimer(run, delayMs),
      clearTimeout: (timer: Timer | undefined) => {
        if (timer !== undefined) timer.isCleared = true;
      },
    });
    performance.now = () => this.now;
    try {
      for (let next = this.#pop(); next !== undefined && next.at <= end; next = this.#pop()) {
        if (next.isCleared) continue;
        this.now = next.at;
        next.run();
        // What follows by promises comes before the next timer.
        for (let turn = 0; turn < 8; turn++) await undefined;
      }
    } finally {
      Object.assign(globalThis, { setTimeout, clearTimeout });
      performance.now = now;
    }
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, timer)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): Timer | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      const left = heap[child];
      const right = heap[child + 1];
      if (left === undefined) break;
      const lower = right !== undefined && isBefore(right, left) ? right : left;
      if (lower === right) child++;
      if (isBefore(last, lower)) break;
      heap[at] = lower;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}
