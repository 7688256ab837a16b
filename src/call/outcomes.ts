import type { EventEmitter } from "node:events";
import type { Gate } from "../circuit/gate.js";
import { NO_CIRCUIT } from "../circuit/monitored-circuit.js";
import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { type BulkheadError, type BulkheadFullError, toBulkheadError } from "../errors.js";
import { type BulkheadEvents, type Emit, failureEvent } from "../events.js";
import { fullError, timeoutError } from "../rejections.js";
import type { Counters, RejectionReason } from "../stats.js";
import type { Call } from "./call.js";
import { isFairVerdict } from "./fair-verdict.js";
import type { TypicalRunTime } from "./typical-run-time.js";

/** Why a caller gets its answer before the function has settled. `deadline`: its own signal was a time limit. */
export type AbandonReason = "timeout" | "deadline" | "aborted" | "shutdown";

/** What an outcome is recorded in. */
interface OutcomeRecords {
  readonly counters: Counters;
  readonly typicalRunTime: TypicalRunTime;
  readonly gate: Gate<Call>;
  readonly emitter: EventEmitter<BulkheadEvents>;
  readonly emit: Emit;
}

/**
 * Records how calls end: in the counters first, then for the listeners and the circuit, and at last for the caller.
 * So a listener that reads the statistics finds the call in them.
 */
export class Outcomes {
  readonly #config: ResolvedBulkheadConfig;
  readonly #counters: Counters;
  readonly #typicalRunTime: TypicalRunTime;
  readonly #gate: Gate<Call>;
  readonly #emitter: EventEmitter<BulkheadEvents>;
  readonly #emit: Emit;

  constructor(config: ResolvedBulkheadConfig, records: OutcomeRecords) {
    this.#config = config;
    this.#counters = records.counters;
    this.#typicalRunTime = records.typicalRunTime;
    this.#gate = records.gate;
    this.#emitter = records.emitter;
    this.#emit = records.emit;
  }

  // Calls that never enter

  reject(reason: RejectionReason, error: unknown): Promise<never> {
    this.#counters.recordRejection(reason);
    return this.#notifyRejection(reason, error);
  }

  /** Counted first: the breaker's listeners find it in the statistics. */
  rejectByCircuit(call: Call): Promise<never> {
    this.#counters.recordRejection("circuitOpen");
    return this.#notifyRejection("circuitOpen", this.#gate.circuitRejection(call));
  }

  rejectFull(call: Call, retryAfterSeconds: number): Promise<never> {
    const error = fullError(this.#config, retryAfterSeconds);
    this.recordFull(call, error);
    return this.#notifyRejection("full", error);
  }

  #notifyRejection(reason: RejectionReason, error: unknown): Promise<never> {
    if (this.#emitter.listenerCount("rejected") > 0) this.#emit("rejected", { reason, error });
    return Promise.reject(error);
  }

  // Calls that are only watched

  /** Whether the call would be admitted. What rejects it is counted and emitted. */
  wouldAdmit(call: Call, isFull: boolean): boolean {
    const isolation = this.#gate.isolationRejection();
    if (isolation !== undefined) return this.#watchRejection(call, "isolated", isolation);
    if (!this.#gate.tryAcquire(call)) {
      return this.#watchRejection(call, "circuitOpen", this.#gate.circuitRejection(call));
    }
    if (!isFull) return true;
    const error = fullError(this.#config, 0);
    this.#gate.recordFull(call, error);
    return this.#watchRejection(call, "full", error);
  }

  /** The function would have been cut; it runs on, and what becomes of it moves the circuit no more. */
  watchTimeout(call: Call): void {
    if (call.watched === "refused") return;
    const error = timeoutError(this.#config.name, call, "running");
    this.#gate.recordTimeout(call, error, now());
    this.#watchRejection(call, "timeout", error);
  }

  #watchRejection(call: Call, reason: RejectionReason, error: unknown): false {
    this.#counters.recordWouldReject(reason);
    call.circuit = NO_CIRCUIT;
    if (this.#emitter.listenerCount("rejected") > 0) {
      this.#emit("rejected", { reason, error, enforced: false });
    }
    return false;
  }

  // Calls that leave the queue without having started

  recordFull(call: Call, error: BulkheadFullError): void {
    this.#counters.recordRejection("full");
    this.#gate.recordFull(call, error);
  }

  emitRejected(call: Call, reason: RejectionReason, error: unknown): void {
    if (reason === "timeout") this.#emit("timeout", { executionId: call.id, phase: "waiting" });
    if (this.#emitter.listenerCount("rejected") > 0) this.#emit("rejected", { reason, error });
  }

  // Calls that have started

  succeed(call: Call, result: unknown, time: number): void {
    this.#counters.active--;
    this.#counters.successful++;
    this.#typicalRunTime.record(time - call.startedAt);
    if (this.#emitter.listenerCount("success") > 0) this.#emit("success", call.times(time));
    this.#gate.recordResult(call, result, time);
    if (call.wantsValue) call.resolve(result);
    else this.#answer(call, true, result, null);
  }

  fail(call: Call, thrown: unknown, time: number): void {
    const verdict = call.verdict ?? this.#gate.judge(call, thrown);
    const outcome = verdict.outcome === "failure" ? "failure" : "ignored";
    this.#counters.recordFailure(outcome);
    const isObserved = this.#emitter.listenerCount("failure") > 0;
    const error =
      isObserved || !call.wantsValue ? toBulkheadError(thrown, this.#config.name) : null;
    if (isObserved && error !== null) {
      this.#emit("failure", failureEvent(call.times(time), error, outcome));
    }
    this.#gate.recordError(call, verdict, thrown, time);
    if (call.wantsValue) call.reject(thrown);
    else this.#answer(call, false, null, error);
  }

  #answer(call: Call, success: boolean, result: unknown, error: BulkheadError | null): void {
    call.resolve({
      success,
      result,
      error,
      executionTime: call.executionTime(),
      queuedTime: call.queuedTime,
      bulkheadName: this.#config.name,
      executionId: call.id,
    });
  }

  /** The function runs on; its caller is answered next. */
  abandon(call: Call, error: unknown, why: AbandonReason, time: number): void {
    const isVerdict = (why === "timeout" || why === "deadline") && isFairVerdict(call, time, why);
    const outcome = why === "timeout" || why === "aborted" ? why : "failure";
    this.#counters.recordAbandoned(outcome);
    if (why === "timeout") this.#emit("timeout", { executionId: call.id, phase: "running" });
    if (this.#emitter.listenerCount("failure") > 0) {
      this.#emit("failure", failureEvent(call.times(time), error, outcome));
    }
    this.#emit("abandoned", { executionId: call.id });
    if (isVerdict) this.#gate.recordTimeout(call, error, time);
    else call.circuit.drop(call);
  }
}
