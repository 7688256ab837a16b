import { LinkedList } from "../common/linked-list.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { Call } from "./call.js";
import { QueueTarget } from "./queue-target.js";
import { TypicalRunTime } from "./typical-run-time.js";

/**
 * The queued calls, first in, first out; p-limit's own queue can only be cleared whole. Decides whether a call is
 * worth starting when its turn comes.
 */
export class CallQueue {
  readonly #config: ResolvedBulkheadConfig;
  readonly #calls = new LinkedList<Call>();
  readonly #target: QueueTarget;
  readonly #typicalRunTime = new TypicalRunTime();

  constructor(config: ResolvedBulkheadConfig) {
    this.#config = config;
    this.#target = new QueueTarget(config.queueTargetSeconds);
  }

  get size(): number {
    return this.#calls.size;
  }

  get first(): Call | undefined {
    return this.#calls.first;
  }

  push(call: Call): void {
    if (this.#calls.size === 0) this.#target.queueBegins(call.enteredAt);
    this.#calls.push(call);
  }

  shift(): Call | undefined {
    return this.#calls.shift();
  }

  /** The calls that found no permit free, in their order. The others are about to start. */
  waiting(): Call[] {
    const waiting: Call[] = [];
    for (let call = this.#calls.first; call !== undefined; call = call.next) {
      if (call.hasWaited) waiting.push(call);
    }
    return waiting;
  }

  /** A function has succeeded after `runMs`. */
  recordRunTime(runMs: number): void {
    this.#typicalRunTime.record(runMs);
  }

  /** Seconds until the calls that are queued now have probably started. */
  get drainSeconds(): number {
    const waitMs = this.#calls.size * this.#typicalRunTime.meanMs;
    return waitMs / this.#config.maxConcurrentCalls / 1000;
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
    return this.#target.isExceeded(call.enteredAt, time);
  }
}
