import { hostname } from "node:os";
import { now } from "../common/clock.js";
import { newOwner } from "../common/new-owner.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import type { FleetStats } from "../stats.js";
import type { PermitGrant, PermitNotice, PermitRequest } from "../storage/permit-lease.js";
import { type LeaseHolder, type Leases, type LeasingStorage, leasesOf } from "./leases.js";
import { PermitNotices } from "./permit-notices.js";
import { type Demand, type Keep, newPermitsState, Permits } from "./permits.js";

/** Between two requests while calls wait; it doubles while requests bring nothing, up to a renewal. */
const FIRST_GAP_MS = 100;
/** Between two requests of a storage that does not answer, at first. */
const FIRST_RETRY_MS = 500;
/** Bulkheads that hear of free permits ask for them within this time. */
const SPREAD_MS = 20;

/** Grants in succession whose lease was over on arrival: a process that stood still has one. More are a slow storage. */
const MAX_LATE_GRANTS = 1;

const NEVER = Number.POSITIVE_INFINITY;

export interface FleetLimitHooks {
  readonly demand: () => Demand;
  /** How many functions may run may have changed. */
  readonly onChange: () => void;
  /** A request has come to its end: no more permits are under way. {@link onChange} was called before. */
  readonly onAnswer: () => void;
  /** The storage began to fail. */
  readonly onError: (error: unknown) => void;
}

/**
 * One bulkhead's part of the limit for the whole fleet: how many functions it may run now. It asks the storage when calls
 * come after an idle time, at renewals while they go on coming, and when they wait while permits are to be had.
 */
export class FleetLimit implements LeaseHolder {
  /** Functions may start until then, by the clock: read for every call. */
  validUntil = NEVER;
  /** How many functions may run; `Infinity` when only the bulkhead's own limit counts. */
  usable = 0;
  readonly #config: ResolvedBulkheadConfig;
  readonly #hooks: FleetLimitHooks;
  readonly #permits: Permits;
  readonly #leases: Leases;
  readonly #owner: string;
  readonly #leaseMs: number;
  readonly #renewMs: number;
  readonly #notices: PermitNotices;
  /** `NEVER` while it is idle. */
  #renewAt = NEVER;
  #urgentAt = NEVER;
  /** While others lack permits: when to look whether some are idle here. */
  #lookAt = NEVER;
  #askedAt = Number.NEGATIVE_INFINITY;
  #gapMs = FIRST_GAP_MS;
  #retryMs = FIRST_RETRY_MS;
  #asking: Keep | undefined = undefined;
  #holdsProcess = false;
  #lateGrants = 0;
  #closed: Promise<void> | undefined = undefined;
  #onClosed = () => {};

