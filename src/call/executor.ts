import type { EventEmitter } from "node:events";
import { Gate } from "../circuit/gate.js";
import type { Verdict } from "../circuit/judge.js";
import { outsideRequests } from "../common/async-context.js";
import { now } from "../common/clock.js";
import type { BulkheadConfigChanges, ResolvedBulkheadConfig } from "../config.js";
import { Configuration } from "../configuration.js";
import { KEEPS_FRAMES, withOrigin } from "../errors.js";
import { type BulkheadEvents, type ConfiguredEvent, type Emit, safeEmit } from "../events.js";
import { abortReason, shutdownError, timeoutError } from "../rejections.js";
import { Counters, type FleetStats } from "../stats.js";
import type { CircuitStorage } from "../storage/circuit-storage.js";
import type { Call } from "./call.js";
import { CallQueue } from "./call-queue.js";
import { isDeadline } from "./fair-verdict.js";
import { FleetPart } from "./fleet-part.js";
import type { HolderCall } from "./holder-call.js";
import { type Lane, Lanes } from "./lanes.js";
import { type AbandonReason, Outcomes } from "./outcomes.js";
import { HELD } from "./permit-call.js";
import { QueueRejections } from "./queue-rejections.js";
import { Shutdown } from "./shutdown.js";
import { TimeLimits } from "./time-limits.js";
import { TypicalRunTime } from "./typical-run-time.js";

/**
 * Takes each call from its admission to its end: it is admitted, waits in the queue, runs in a lane, and is settled.
 * Its caller gets an answer once, and its permit comes back when its function has really settled.
 */
export class Executor {
  readonly gate: Gate<Call>;
  readonly counters = new Counters();
  readonly #outcomes: Outcomes;
  readonly #configuration: Configuration;
  readonly #config: ResolvedBulkheadConfig;
  readonly #lanes: Lanes<Call>;
  readonly #queue: CallQueue;
  readonly #queued: QueueRejections;
  readonly #typicalRunTime = new TypicalRunTime();
  readonly #limits: TimeLimits;
  readonly #fleet: FleetPart;
  readonly #emit: Emit;
  readonly #onAbort = (call: Call, reason: unknown) => this.#abort(call, reason);
  readonly #shutdown: Shutdown;
  #isStarting = false;

