import type { FleetFallback } from "../config.js";
import type { PermitGrant, PermitNotice, PermitRequest } from "../storage/permit-lease.js";

/** What a bulkhead needs now. */
export interface Demand {
  /** Functions that run, abandoned ones included. */
  readonly inUse: number;
  /** Calls that wait. */
  readonly waiting: number;
}

/** Everything that changes in {@link Permits}. Times are in milliseconds by the process's monotonic clock. */
export interface PermitsState {
  /** The number of the last request. */
  sequence: number;
  /** As granted last. */
  permits: number;
  /** No function starts above it: another bulkhead lacks what is above, or it was given back. */
  cap: number;
  fair: number;
  limit: number;
  processes: number;
  turn: number;
  /** Functions may start under the lease until then. */
  until: number;
  /** The last request got no answer. */
  isFailing: boolean;
  /** The last answer granted less than was wanted. */
  isShort: boolean;
  /** Most functions and waiting calls at once since the last request. */
  peak: number;
}

export function newPermitsState(limit: number): PermitsState {
  return {
    sequence: 0,
    permits: 0,
    cap: 0,
    fair: limit,
    limit,
    processes: 1,
    turn: 0,
    until: Number.NEGATIVE_INFINITY,
    isFailing: false,
    isShort: false,
    peak: 0,
  };
}

/**
 * The permits of one bulkhead, of a limit for the whole fleet. The rules alone: it goes by its arguments, and by the
 * time that it is given. Together with `applyLease` in the storage they keep the sum of all bulkheads below the limit:
 *
 * - A lease counts from the moment in which it was requested, so it is over here before it is in the storage.
 * - What a bulkhead offers to give back it stops using before it asks, because the answer may be lost.
 * - Without an answer and without a lease it uses no more than it last held.
 */
export class Permits {
  readonly state: PermitsState;

  constructor(state: PermitsState) {
    this.state = state;
  }

  /** How many functions may run under the lease, or could until it ended. */
  get held(): number {
    return Math.min(this.state.permits, this.state.cap);
  }

  isLeased(now: number): boolean {
    return now < this.state.until && this.held > 0;
  }

  /** How many functions may run now; `Infinity` when only the bulkhead's own limit counts. */
  usable(now: number, fallback: FleetFallback): number {
    if (this.isLeased(now)) return this.held;
    const { isFailing, limit, processes } = this.state;
    if (!isFailing || fallback === "reject") return 0;
    if (fallback === "local") return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.min(this.held, Math.floor(limit / processes)));
  }

  /** Whether waiting calls need more than what is held, and a request may bring it. */
  lacks(now: number, { inUse, waiting }: Demand, most: number): boolean {
    if (waiting === 0) return false;
    if (!this.isLeased(now) && this.state.isFailing) return true;
    return this.mayBeGranted && this.held < this.#wants(inUse + waiting, most);
  }

  /** Whether there is something to give back: no more runs than may. */
  hasSurplus(inUse: number): boolean {
    return this.state.cap < this.state.permits && inUse <= this.state.cap;
  }

  /** Whether a request may bring more permits: not when the last one did not, and it has its fair share. */
  get mayBeGranted(): boolean {
    return !this.state.isShort || this.state.fair > this.held;
  }

  /** The request for what is needed, at most `most`. Until it is answered, no more is used than it offers to keep. */
  request(now: number, { inUse, waiting }: Demand, most: number): Keep {
    const { state } = this;
    const want = this.#wants(inUse + waiting, most);
    const held = this.isLeased(now) ? this.held : 0;
    const keep = Math.max(inUse, Math.min(held, want));
    state.cap = Math.min(state.cap, keep);
    state.peak = inUse + waiting;
    return { sequence: ++state.sequence, keep, want };
  }

  /** The request that gives everything back. No function runs. */
  giveBack(): Keep {
    const { state } = this;
    state.cap = 0;
    state.peak = 0;
    return { sequence: ++state.sequence, keep: 0, want: 0 };
  }

  /** @param until when the lease ends: counted from when the request was sent */
  answered({ want }: Keep, grant: PermitGrant, until: number): void {
    const { permits, fair, limit, processes, isContended, turn } = grant;
    const cap = isContended ? Math.min(permits, fair) : permits;
    const isShort = permits < want;
    Object.assign(this.state, { permits, cap, fair, limit, processes, turn, until, isShort });
    this.state.isFailing = false;
  }

  /** The request got no answer: it may have been carried out, or be carried out late. */
  failed(): void {
    this.state.isFailing = true;
  }

  hear({ fair, lastTurn, gives }: PermitNotice): void {
    const { state } = this;
    state.fair = fair > 0 || state.turn > lastTurn ? fair : 1;
    // A turn lasts until the renewal: others that wait would end each after a call.
    if (!gives) state.cap = Math.min(state.cap, Math.max(1, state.fair));
  }

  #wants(demand: number, most: number): number {
    return Math.min(most, Math.max(this.state.peak, demand));
  }
}

/** What a request says of the bulkhead's permits. */
export type Keep = Pick<PermitRequest, "sequence" | "keep" | "want">;
