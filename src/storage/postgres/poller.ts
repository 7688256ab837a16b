import { setTimeout as sleep } from "node:timers/promises";
import type { ChangeHooks, ChangeSource } from "./change-source.js";

type PollerHooks = Pick<ChangeHooks, "reread" | "onInterrupted" | "onSynced">;

/** Reads the circuits at an interval, where `LISTEN` cannot work. Never keeps the process alive. */
export class PostgresPoller implements ChangeSource {
  readonly #intervalMs: number;
  readonly #hooks: PollerHooks;
  #stopping: AbortController | undefined = undefined;

  constructor(intervalMs: number, hooks: PollerHooks) {
    this.#intervalMs = intervalMs;
    this.#hooks = hooks;
  }

  start(): void {
    if (this.#stopping !== undefined) return;
    this.#stopping = new AbortController();
    void this.#pollUntil(this.#stopping.signal);
  }

  stop(): void {
    this.#stopping?.abort();
    this.#stopping = undefined;
  }

  /** Does nothing: the next read finds out anyway. */
  check(): void {}

  /** Does nothing: no notice arrives. */
  updatePermits(): void {}

  async #pollUntil(stopped: AbortSignal): Promise<void> {
    while (true) {
      // Jitter, so that the processes of a fleet that started together do not read together.
      const delay = this.#intervalMs * (0.9 + Math.random() / 10);
      await sleep(delay, undefined, { ref: false, signal: stopped }).catch(() => {});
      if (stopped.aborted) return;
      try {
        await this.#hooks.reread();
        if (!stopped.aborted) this.#hooks.onSynced();
      } catch (error) {
        if (!stopped.aborted) this.#hooks.onInterrupted(error);
      }
    }
  }
}
