import type { Gate } from "../circuit/gate.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { abortReason, shutdownError } from "../rejections.js";
import type { Call } from "./call.js";
import type { CallQueue } from "./call-queue.js";
import type { Capacity } from "./capacity.js";
import type { FleetPart } from "./fleet-part.js";
import type { Outcomes } from "./outcomes.js";
import type { Shutdown } from "./shutdown.js";

interface AdmissionParts {
  readonly gate: Gate<Call>;
  readonly shutdown: Shutdown;
  readonly outcomes: Outcomes;
  readonly queue: CallQueue;
  readonly capacity: Capacity;
  readonly fleet: FleetPart;
}

/** Decides whether a call is admitted. The first that says no rejects it: no timer was set, and no place taken. */
export class Admission {
  readonly #config: ResolvedBulkheadConfig;
  readonly #gate: Gate<Call>;
  readonly #shutdown: Shutdown;
  readonly #outcomes: Outcomes;
  readonly #queue: CallQueue;
  readonly #capacity: Capacity;
  readonly #fleet: FleetPart;

  constructor(config: ResolvedBulkheadConfig, parts: AdmissionParts) {
    this.#config = config;
    this.#gate = parts.gate;
    this.#shutdown = parts.shutdown;
    this.#outcomes = parts.outcomes;
    this.#queue = parts.queue;
    this.#capacity = parts.capacity;
    this.#fleet = parts.fleet;
  }

  /** @returns the rejection of a call that is not admitted */
  check(call: Call): Promise<never> | undefined {
    if (call.signal?.aborted) return this.#outcomes.reject("aborted", abortReason(call.signal));
    this.#gate.refresh();
    if (this.#shutdown.isClosed)
      return this.#outcomes.reject("shutdown", shutdownError(this.#config.name));
    if (!this.#config.enforce) {
      const isAdmitted = this.#outcomes.wouldAdmit(call, this.#capacity.isCrowded);
      call.watched = isAdmitted ? "admitted" : "refused";
      return undefined;
    }
    const isolation = this.#gate.isolationRejection();
    if (isolation !== undefined) return this.#outcomes.reject("isolated", isolation);
    if (!this.#gate.tryAcquire(call)) return this.#outcomes.rejectByCircuit(call);
    const { limit } = this.#fleet;
    if (limit !== undefined) {
      limit.enter(this.#capacity.inUse + this.#queue.size + 1);
      if (limit.isRejecting) return this.#rejectFull(call);
    }
    return this.#queue.size < this.#config.maxQueueSize ? undefined : this.#checkPlace(call);
  }

  /** A call that waits for its lane, or for the storage, needs no place in the queue as long as a permit is free. */
  #checkPlace(call: Call): Promise<never> | undefined {
    const unplaced = this.#queue.size - this.#config.maxQueueSize;
    if (unplaced < this.#capacity.freePermits) return undefined;
    if (unplaced >= this.#fleet.attainable - this.#capacity.inUse) return this.#rejectFull(call);
    this.#fleet.await(call);
    return undefined;
  }

  #rejectFull(call: Call): Promise<never> {
    return this.#outcomes.rejectFull(call, this.#capacity.drainSeconds);
  }
}
