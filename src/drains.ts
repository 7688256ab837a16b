/** Those who wait for a closed bulkhead to become idle, each for a time of its own. */
export class Drains {
  #ended: Promise<void> | undefined = undefined;
  #resolve: (() => void) | undefined = undefined;
  readonly #timers = new Set<NodeJS.Timeout>();

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
    if (limitMs === 0) cutShort();
    else this.#timers.add(setTimeout(cutShort, limitMs));
  }

  /** The bulkhead is idle, or its calls were cut. */
  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#resolve?.();
    this.#resolve = undefined;
    this.#ended = undefined;
  }
}
