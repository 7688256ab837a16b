import type { CircuitStatus } from "../storage/circuit-storage.js";

/** A change that the circuit has just made. `from` and `to` can be equal: a lease changed hands. */
export interface CircuitTransition {
  readonly from: CircuitStatus;
  readonly to: CircuitStatus;
  /** A short text for people. */
  readonly reason: string;
  readonly origin: TransitionOrigin;
  /** Consecutive failures that led to it. */
  readonly failures: number;
  /** The failure of this process that led to it, if one did. */
  readonly cause: unknown;
  /** Whether the dependency itself asked for this opening, and for its length: no quorum is needed. */
  readonly isPrescribed: boolean;
  /** Whether it answers this process's request for the lease, which calls waited for. */
  readonly endsLeaseRequest: boolean;
}

/**
 * Where a change came from: a call's verdict or a health check of this process, a manual change,
 * the clock, or the storage, that is another process.
 */
export type TransitionOrigin = "verdict" | "manual" | "clock" | "storage";

/**
 * - `ours`: this process probes, until its lease runs out
 * - `acquiring`: this process has asked the storage for the lease; its probes wait for the answer
 * - `elsewhere`: another process probes, or no process does since its lease ran out
 */
export type Prober = "ours" | "acquiring" | "elsewhere";

export type State =
  | { readonly status: "CLOSED" }
  | { readonly status: "OPEN"; until: number }
  | HalfOpen;

export interface HalfOpen {
  readonly status: "HALF_OPEN";
  prober: Prober;
  /**
   * When the lease runs out, on the monotonic clock. The lease of a private circuit begins with its first
   * probe, and again with each success.
   */
  until: number;
  /** How many more probes may be admitted. */
  probesLeft: number;
  successes: number;
}

/** Everything that changes in `Circuit` but the failure rate. */
export interface CircuitSnapshot {
  readonly state: Readonly<State>;
  readonly generation: number;
  readonly openings: number;
}

export interface CircuitHooks {
  /**
   * Whether other processes share the circuit now: then a probe needs the storage's lease. Not while this process alone
   * has it open, without a quorum.
   */
  readonly isShared: () => boolean;
  /**
   * Milliseconds of the lease of probes. After it the next calls of a private circuit probe as well, otherwise probes
   * that never settle would keep it half-open for good.
   */
  readonly leaseMs: number;
  /** Called with each change, after it is made. */
  readonly onTransition: (transition: CircuitTransition) => void;
  /** Acquires the lease from the storage; `leaseGranted()` or an `apply…()` follows. */
  readonly onLeaseNeeded: () => void;
  /** Called for each probe that succeeded, but was not the last one needed. */
  readonly onProbeSuccess: () => void;
}
