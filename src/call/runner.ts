import type { Gate } from "../circuit/gate.js";
import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { KEEPS_FRAMES, withOrigin } from "../errors.js";
import type { Counters } from "../stats.js";
import type { Call } from "./call.js";
import type { CallQueue } from "./call-queue.js";
import type { Capacity } from "./capacity.js";
import type { EarlyEnds } from "./early-ends.js";
import type { FleetPart } from "./fleet-part.js";
import { HELD } from "./held-call.js";
import type { Lane, Lanes } from "./lanes.js";
import type { Outcomes } from "./outcomes.js";
import type { QueueRejections } from "./queue-rejections.js";
import type { Shutdown } from "./shutdown.js";
import type { TimeLimits } from "./time-limits.js";

interface RunnerParts {
  readonly counters: Counters;
  readonly gate: Gate<Call>;
  readonly lanes: Lanes<Call>;
  readonly queue: CallQueue;
  readonly queued: QueueRejections;
  readonly limits: TimeLimits;
  readonly capacity: Capacity;
  readonly fleet: FleetPart;
  readonly outcomes: Outcomes;
  readonly ends: EarlyEnds;
  readonly shutdown: Shutdown;
}

/** Takes an admitted call to its end: it starts in a lane, at once or when its turn comes, and settles with its function. */
export class Runner {
  readonly #config: ResolvedBulkheadConfig;
  readonly #counters: Counters;
  readonly #gate: Gate<Call>;
  readonly #lanes: Lanes<Call>;
  readonly #queue: CallQueue;
  readonly #queued: QueueRejections;
  readonly #limits: TimeLimits;
  readonly #capacity: Capacity;
  readonly #fleet: FleetPart;
  readonly #outcomes: Outcomes;
  readonly #ends: EarlyEnds;
  readonly #shutdown: Shutdown;
  readonly #onAbort = (call: Call, reason: unknown) => this.#ends.abort(call, reason);
  #isStarting = false;

  constructor(config: ResolvedBulkheadConfig, parts: RunnerParts) {
    this.#config = config;
    this.#counters = parts.counters;
    this.#gate = parts.gate;
    this.#lanes = parts.lanes;
    this.#queue = parts.queue;
    this.#queued = parts.queued;
    this.#limits = parts.limits;
    this.#capacity = parts.capacity;
    this.#fleet = parts.fleet;
    this.#outcomes = parts.outcomes;
    this.#ends = parts.ends;
    this.#shutdown = parts.shutdown;
  }

