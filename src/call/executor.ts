import type { EventEmitter } from "node:events";
import { Gate } from "../circuit/gate.js";
import type { Verdict } from "../circuit/judge.js";
import { outsideRequests } from "../common/async-context.js";
import { now } from "../common/clock.js";
import type { BulkheadConfigChanges, ResolvedBulkheadConfig } from "../config.js";
import { Configuration } from "../configuration.js";
import { type BulkheadEvents, type ConfiguredEvent, type Emit, safeEmit } from "../events.js";
import { shutdownError } from "../rejections.js";
import { Counters, type FleetStats } from "../stats.js";
import type { CircuitStorage } from "../storage/circuit-storage.js";
import { Admission } from "./admission.js";
import type { Call } from "./call.js";
import { CallQueue } from "./call-queue.js";
import { Capacity } from "./capacity.js";
import { EarlyEnds } from "./early-ends.js";
import { FleetPart } from "./fleet-part.js";
import type { HolderCall } from "./holder-call.js";
import { Lanes } from "./lanes.js";
import { Outcomes } from "./outcomes.js";
import { QueueRejections } from "./queue-rejections.js";
import { Runner } from "./runner.js";
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
  readonly #configuration: Configuration;
  readonly #config: ResolvedBulkheadConfig;
  readonly #lanes: Lanes<Call>;
  readonly #queue: CallQueue;
  readonly #queued: QueueRejections;
  readonly #limits: TimeLimits;
  readonly #fleet: FleetPart;
  readonly #emit: Emit;
  readonly #shutdown: Shutdown;
  readonly #capacity: Capacity;
  readonly #admission: Admission;
  readonly #ends: EarlyEnds;
  readonly #runner: Runner;

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
    const { counters } = this;
    const config = this.#configuration.live;
    const emit: Emit = (event, ...payload) => void safeEmit(emitter, event, payload);
    const typicalRunTime = new TypicalRunTime();
    const limits = new TimeLimits(config, {
      onExpired: (call) => this.#ends.expire(call),
      onReclaim: (call) => this.#ends.reclaim(call),
    });
    const queue = new CallQueue(config, typicalRunTime);
    const fleet = new FleetPart(config, circuitStorage, {
      demand: () => ({ inUse: this.#capacity.inUse, waiting: queue.size }),
      onChange: () => this.#onFleetChange(),
      onStats: (stats) => outsideRequests(() => emit("permits", stats)),
      onUnplaced: (call) => this.#queued.placeOrReject(call),
      onError: (error) => emit("storageError", error),
    });
    const lanes = new Lanes<Call>(fleet.count, {
      onOpen: () => this.#runner.startQueued(),
      onSettled: (call, succeeded, value) => this.#runner.settle(call, succeeded, value),
    });
    const capacity = new Capacity(config, { counters, lanes, queue, fleet });
    const gate = new Gate<Call>(config, circuitStorage, {
      emit,
      onRejecting: (reason) => this.#queued.removeAll(reason),
      onStorageAnswered: () => this.#queued.readmitAll(),
      onRejected: (call, reason, error) => this.#queued.notify(call, reason, error),
      onAdmitting: () => this.#runner.startQueued(),
      onSettings: (values) => this.#configuration.override(values),
      onShutdown: () => void this.shutdown(undefined),
    });
    const shutdown = new Shutdown({
      emit,
      isIdle: () => capacity.isIdle,
      onClosing: () => gate.stopHealthCheck(),
      rejectQueued: () => this.#queued.rejectAllForShutdown(),
      cancelAll: () => this.#cancelAll(),
      disconnect: () => this.#disconnect(),
      onEnded: () => this.#end(),
    });
    const outcomes = new Outcomes(config, { counters, typicalRunTime, gate, emitter, emit });
    const queued = new QueueRejections(config, queue, {
      counters,
      gate,
      outcomes,
      capacity,
      detach: (call) => this.#runner.detach(call, "over"),
      onRejected: () => this.#runner.checkIdle(),
    });
    const ends = new EarlyEnds(config, {
      counters,
      capacity,
      limits,
      outcomes,
      queued,
      emit,
      detach: (call, phase) => this.#runner.detach(call, phase),
      onReleased: () => this.#runner.startQueued(),
    });
    this.#emit = emit;
    this.#config = config;
    this.#limits = limits;
    this.#queue = queue;
    this.#fleet = fleet;
    this.#lanes = lanes;
    this.#capacity = capacity;
    this.gate = gate;
    this.#shutdown = shutdown;
    this.#queued = queued;
    this.#ends = ends;
    this.#admission = new Admission(config, { gate, shutdown, outcomes, queue, capacity, fleet });
    this.#runner = new Runner(config, {
      counters,
      gate,
      lanes,
      queue,
      queued,
      limits,
      capacity,
      fleet,
      outcomes,
      ends,
      shutdown,
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
    const rejected = this.#admission.check(call);
    if (rejected !== undefined) return rejected;
    const outcome = new Promise<T>((resolve, reject) => {
      call.resolve = resolve as Call["resolve"];
      call.reject = reject;
    });
    this.#runner.enter(call, timeoutSeconds);
    return outcome;
  }

  /** {@link admit} for a call that knows whom to tell. */
  admitHeld(call: HolderCall, timeoutSeconds: number | null): void {
    const rejected = this.#admission.check(call);
    if (rejected === undefined) this.#runner.enter(call, timeoutSeconds);
    else rejected.catch(call.reject);
  }

  // What a permit that its holder got by `acquire` asks for

  settlePermit(call: Call, succeeded: boolean, value: unknown): void {
    call.inContext(this.#runner.settle, this.#runner, call, succeeded, value);
  }

  abortPermit(call: HolderCall, reason: unknown): void {
    this.#ends.abort(call, reason);
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
    this.#runner.startQueued();
  }

  // The fleet's limit

  get fleetStats(): FleetStats | undefined {
    return this.#fleet.limit?.stats;
  }

  #onFleetChange(): void {
    this.#lanes.resize(this.#fleet.count);
    this.#runner.startQueued();
    if (this.#fleet.limit?.isRejecting) this.#queued.rejectAllAsFull();
  }

  // Shutdown

  async #disconnect(): Promise<void> {
    await this.gate.disconnect();
    if (this.#capacity.isIdle) await this.#fleet.limit?.close();
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
      this.#ends.cancel(call);
    }
  }
}
