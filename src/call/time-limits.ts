import { Deadlines } from "../common/deadlines.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { Call } from "./call.js";

export interface TimeLimitsHooks {
  /** The time of a call, or of its wait, is over. */
  readonly onExpired: (call: Call) => void;
  /** An abandoned call has held its permit for `reclaimAfterSeconds`. */
  readonly onReclaim: (call: Call) => void;
}

/** The deadlines of calls. A call has one at a time: of its wait, of all its time, or of its permit when it is abandoned. */
export class TimeLimits {
  readonly #config: ResolvedBulkheadConfig;
  readonly #deadlines: Deadlines<Call>;
  readonly #reclaims: Deadlines<Call>;

  constructor(config: ResolvedBulkheadConfig, hooks: TimeLimitsHooks) {
    this.#config = config;
    this.#deadlines = new Deadlines(hooks.onExpired, { holdsProcess: true });
    this.#reclaims = new Deadlines(hooks.onReclaim, { holdsProcess: false });
  }

  /** Of the wait alone, while the call has to wait and `maxWaitSeconds` ends sooner; otherwise of the whole call. */
  set(call: Call): void {
    const { limitMs, enteredAt, waitsSince } = call;
    if (call.phase !== "waiting" && call.phase !== "running") return;
    const { maxWaitSeconds } = this.#config;
    if (maxWaitSeconds !== null && call.phase === "waiting" && call.hasWaited) {
      const waitMs = maxWaitSeconds * 1000;
      if (limitMs === undefined || waitsSince + waitMs < enteredAt + limitMs) {
        call.deadline = this.#deadlines.set(call, waitsSince, waitMs);
        return;
      }
    }
    if (limitMs !== undefined) call.deadline = this.#deadlines.set(call, enteredAt, limitMs);
  }

  /** The storage has answered: calls that still have to wait, wait for a permit from now on. */
  endHold(waiting: readonly Call[]): void {
    if (this.#config.maxWaitSeconds === null) return;
    for (const call of waiting) {
      this.end(call);
      this.set(call);
    }
  }

  /** The wait is over: from now on the deadline is the one of the whole call. */
  endWait(call: Call): void {
    if (call.deadline === undefined || call.deadline.delayMs === call.limitMs) return;
    this.end(call);
    this.set(call);
  }

  /** The call has no deadline any more. */
  end(call: Call): void {
    if (call.deadline === undefined) return;
    this.#deadlines.clear(call.deadline);
    call.deadline = undefined;
  }

  /** The caller is answered. The deadline stays readable: a message has its length. */
  stop(call: Call): void {
    if (call.deadline !== undefined) this.#deadlines.clear(call.deadline);
  }

  /** From `time` on the permit is held without a caller. */
  startReclaim(call: Call, time: number): void {
    const { reclaimAfterSeconds } = this.#config;
    if (reclaimAfterSeconds) {
      call.deadline = this.#reclaims.set(call, time, reclaimAfterSeconds * 1000);
    }
  }

  stopReclaim(call: Call): void {
    if (call.deadline !== undefined) this.#reclaims.clear(call.deadline);
  }

  /** Whether permits that are to be reclaimed keep the process alive: queued calls may depend on one. */
  holdProcess(holds: boolean): void {
    this.#reclaims.holdProcess(holds);
  }
}
