import type { Gate } from "../circuit/gate.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { BulkheadFullError } from "../errors.js";
import { fullError, overdueError, shutdownError } from "../rejections.js";
import type { Counters, RejectionReason } from "../stats.js";
import type { Call } from "./call.js";
import type { CallQueue } from "./call-queue.js";
import type { Capacity } from "./capacity.js";
import type { Outcomes } from "./outcomes.js";

interface QueueRejectionsParts {
  readonly counters: Counters;
  readonly gate: Gate<Call>;
  readonly outcomes: Outcomes;
  /** Takes the call out of the queue; nothing of it fires or stays behind. */
  readonly detach: (call: Call) => void;
  readonly capacity: Capacity;
  /** A queued call has its answer. */
  readonly onRejected: () => void;
}

/** How queued calls leave the queue without having started. */
export class QueueRejections {
  readonly #config: ResolvedBulkheadConfig;
  readonly #queue: CallQueue;
  readonly #parts: QueueRejectionsParts;

  constructor(config: ResolvedBulkheadConfig, queue: CallQueue, parts: QueueRejectionsParts) {
    this.#config = config;
    this.#queue = queue;
    this.#parts = parts;
  }

  reject(call: Call, reason: RejectionReason, error: unknown): void {
    this.#remove(call, reason);
    this.notify(call, reason, error);
  }

  /** Its turn came, and it has waited longer than `queueTargetSeconds` allow. */
  rejectOverdue(call: Call): void {
    this.#parts.detach(call);
    const error = overdueError(this.#config, this.#parts.capacity.drainSeconds);
    this.#recordFull(call, error);
    this.notify(call, "full", error);
  }

  #recordFull(call: Call, error: BulkheadFullError): void {
    const { outcomes } = this.#parts;
    call.inContext(outcomes.recordFull, outcomes, call, error);
  }

  /**
   * All queued calls leave the queue at once; those that found a permit free are about to start, and go
   * on like running ones. {@link notify} follows, when everything else has taken effect.
   */
  removeAll(reason: RejectionReason): Call[] {
    const waiting = this.#queue.waiting();
    for (const call of waiting) this.#remove(call, reason);
    return waiting;
  }

  rejectAllForShutdown(): void {
    for (const call of this.removeAll("shutdown")) {
      this.notify(call, "shutdown", shutdownError(this.#config.name));
    }
  }

  /** The calls waited for the storage's answer: in their order, each is admitted by it or rejected. */
  readmitAll(): Call[] {
    const waiting: Call[] = [];
    const rejected: Call[] = [];
    for (let call = this.#queue.shift(); call !== undefined; call = this.#queue.shift()) {
      waiting.push(call);
    }
    for (const call of waiting) {
      if (this.#parts.gate.tryAcquire(call)) {
        this.#queue.push(call);
      } else {
        this.#remove(call, "circuitOpen");
        rejected.push(call);
      }
    }
    return rejected;
  }

  /** The storage has said how many permits there are: a call without a place in the queue needs one of them. */
  placeOrReject(call: Call): void {
    const isOver = this.#queue.size > this.#config.maxQueueSize + this.#parts.capacity.freePermits;
    if (call.phase === "waiting" && isOver) this.#rejectAsFull(call);
  }

  rejectAllAsFull(): void {
    for (const call of this.#queue.waiting()) this.#rejectAsFull(call);
  }

  #rejectAsFull(call: Call): void {
    this.reject(call, "full", fullError(this.#config, this.#parts.capacity.drainSeconds));
  }

  #remove(call: Call, reason: RejectionReason): void {
    const { counters, detach } = this.#parts;
    detach(call);
    call.circuit.drop(call);
    counters.recordRejection(reason);
  }

  notify(call: Call, reason: RejectionReason, error: unknown): void {
    const { outcomes, onRejected } = this.#parts;
    call.inContext(outcomes.emitRejected, outcomes, call, reason, error);
    call.reject(error);
    onRejected();
  }
}