  /** The call is admitted. */
  enter(call: Call, timeoutSeconds: number | null): void {
    call.enter(now());
    if (KEEPS_FRAMES) call.reject = withOrigin(call.reject);
    if (call.signal !== undefined) call.watch(this.#onAbort);
    const lane = this.#idleLane(call);
    if (lane === undefined) this.#enqueue(call);
    else this.#start(call, lane, call.enteredAt);
    if (timeoutSeconds !== null) call.limitMs = timeoutSeconds * 1000;
    if (timeoutSeconds !== null || this.#config.maxWaitSeconds !== null) this.#limits.set(call);
  }

  #idleLane(call: Call): Lane<Call> | undefined {
    if (call.watched !== undefined) return this.#lanes.openUnlimited(call, call.watched);
    const mustWait =
      this.#queue.size > 0 || this.#gate.isAwaitingStorage || this.#capacity.isOverrun;
    if (mustWait || this.#capacity.hasLapsed(call.enteredAt)) return undefined;
    return this.#lanes.take(call);
  }

  #enqueue(call: Call): void {
    call.isHeld = this.#gate.isAwaitingStorage;
    call.hasWaited = !call.isHeld && this.#queue.size >= this.#capacity.freePermits;
    this.#queue.push(call);
    // A queued call may depend on a permit that is to be reclaimed.
    this.#limits.holdProcess(true);
    if (!call.isHeld) this.#lanes.request();
    this.#fleet.limit?.wait();
  }

  /**
   * Starts queued calls in idle lanes, and requests another lane for those that are left: a loop, since
   * functions can be synchronous.
   * @param freedAt when the permit became free, if that is known
   */
  startQueued(freedAt?: number): void {
    if (this.#isStarting) return;
    this.#isStarting = true;
    let time = freedAt;
    for (let call = this.#queue.first; call !== undefined; call = this.#queue.first) {
      if (this.#gate.isAwaitingStorage || this.#capacity.isOverrun) break;
      time ??= now();
      if (this.#capacity.hasLapsed(time)) break;
      if (call.isHeld) this.#endHold(time);
      if (call.hasWaited && this.#queue.isHopeless(call, time)) {
        this.#ends.expire(call);
        continue;
      }
      // Calls that waited when `enforce` became `false` run at once.
      const lane = this.#config.enforce
        ? this.#lanes.take(call)
        : this.#lanes.openUnlimited(call, "admitted");
      if (lane === undefined) {
        this.#lanes.request();
        break;
      }
      if (call.hasWaited && this.#queue.isOverdue(call, time)) {
        this.#lanes.release(lane);
        this.#queued.rejectOverdue(call);
        continue;
      }
      this.#queue.shift();
      call.inContext(this.#start, this, call, lane, time);
      time = undefined;
    }
    this.#isStarting = false;
    this.#lanes.closeIdleSoon();
    this.checkIdle();
  }

  /** The storage has answered. What still has to wait, waits for a permit from now on. */
  #endHold(time: number): void {
    this.#queue.endHold(this.#capacity.freePermits, time);
    this.#limits.endHold(this.#queue.waiting());
  }

  #start(call: Call, lane: Lane<Call>, time: number): void {
    call.phase = "running";
    call.startedAt = time;
    call.lane = lane;
    this.#counters.active++;
    if (call.hasWaited) this.#limits.endWait(call);
    if (call.isTask) call.prepare();
    call.circuit.recordStart(call);
    let returned: unknown;
    try {
      returned = call.invoke();
    } catch (error) {
      this.settle(call, false, error);
      return;
    }
    if (returned === HELD) {
      if (call.isOverdue) this.#ends.expire(call);
      return;
    }
    if (!isObject(returned)) {
      this.settle(call, true, returned);
      return;
    }
    try {
      // As `await` does it: whatever `then` an object has, it settles the call once.
      promiseThen.call(Promise.resolve(returned), lane.onFulfilled, lane.onRejected);
    } catch (error) {
      this.settle(call, false, error);
    }
    if (call.isOverdue) this.#ends.expire(call);
  }

  /** The function has really settled: only now is its permit free, unless it was reclaimed before. */
  settle(call: Call, succeeded: boolean, value: unknown): void {
    if (call.phase === "abandoned") this.#ends.release(call, true);
    if (call.phase !== "running") return;
    const time = now();
    call.endedAt = time;
    this.detach(call, "over");
    if (succeeded) this.#outcomes.succeed(call, value, time);
    else this.#outcomes.fail(call, value, time);
    if (call.lane !== undefined) this.#capacity.release(call.lane);
    if (this.#queue.size > 0) this.startQueued(time);
    else this.#onQueueEmpty();
  }

  /** There is nothing to start. */
  #onQueueEmpty(): void {
    this.#lanes.closeIdleSoon();
    if (this.#shutdown.awaitsIdle) this.checkIdle();
  }

  /** The caller is about to get its answer: nothing of its call may fire or stay behind. */
  detach(call: Call, phase: "over" | "abandoned"): void {
    call.list?.remove(call);
    call.phase = phase;
    if (call.signal !== undefined) call.unwatch();
    if (call.deadline !== undefined) this.#limits.stop(call);
  }

  /** A call has ended: the queue may be empty, and the bulkhead idle. */
  checkIdle(): void {
    if (this.#queue.size === 0) {
      this.#limits.holdProcess(false);
      this.#fleet.limit?.endWait();
    }
    this.#shutdown.checkIdle();
  }
}

const promiseThen = Promise.prototype.then;

function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