  constructor(config: ResolvedBulkheadConfig, storage: LeasingStorage, hooks: FleetLimitHooks) {
    this.#config = config;
    this.#hooks = hooks;
    this.#permits = new Permits(newPermitsState(config.fleetMaxConcurrentCalls ?? 1));
    this.#leases = leasesOf(storage);
    this.#owner = newOwner(storage.host ?? hostname());
    this.#leaseMs = (storage.permitLeaseSeconds ?? 15) * 1000;
    this.#renewMs = (storage.permitRenewSeconds ?? 5) * 1000;
    this.#notices = new PermitNotices(storage, config.name, {
      onNotice: (notice) => this.#hear(notice),
      onError: hooks.onError,
    });
  }

  get stats(): FleetStats {
    const { limit, fair, processes } = this.#permits.state;
    const leased = this.#permits.isLeased(now());
    const permits = Math.min(this.usable, this.#config.maxConcurrentCalls);
    return { limit, permits, fair: Math.min(fair, limit), processes, leased };
  }

  /** How many functions may run after the next answer, at most: a call beyond that needs a place in the queue. */
  get attainable(): number {
    const { isFailing, isShort, limit } = this.#permits.state;
    return isFailing || isShort ? this.usable : Math.max(limit, this.usable);
  }

  /** There is no lease, and the configuration wants calls rejected then. */
  get isRejecting(): boolean {
    const { isFailing } = this.#permits.state;
    return isFailing && this.usable === 0 && this.#config.fleetFallback === "reject";
  }

  // What the path of a call tells

  /** A call has come. @param demand how many functions and waiting calls there are with it */
  enter(demand: number): void {
    const { state } = this.#permits;
    if (demand > state.peak) state.peak = demand;
    if (this.#renewAt === NEVER) this.#begin();
  }

  /** A call waits for a permit. */
  wait(): void {
    const { usable } = this;
    if (usable === 0 && !this.#holdsProcess) this.#holdProcess(true);
    // The path of every call that waits.
    if (!this.#permits.mayBeGranted || usable >= this.#config.maxConcurrentCalls) return;
    if (this.#urgentAt === NEVER) this.#consider();
  }

  /** No call waits any more. */
  endWait(): void {
    if (this.#holdsProcess) this.#holdProcess(false);
  }

  /** The lease has run out by the clock: the storage is away, or the process stood still. */
  lapse(): void {
    this.#update();
    this.#consider();
  }

  /** A function has ended. @param inUse how many still run */
  release(inUse: number): void {
    if (this.#permits.hasSurplus(inUse)) this.#consider();
  }

  /** The configuration has changed. */
  reconfigure(): void {
    if (this.#renewAt !== NEVER) this.#urgentAt = now();
    this.#schedule();
  }

  /** Gives everything back. Resolves when that is done, or could not be. No function runs any more. */
  close(): Promise<void> {
    this.#closed ??= new Promise<void>((resolve) => {
      this.#onClosed = resolve;
      this.#notices.end();
      if (this.#asking === undefined) this.#giveBackAtClose();
    });
    return this.#closed;
  }

  #giveBackAtClose(): void {
    const { permits, isFailing } = this.#permits.state;
    const isOver = permits === 0 || isFailing;
    this.#renewAt = NEVER;
    // Otherwise a closed bulkhead would look for idle permits for ever.
    this.#lookAt = NEVER;
    this.#urgentAt = isOver ? NEVER : now();
    this.#schedule();
    if (isOver) this.#onClosed();
  }

  // What the requests of this process need

  get dueAt(): number {
    if (this.#asking !== undefined) return NEVER;
    return Math.min(this.#renewAt, this.#urgentAt, this.#lookAt);
  }

  /** @returns whether it asks at `time` */
  isDue(time: number): boolean {
    if (this.#asking !== undefined) return false;
    if (this.#lookAt <= time) {
      this.#lookAt = time + this.#lookMs;
      if (this.#hasIdlePermits) return true;
    }
    return Math.min(this.#renewAt, this.#urgentAt) <= time;
  }

  get mayJoin(): boolean {
    const isIdle = this.#asking !== undefined || this.#renewAt === NEVER;
    return !isIdle && now() - this.#askedAt >= this.#renewMs / 2;
  }

  get holdsProcess(): boolean {
    return this.#holdsProcess;
  }

  ask(): PermitRequest {
    const { name, timeoutSeconds, fleetMaxConcurrentCalls, maxConcurrentCalls } = this.#config;
    const { state } = this.#permits;
    const demand = this.#hooks.demand();
    const time = now();
    const isIdle = state.peak === 0 && demand.inUse + demand.waiting === 0;
    const givesBack = isIdle || this.#closed !== undefined;
    const keep = givesBack
      ? this.#permits.giveBack()
      : this.#permits.request(time, demand, maxConcurrentCalls);
    this.#asking = keep;
    this.#askedAt = time;
    this.#urgentAt = NEVER;
    this.#lookAt = NEVER;
    this.#renewAt = givesBack ? NEVER : time + this.#renewMs * between(0.9, 1.1);
    this.#update();
    return {
      name,
      owner: this.#owner,
      ...keep,
      limit: fleetMaxConcurrentCalls ?? state.limit,
      leaseSeconds: this.#leaseMs / 1000 + (timeoutSeconds ?? 0),
      renewSeconds: this.#renewMs / 1000,
    };
  }

  onGrant(grant: PermitGrant): void {
    const asked = this.#asking;
    if (asked === undefined) return;
    this.#lateGrants =
      grant.permits > 0 && now() >= this.#askedAt + this.#leaseMs ? this.#lateGrants + 1 : 0;
    if (this.#lateGrants > MAX_LATE_GRANTS) {
      this.onFailure(this.#tooLate());
      return;
    }
    this.#asking = undefined;
    const before = this.#permits.held;
    this.#permits.answered(asked, grant, this.#askedAt + this.#leaseMs);
    this.#retryMs = FIRST_RETRY_MS;
    const isInVain = asked.want > grant.permits && grant.permits <= before;
    this.#gapMs = isInVain ? Math.min(this.#gapMs * 2, this.#renewMs) : FIRST_GAP_MS;
    if (grant.isContended && grant.permits > 0 && this.#closed === undefined)
      this.#lookAt = now() + this.#lookMs;
    this.#onAnswer(asked);
  }

  onFailure(error: unknown): void {
    const asked = this.#asking;
    if (asked === undefined) return;
    this.#asking = undefined;
    const { isFailing } = this.#permits.state;
    this.#permits.failed();
    // Before the fallback starts calls, and these are emitted.
    if (!isFailing && this.#closed === undefined) this.#hooks.onError(error);
    if (this.#renewAt !== NEVER) this.#urgentAt = now() + this.#retryMs * between(0.5, 1);
    // Within a renewal of the storage's return, whatever a request takes: it learns from those that come by then.
    this.#retryMs = Math.min(this.#retryMs * 2, this.#renewMs / 2);
    this.#onAnswer(asked);
  }

  #tooLate(): Error {
    const seconds = this.#leaseMs / 1000;
    return new Error(
      `The circuit storage granted permits later than permitLeaseSeconds, which is ${seconds}`,
    );
  }

  #onAnswer({ keep, want }: Keep): void {
    if (this.#closed !== undefined) {
      if (keep + want > 0) {
        this.#giveBackAtClose();
        return;
      }
      this.#schedule();
      this.#onClosed();
      return;
    }
    this.#update();
    this.#hooks.onAnswer();
    this.#consider();
    this.#schedule();
  }

  #hear(notice: PermitNotice): void {
    this.#permits.hear(notice);
    if (notice.gives && this.#permits.mayBeGranted) this.#gapMs = FIRST_GAP_MS;
    else if (this.#permits.held > 0 && this.#renewAt !== NEVER) {
      // At once when it is known by now that some are idle here.
      this.#lookAt = Math.max(now(), this.#askedAt + this.#lookMs);
      this.#schedule();
    }
    this.#update();
    this.#consider(Math.random() * SPREAD_MS);
  }

  /** A time that is long enough to tell how many permits are needed. */
  get #lookMs(): number {
    return this.#renewMs / 6;
  }

  /** Whether it has needed less than it holds since it asked. */
  get #hasIdlePermits(): boolean {
    const { inUse, waiting } = this.#hooks.demand();
    return Math.max(this.#permits.state.peak, inUse + waiting) < this.#permits.held;
  }

  // When to ask

  /** Calls come after an idle time. */
  #begin(): void {
    const time = now();
    const { isFailing } = this.#permits.state;
    this.#renewAt = time + this.#renewMs * between(0.9, 1.1);
    if (isFailing) this.#urgentAt = Math.max(time, this.#askedAt + FIRST_RETRY_MS);
    else if (!this.#permits.isLeased(time)) this.#urgentAt = time;
    this.#schedule();
  }

  /** Asks before the renewal if that is of use. */
  #consider(delayMs = 0): void {
    if (this.#asking !== undefined || this.#closed !== undefined) return;
    // A request is on its way already, or the storage needs a rest.
    if (this.#permits.state.isFailing) return;
    const time = now();
    const demand = this.#hooks.demand();
    if (this.#permits.lacks(time, demand, this.#config.maxConcurrentCalls)) {
      this.#setUrgent(Math.max(time + delayMs, this.#askedAt + this.#gapMs));
    } else if (this.#permits.hasSurplus(demand.inUse)) {
      this.#setUrgent(Math.max(time, this.#askedAt + FIRST_GAP_MS));
    }
  }

  #setUrgent(at: number): void {
    if (at >= this.#urgentAt) return;
    this.#urgentAt = at;
    this.#schedule();
  }

  #holdProcess(holdsProcess: boolean): void {
    this.#holdsProcess = holdsProcess;
    this.#schedule();
  }

  #schedule(): void {
    this.#leases.schedule(this);
  }

  #update(): void {
    const time = now();
    this.usable = this.#permits.usable(time, this.#config.fleetFallback);
    this.validUntil = this.#permits.isLeased(time) ? this.#permits.state.until : NEVER;
    if (this.usable > 0) this.#holdsProcess = false;
    this.#hooks.onChange();
  }
}

function between(least: number, most: number): number {
  return least + Math.random() * (most - least);
}