  /** @param emitter the bulkhead, whose listeners get the events */
  constructor(
    given: ResolvedBulkheadConfig,
    circuitStorage: CircuitStorage | undefined,
    emitter: EventEmitter<BulkheadEvents>,
  ) {
    this.#configuration = new Configuration(given, {
      check: (config) => this.#fleet.check(config),
      onChanged: (before, event) => this.#reconfigured(before, event),
      onInvalid: (error) => this.#emit("storageError", error),
    });
    const config = this.#configuration.live;
    this.#config = config;
    this.#emit = (event, ...payload) => void safeEmit(emitter, event, payload);
    this.#limits = new TimeLimits(config, {
      onExpired: (call) => this.#expire(call),
      onReclaim: (call) => this.#reclaim(call),
    });
    this.#queue = new CallQueue(config, this.#typicalRunTime);
    this.#fleet = new FleetPart(config, circuitStorage, {
      demand: () => ({ inUse: this.#inUse, waiting: this.#queue.size }),
      onChange: () => this.#onFleetChange(),
      onStats: (stats) => outsideRequests(() => this.#emit("permits", stats)),
      onUnplaced: (call) => this.#queued.placeOrReject(call),
      onError: (error) => this.#emit("storageError", error),
    });
    this.#lanes = new Lanes(this.#fleet.count, {
      onOpen: () => this.#startQueued(),
      onSettled: (call, succeeded, value) => this.#settle(call, succeeded, value),
    });
    this.gate = new Gate<Call>(config, circuitStorage, {
      emit: this.#emit,
      onRejecting: (reason) => this.#queued.removeAll(reason),
      onStorageAnswered: () => this.#queued.readmitAll(),
      onRejected: (call, reason, error) => this.#queued.notify(call, reason, error),
      onAdmitting: () => this.#startQueued(),
      onSettings: (values) => this.#configuration.override(values),
      onShutdown: () => void this.shutdown(undefined),
    });
    this.#shutdown = new Shutdown({
      emit: this.#emit,
      isIdle: () => this.#isIdle,
      onClosing: () => this.gate.stopHealthCheck(),
      rejectQueued: () => this.#queued.rejectAllForShutdown(),
      cancelAll: () => this.#cancelAll(),
      disconnect: () => this.#disconnect(),
      onEnded: () => this.#end(),
    });
    const { counters, gate } = this;
    const typicalRunTime = this.#typicalRunTime;
    this.#outcomes = new Outcomes(config, {
      counters,
      typicalRunTime,
      gate,
      emitter,
      emit: this.#emit,
    });
    this.#queued = new QueueRejections(config, this.#queue, {
      counters,
      gate,
      outcomes: this.#outcomes,
      detach: (call) => this.#detachCaller(call, "over"),
      freePermits: () => this.#freePermits,
      drainSeconds: () => this.#drainSeconds,
      onRejected: () => this.#checkIdle(),
    });
  }

  /** No call is admitted any more. */
  get isClosed(): boolean {
    return this.#shutdown.isClosed;
  }

  /** The configuration that holds now, frozen. */
  get config(): ResolvedBulkheadConfig {
    return this.#configuration.current;
  }

  get queueSize(): number {
    return this.#queue.size;
  }

  admit<T>(call: Call, timeoutSeconds: number | null): Promise<T> {
    const rejected = this.#check(call);
    if (rejected !== undefined) return rejected;
    const outcome = new Promise<T>((resolve, reject) => {
      call.resolve = resolve as Call["resolve"];
      call.reject = reject;
    });
    this.#enter(call, timeoutSeconds);
    return outcome;
  }

  /** {@link admit} for a call that knows whom to tell. */
  admitHeld(call: HolderCall, timeoutSeconds: number | null): void {
    const rejected = this.#check(call);
    if (rejected === undefined) this.#enter(call, timeoutSeconds);
    else rejected.catch(call.reject);
  }

  /** @returns the rejection of a call that is not admitted */
  #check(call: Call): Promise<never> | undefined {
    if (call.signal?.aborted) return this.#outcomes.reject("aborted", abortReason(call.signal));
    this.gate.refresh();
    if (this.#shutdown.isClosed)
      return this.#outcomes.reject("shutdown", shutdownError(this.#config.name));
    if (!this.#config.enforce) {
      call.watched = this.#outcomes.wouldAdmit(call, this.#isCrowded) ? "admitted" : "refused";
      return undefined;
    }
    const isolation = this.gate.isolationRejection();
    if (isolation !== undefined) return this.#outcomes.reject("isolated", isolation);
    if (!this.gate.tryAcquire(call)) return this.#outcomes.rejectByCircuit(call);
    const { limit } = this.#fleet;
    if (limit !== undefined) {
      limit.enter(this.#inUse + this.#queue.size + 1);
      if (limit.isRejecting) return this.#outcomes.rejectFull(call, this.#drainSeconds);
    }
    return this.#queue.size < this.#config.maxQueueSize ? undefined : this.#checkPlace(call);
  }

  /** A call that waits for its lane, or for the storage, needs no place in the queue as long as a permit is free. */
  #checkPlace(call: Call): Promise<never> | undefined {
    const unplaced = this.#queue.size - this.#config.maxQueueSize;
    if (unplaced < this.#freePermits) return undefined;
    if (unplaced >= this.#fleet.attainable - this.#inUse)
      return this.#outcomes.rejectFull(call, this.#drainSeconds);
    this.#fleet.await(call);
    return undefined;
  }

  #enter(call: Call, timeoutSeconds: number | null): void {
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
    const mustWait = this.#queue.size > 0 || this.gate.isAwaitingStorage || this.#isOverrun;
    if (mustWait || this.#hasLapsed(call.enteredAt)) return undefined;
    return this.#lanes.take(call);
  }

  /** Whether as many calls run as could run and wait if the limits were enforced. */
  get #isCrowded(): boolean {
    const { active, abandoned } = this.counters;
    const { maxConcurrentCalls, maxQueueSize } = this.#config;
    return active + abandoned - this.#lanes.refused >= maxConcurrentCalls + maxQueueSize;
  }

  #enqueue(call: Call): void {
    call.isHeld = this.gate.isAwaitingStorage;
    call.hasWaited = !call.isHeld && this.#queue.size >= this.#freePermits;
    this.#queue.push(call);
    // A queued call may depend on a permit that is to be reclaimed.
    this.#limits.holdProcess(true);
    if (!call.isHeld) this.#lanes.request();
    this.#fleet.limit?.wait();
  }

  /** Whether the lease of the fleet's permits is over: the storage is away, or the process stood still. */
  #hasLapsed(time: number): boolean {
    const { limit } = this.#fleet;
    if (limit === undefined || time < limit.validUntil) return false;
    limit.lapse();
    return true;
  }

  /**
   * Whether calls that came while `enforce` was `false` still take all permits: p-limit does not count them, and would
   * start more.
   */
  get #isOverrun(): boolean {
    return this.#lanes.hasUnlimited && this.#config.enforce && this.#freePermits === 0;
  }

  /** None when the limit was lowered and more functions still run. */
  get #freePermits(): number {
    return Math.max(0, this.#lanes.count - this.#inUse);
  }

  get #inUse(): number {
    return this.counters.active + this.counters.abandoned;
  }

  get #drainSeconds(): number {
    return this.#queue.drainSeconds(Math.max(1, this.#lanes.count));
  }

  /**
   * Starts queued calls in idle lanes, and requests another lane for those that are left: a loop, since
   * functions can be synchronous.
   * @param freedAt when the permit became free, if that is known
   */
  #startQueued(freedAt?: number): void {
    if (this.#isStarting) return;
    this.#isStarting = true;
    let time = freedAt;
    for (let call = this.#queue.first; call !== undefined; call = this.#queue.first) {
      if (this.gate.isAwaitingStorage || this.#isOverrun) break;
      time ??= now();
      if (this.#hasLapsed(time)) break;
      if (call.isHeld) this.#endHold(time);
      if (call.hasWaited && this.#queue.isHopeless(call, time)) {
        this.#expire(call);
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
    this.#checkIdle();
  }

  /** The storage has answered. What still has to wait, waits for a permit from now on. */
  #endHold(time: number): void {
    this.#queue.endHold(this.#freePermits, time);
    this.#limits.endHold(this.#queue.waiting());
  }

  #start(call: Call, lane: Lane<Call>, time: number): void {
    call.phase = "running";
    call.startedAt = time;
    call.lane = lane;
    this.counters.active++;
    if (call.hasWaited) this.#limits.endWait(call);
    if (call.isTask) call.prepare();
    call.circuit.recordStart(call);
    let returned: unknown;
    try {
      returned = call.invoke();
    } catch (error) {
      this.#settle(call, false, error);
      return;
    }
    if (returned === HELD) {
      if (call.isOverdue) this.#expire(call);
      return;
    }
    if (!isObject(returned)) {
      this.#settle(call, true, returned);
      return;
    }
    try {
      // As `await` does it: whatever `then` an object has, it settles the call once.
      promiseThen.call(Promise.resolve(returned), lane.onFulfilled, lane.onRejected);
    } catch (error) {
      this.#settle(call, false, error);
    }
    if (call.isOverdue) this.#expire(call);
  }

  /** The function has really settled: only now is its permit free, unless it was reclaimed before. */
  #settle(call: Call, succeeded: boolean, value: unknown): void {
    if (call.phase === "abandoned") this.#releaseAbandoned(call, true);
    if (call.phase !== "running") return;
    const time = now();
    call.endedAt = time;
    this.#detachCaller(call, "over");
    if (succeeded) this.#outcomes.succeed(call, value, time);
    else this.#outcomes.fail(call, value, time);
    if (call.lane !== undefined) this.#release(call.lane);
    if (this.#queue.size > 0) this.#startQueued(time);
    else this.#onQueueEmpty();
  }

  #release(lane: Lane<Call>): void {
    this.#lanes.release(lane);
    this.#fleet.limit?.release(this.#inUse);
  }

  /** There is nothing to start. */
  #onQueueEmpty(): void {
    this.#lanes.closeIdleSoon();
    if (this.#shutdown.awaitsIdle) this.#checkIdle();
  }

  // What a permit that its holder got by `acquire` asks for

  settlePermit(call: Call, succeeded: boolean, value: unknown): void {
    call.inContext(this.#settle, this, call, succeeded, value);
  }

  abortPermit(call: HolderCall, reason: unknown): void {
    this.#abort(call, reason);
  }

  /** The circuit gets its verdict; the permit is still held. */
  judgePermit(call: Call, verdict: Verdict, error: unknown): void {
    if (call.phase !== "running") return;
    call.verdict = verdict;
    call.inContext(this.gate.recordVerdict, this.gate, call, verdict, error, now());
  }

  endTimeLimit(call: Call): void {
    if (call.phase === "running") this.#limits.end(call);
  }

  // When a call ends before its function has settled

  #expire(call: Call): void {
    if (call.phase === "waiting" && !call.hasWaited && !call.isHeld) {
      // A faked clock goes on before p-limit has opened the lane. A call that found a permit free starts.
      call.isOverdue = true;
    } else if (call.phase === "waiting") {
      this.#queued.reject(call, "timeout", timeoutError(this.#config.name, call, "waiting"));
    } else if (call.phase === "running" && call.watched !== undefined) {
      call.inContext(this.#outcomes.watchTimeout, this.#outcomes, call);
    } else if (call.phase === "running") {
      const error = timeoutError(this.#config.name, call, "running");
      call.inContext(this.#abandon, this, call, error, "timeout");
    }
  }

  /** The caller ends a call. */
  #abort(call: Call, error: unknown): void {
    if (call.phase === "waiting") this.#queued.reject(call, "aborted", error);
    else if (call.phase === "running") {
      const why = isDeadline(error) ? "deadline" : "aborted";
      call.inContext(this.#abandon, this, call, error, why);
    }
  }

  /**
   * A running call's caller has its answer; the function runs on and holds the permit.
   */
  #abandon(call: Call, error: unknown, why: AbandonReason): void {
    const time = now();
    this.#detachCaller(call, "abandoned");
    this.#limits.startReclaim(call, time);
    this.#outcomes.abandon(call, error, why, time);
    call.reject(error);
    call.abort(error);
    if (this.#config.reclaimAfterSeconds === 0) this.#reclaim(call);
  }

  #reclaim(call: Call): void {
    if (call.phase === "abandoned") {
      call.inContext(this.#releaseAbandoned, this, call, false);
    }
  }

  /** The permit of an abandoned function is free again: it has settled, or the permit is reclaimed. */
  #releaseAbandoned(call: Call, settled: boolean): void {
    call.phase = "over";
    this.#limits.stopReclaim(call);
    this.counters.abandoned--;
    if (call.lane !== undefined) {
      if (settled) this.#release(call.lane);
      else {
        this.#lanes.reclaim(call.lane);
        this.#fleet.limit?.release(this.#inUse);
      }
    }
    this.#emit("reclaimed", { executionId: call.id, settled });
    this.#startQueued();
  }

  /** The caller is about to get its answer: nothing of its call may fire or stay behind. */
  #detachCaller(call: Call, phase: "over" | "abandoned"): void {
    call.list?.remove(call);
    call.phase = phase;
    if (call.signal !== undefined) call.unwatch();
    if (call.deadline !== undefined) this.#limits.stop(call);
  }

  #checkIdle(): void {
    if (this.#queue.size === 0) {
      this.#limits.holdProcess(false);
      this.#fleet.limit?.endWait();
    }
    this.#shutdown.checkIdle();
  }

  // Configuration

  /** @throws {TypeError | RangeError} for a wrong change; then nothing has changed */
  configure(changes: BulkheadConfigChanges): void {
    this.#configuration.change(changes);
  }

  /** Everything takes effect first; the event follows. */
  #reconfigured(before: ResolvedBulkheadConfig, event: ConfiguredEvent): void {
    this.#fleet.reconfigure();
    this.#lanes.resize(this.#fleet.count);
    this.gate.reconfigure(before, this.isClosed);
    outsideRequests(() => this.#emit("configured", event));
    this.#startQueued();
  }

  // The fleet's limit

  get fleetStats(): FleetStats | undefined {
    return this.#fleet.limit?.stats;
  }

  #onFleetChange(): void {
    this.#lanes.resize(this.#fleet.count);
    this.#startQueued();
    if (this.#fleet.limit?.isRejecting) this.#queued.rejectAllAsFull();
  }

  // Shutdown

  async #disconnect(): Promise<void> {
    await this.gate.disconnect();
    if (this.#isIdle) await this.#fleet.limit?.close();
  }

  #end(): void {
    this.gate.end();
    void this.#fleet.limit?.close();
  }

  shutdown(drainSeconds: number | undefined): Promise<void> {
    return this.#shutdown.begin(drainSeconds);
  }

  /** Settles when no call runs or waits. */
  idle(): Promise<void> {
    return this.#shutdown.idle();
  }

  #cancelAll(): void {
    this.#queued.rejectAllForShutdown();
    for (let call = this.#queue.first; call !== undefined; call = this.#queue.first) {
      this.#queued.reject(call, "shutdown", shutdownError(this.#config.name));
    }
    for (const call of this.#lanes.holders) {
      if (call.phase === "running")
        call.inContext(this.#abandon, this, call, shutdownError(this.#config.name), "shutdown");
    }
  }

  get #isIdle(): boolean {
    const { active, abandoned } = this.counters;
    return active + abandoned + this.#queue.size === 0;
  }
}

const promiseThen = Promise.prototype.then;

function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
