import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { Emit } from "../events.js";
import { shutdownError, timeoutError } from "../rejections.js";
import type { Counters } from "../stats.js";
import type { Call } from "./call.js";
import type { Capacity } from "./capacity.js";
import { isDeadline } from "./fair-verdict.js";
import type { AbandonReason, Outcomes } from "./outcomes.js";
import type { QueueRejections } from "./queue-rejections.js";
import type { TimeLimits } from "./time-limits.js";

interface EarlyEndsParts {
  readonly counters: Counters;
  readonly capacity: Capacity;
  readonly limits: TimeLimits;
  readonly outcomes: Outcomes;
  readonly queued: QueueRejections;
  readonly emit: Emit;
  /** The caller is about to get its answer. */
  readonly detach: (call: Call, phase: "abandoned") => void;
  /** A permit may be free. */
  readonly onReleased: () => void;
}

/**
 * What ends a call before its function has settled: its time limit, its caller, or the end of a drain. The caller gets
 * its answer; the function runs on and holds the permit, until it settles or the permit is reclaimed.
 */
export class EarlyEnds {
  readonly #config: ResolvedBulkheadConfig;
  readonly #parts: EarlyEndsParts;

  constructor(config: ResolvedBulkheadConfig, parts: EarlyEndsParts) {
    this.#config = config;
    this.#parts = parts;
  }

  /** The time of the call, or of its wait, is over. */
  expire(call: Call): void {
    const { queued, outcomes } = this.#parts;
    if (call.phase === "waiting" && !call.hasWaited && !call.isHeld) {
      // A faked clock goes on before p-limit has opened the lane. A call that found a permit free starts.
      call.isOverdue = true;
    } else if (call.phase === "waiting") {
      queued.reject(call, "timeout", timeoutError(this.#config.name, call, "waiting"));
    } else if (call.phase === "running" && call.watched !== undefined) {
      call.inContext(outcomes.watchTimeout, outcomes, call);
    } else if (call.phase === "running") {
      const error = timeoutError(this.#config.name, call, "running");
      call.inContext(this.#abandon, this, call, error, "timeout");
    }
  }

  /** The caller ends a call. */
  abort(call: Call, error: unknown): void {
    if (call.phase === "waiting") this.#parts.queued.reject(call, "aborted", error);
    else if (call.phase === "running") {
      const why = isDeadline(error) ? "deadline" : "aborted";
      call.inContext(this.#abandon, this, call, error, why);
    }
  }

  /** A drain has ended. */
  cancel(call: Call): void {
    if (call.phase !== "running") return;
    call.inContext(this.#abandon, this, call, shutdownError(this.#config.name), "shutdown");
  }

  #abandon(call: Call, error: unknown, why: AbandonReason): void {
    const { detach, limits, outcomes } = this.#parts;
    const time = now();
    detach(call, "abandoned");
    limits.startReclaim(call, time);
    outcomes.abandon(call, error, why, time);
    call.reject(error);
    call.abort(error);
    if (this.#config.reclaimAfterSeconds === 0) this.reclaim(call);
  }

  /** An abandoned call has held its permit for long enough. */
  reclaim(call: Call): void {
    if (call.phase === "abandoned") call.inContext(this.release, this, call, false);
  }

  /** The permit of an abandoned function is free again: it has settled, or the permit is reclaimed. */
  release(call: Call, settled: boolean): void {
    const { limits, counters, capacity, emit, onReleased } = this.#parts;
    call.phase = "over";
    limits.stopReclaim(call);
    counters.abandoned--;
    if (call.lane !== undefined) {
      if (settled) capacity.release(call.lane);
      else capacity.reclaim(call.lane);
    }
    emit("reclaimed", { executionId: call.id, settled });
    onReleased();
  }
}
