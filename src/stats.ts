import type { BulkheadState } from "./state.js";
import type { CircuitStatus } from "./storage/circuit-storage.js";

/** Why a call never started. The keys of `BulkheadStats.rejections`. */
export type RejectionReason =
  | "full"
  | "circuitOpen"
  | "timeout"
  | "aborted"
  | "isolated"
  | "shutdown";

/**
 * How a started call failed:
 * - `failure`: its function failed, or it was cut by a shutdown or by a deadline of its caller's signal
 * - `timeout`: its `timeoutSeconds` passed
 * - `aborted`: its caller aborted it
 * - `ignored`: its function failed, and `classify` or `errorFilter` excused the error, or it was the rejection of
 *   another bulkhead; or its permit was dropped
 */
export type FailureOutcome = "failure" | "timeout" | "aborted" | "ignored";

/** The newest failure that counted. */
export interface LastFailure {
  /** The error's name; the type of what was thrown when it is no error. */
  readonly name: string;
  /** The error's `code`, if it is a text or a number. */
  readonly code: string | number | null;
  /** What was thrown, described on one line. */
  readonly message: string;
  /** When the call failed. */
  readonly at: Date;
}

/** A bulkhead's part of the limit for the whole fleet. */
export interface FleetStats {
  /** The limit, as the storage said last; before, as configured. */
  limit: number;
  /** How many functions may run here now: 0 while it is idle, or waits for the storage or for its turn. */
  permits: number;
  /** Its fair share, as the storage said last. 0 when there are fewer permits than bulkheads, and it is the turn of others. */
  fair: number;
  /** How many bulkheads of that name held or wanted permits when it asked last, this one included. */
  processes: number;
  /** Whether it holds a lease. Otherwise nothing runs, or `fleetFallback` holds. */
  leased: boolean;
}

/**
 * A bulkhead's figures at one instant. Counters run from the bulkhead's creation or the last
 * `resetStats()`. At every instant `totalExecutions = successfulExecutions + failedExecutions +
 * activeTasks`, `rejectedExecutions` is the sum of `rejections`, and
 * `activeTasks + abandonedTasks ≤ maxConcurrentCalls`.
 */
export interface BulkheadStats {
  /** The bulkhead's name. */
  name: string;
  /** What `getState()` returns. */
  state: BulkheadState;
  /** Calls whose function was started. */
  totalExecutions: number;
  /** Started calls whose function succeeded in time. */
  successfulExecutions: number;
  /** Started calls that failed, timed out, or were aborted or cut while they ran. */
  failedExecutions: number;
  /** Calls that never started. */
  rejectedExecutions: number;
  /** Calls that run now and whose caller still waits for them. */
  activeTasks: number;
  /** Calls that wait for a permit now. */
  queuedTasks: number;
  /** Functions that still run, and hold their permit, after their caller got its answer. */
  abandonedTasks: number;
  /** As configured. */
  maxConcurrentCalls: number;
  /** As configured. */
  maxQueueSize: number;
  /** As configured. */
  circuitBreakerEnabled: boolean;
  /** State of the circuit; absent when the circuit is switched off. */
  circuitStatus?: CircuitStatus;
  /** The part of the fleet's limit; absent without `fleetMaxConcurrentCalls`. */
  fleet?: FleetStats;
  /** Seconds until the circuit admits a call at the latest, as far as is known; 0 while it is closed. */
  retryAfterSeconds: number;
  /** Failures in succession that the circuit has counted; 0 while it is not closed. */
  consecutiveFailures: number;
  /** When the circuit opened last, as this process saw it; `null` when it never did. */
  openedAt: Date | null;
  /** How many times the circuit has opened since the bulkhead was created, whatever the reason. */
  openings: number;
  /**
   * The newest failure, or timeout, that counted against the dependency; `null` when there was none. Not one that was
   * excused, or neutral.
   */
  lastFailure: LastFailure | null;
  /** `rejectedExecutions` by reason. */
  rejections: Record<RejectionReason, number>;
  /**
   * Calls that ran, while `enforce` is `false`, and would have been rejected, or would have timed out, by reason. A call that
   * timed out after it was counted for another reason counts once.
   */
  wouldReject: Record<RejectionReason, number>;
  /** Started calls that timed out; they are among the `failedExecutions`. */
  timedOutExecutions: number;
  /** Started calls whose caller aborted them; they are among the `failedExecutions`. */
  abortedExecutions: number;
  /**
   * Started calls whose error says nothing against the dependency: excused by `classify` or `errorFilter`, or the
   * rejection of another bulkhead; and permits that were dropped. They are among the `failedExecutions`. While the circuit
   * is switched off, only dropped permits count.
   */
  ignoredExecutions: number;
}

/**
 * Counts every call once. A call is started or rejected; a started one is active until its caller gets its
 * answer, and abandoned from then until its function settles, if it has not settled already.
 */
export class Counters {
  // A call that succeeds writes the first three itself: it is the path of every call.
  active = 0;
  successful = 0;
  abandoned = 0;
  #failures = noFailures();
  #rejections = noRejections();
  #wouldReject: Record<RejectionReason, number> | undefined = undefined;

  recordRejection(reason: RejectionReason): void {
    this.#rejections[reason]++;
  }

  recordWouldReject(reason: RejectionReason): void {
    this.#wouldReject ??= noRejections();
    this.#wouldReject[reason]++;
  }

  recordFailure(outcome: FailureOutcome): void {
    this.active--;
    this.#failures[outcome]++;
  }

  recordAbandoned(outcome: FailureOutcome): void {
    this.recordFailure(outcome);
    this.abandoned++;
  }

  reset(): void {
    this.successful = 0;
    this.#failures = noFailures();
    this.#rejections = noRejections();
    this.#wouldReject = undefined;
  }

  snapshot() {
    const { failure, timeout, aborted, ignored } = this.#failures;
    const failedExecutions = failure + timeout + aborted + ignored;
    const rejections = { ...this.#rejections };
    let rejectedExecutions = 0;
    for (const count of Object.values(rejections)) rejectedExecutions += count;
    return {
      totalExecutions: this.successful + failedExecutions + this.active,
      successfulExecutions: this.successful,
      failedExecutions,
      timedOutExecutions: timeout,
      abortedExecutions: aborted,
      ignoredExecutions: ignored,
      rejectedExecutions,
      rejections,
      wouldReject: { ...(this.#wouldReject ?? noRejections()) },
      activeTasks: this.active,
      abandonedTasks: this.abandoned,
    };
  }
}

function noFailures(): Record<FailureOutcome, number> {
  return { failure: 0, timeout: 0, aborted: 0, ignored: 0 };
}

function noRejections(): Record<RejectionReason, number> {
  return { full: 0, circuitOpen: 0, timeout: 0, aborted: 0, isolated: 0, shutdown: 0 };
}
