import { LinkedList } from "../common/linked-list.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { Call } from "./call.js";
import { QueueTarget } from "./queue-target.js";
import type { TypicalRunTime } from "./typical-run-time.js";

/**
 * The queued calls, first in, first out; p-limit's own queue can only be cleared whole. Decides whether a call is
 * worth starting when its turn comes.
 */
export class CallQueue extends LinkedList<Call> {
  readonly #target: QueueTarget;
  readonly #typicalRunTime: TypicalRunTime;

  constructor(config: ResolvedBulkheadConfig, typicalRunTime: TypicalRunTime) {
    super();
    this.#target = new QueueTarget(config);
    this.#typicalRunTime = typicalRunTime;
  }

  override push(call: Call): void {
    if (this.size === 0) this.#target.queueBegins(call.waitsSince);
    super.push(call);
  }

  /** The storage has answered at `time`: from now on the calls wait for a permit, as far as none is free. */
  endHold(freePermits: number, time: number): void {
    let place = 0;
    for (let call = this.first; call !== undefined; call = call.next, place++) {
      if (!call.isHeld) continue;
      call.isHeld = false;
      call.waitsSince = time;
      call.hasWaited = place >= freePermits;
    }
    this.#target.queueBegins(time);
  }

  /** The calls that wait for a permit or for the storage, in their order. The others are about to start. */
  waiting(): Call[] {
    const waiting: Call[] = [];
    for (let call = this.first; call !== undefined; call = call.next) {
      if (call.hasWaited || call.isHeld) waiting.push(call);
    }
    return waiting;
  }

  /** Seconds until the calls that are queued now have probably started, with so many permits. */
  drainSeconds(permits: number): number {
    return (this.size * this.#typicalRunTime.meanMs) / permits / 1000;
  }

  /**
   * Whether too little of the call's time is left for its function: to start it would be in vain, and would take
   * the permit from a call that has time. Also when its time is over, as a blocked event loop can free a
   * permit before the timer has its turn.
   */
  isHopeless({ deadline, enteredAt, limitMs }: Call, time: number): boolean {
    if (deadline !== undefined && deadline.at <= time) return true;
    if (limitMs === undefined) return false;
    return enteredAt + limitMs - time < this.#typicalRunTime.neededMs(limitMs);
  }

  /** Whether a call whose turn it is has waited longer than `queueTargetSeconds` allow. */
  isOverdue(call: Call, time: number): boolean {
    return this.#target.isExceeded(call.waitsSince, time);
  }
}
