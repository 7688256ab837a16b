import type { Emit } from "../events.js";
import { Drains } from "./drains.js";

export interface ShutdownHooks {
  readonly emit: Emit;
  /** Whether no function runs and no call waits. */
  readonly isIdle: () => boolean;
  readonly onClosing: () => void;
  /** Rejects the queued calls; those that found a permit free go on. */
  readonly rejectQueued: () => void;
  /** Cuts every call. */
  readonly cancelAll: () => void;
  /** Disconnects from the storage. */
  readonly disconnect: () => Promise<void>;
  /** The bulkhead is shut down, and no call is left. */
  readonly onEnded: () => void;
}

/** Shuts a bulkhead down, and says when it is idle. */
export class Shutdown {
  readonly #hooks: ShutdownHooks;
  readonly #drains = new Drains();
  #isClosed = false;
  /** `shutdown` was emitted. */
  #isShutDown = false;

  constructor(hooks: ShutdownHooks) {
    this.#hooks = hooks;
  }

  /** No call is admitted any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether {@link checkIdle} has something to do when the bulkhead becomes idle. */
  get awaitsIdle(): boolean {
    return this.#isClosed || this.#drains.isIdleAwaited;
  }

  /** Settles when no call runs or waits. */
  async idle(): Promise<void> {
    if (!this.#hooks.isIdle()) await this.#drains.untilIdle();
  }

  /** A call has ended: the bulkhead may be idle. */
  checkIdle(): void {
    if (!this.#hooks.isIdle()) return;
    this.#drains.becameIdle();
    if (this.#isShutDown) this.#hooks.onEnded();
  }

  /**
   * Rejects new calls for good. The queued and the running ones have `drainSeconds` to end; without it the queued
   * ones are rejected, and the running ones go on.
   */
  async begin(drainSeconds: number | undefined): Promise<void> {
    this.#isClosed = true;
    this.#hooks.onClosing();
    if (drainSeconds !== undefined) {
      this.#drains.begin(drainSeconds * 1000, this.#hooks.cancelAll);
    } else if (this.#drains.ended === undefined) {
      this.#hooks.rejectQueued();
    }
    this.checkIdle();
    if (this.#drains.ended !== undefined) await this.#drains.ended;
    this.#emitShutdown();
    await this.#hooks.disconnect();
  }

  #emitShutdown(): void {
    if (this.#isShutDown) return;
    this.#isShutDown = true;
    this.#hooks.emit("shutdown", { drained: this.#hooks.isIdle() });
    this.checkIdle();
  }
}
