import { outsideRequests } from "../common/async-context.js";
import { now } from "../common/clock.js";
import { withTimeout } from "../common/with-timeout.js";
import { noAnswerError } from "../storage/checked-storage.js";
import type { CircuitStorage } from "../storage/circuit-storage.js";
import type { PermitGrant, PermitRequest } from "../storage/permit-lease.js";
import { validateGrant } from "../storage/validate-grant.js";

/** A storage that leases permits. */
export type LeasingStorage = CircuitStorage & Required<Pick<CircuitStorage, "lease">>;

/** Who asks for permits of one storage. */
export interface LeaseHolder {
  /** When it has to ask next; `Infinity` while it is idle, or asks. */
  readonly dueAt: number;
  /** Whether it asks at `time`: not when it has only looked whether it has to. */
  isDue(time: number): boolean;
  /** It could ask now, and then not again soon. */
  readonly mayJoin: boolean;
  /** Its calls wait for permits: the process has to live on. */
  readonly holdsProcess: boolean;
  ask(): PermitRequest;
  onGrant(grant: PermitGrant): void;
  onFailure(error: unknown): void;
}

const known = new WeakMap<LeasingStorage, Leases>();

/** The holders of one storage in this process. */
export function leasesOf(storage: LeasingStorage): Leases {
  let leases = known.get(storage);
  if (leases === undefined) {
    leases = new Leases(storage);
    known.set(storage, leases);
  }
  return leases;
}

/**
 * Asks one storage for the permits of all limits of this process: one timer, none while every holder is idle, and as few
 * requests as possible, because those of all that are soon due are asked together.
 */
export class Leases {
  readonly #storage: LeasingStorage;
  readonly #holders = new Set<LeaseHolder>();
  #timer: NodeJS.Timeout | undefined = undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isAskingSoon = false;

  constructor(storage: LeasingStorage) {
    this.#storage = storage;
  }

  /** When a holder is due has changed. */
  schedule(holder: LeaseHolder): void {
    const { dueAt } = holder;
    if (dueAt === Number.POSITIVE_INFINITY) this.#holders.delete(holder);
    else {
      this.#holders.add(holder);
      if (dueAt < this.#timerAt) this.#arm(dueAt);
    }
    this.#holdProcess();
  }

  /** The process lives on while calls wait for permits. */
  #holdProcess(): void {
    const timer = this.#timer;
    // Timers of an imitated browser are numbers.
    if (typeof timer !== "object") return;
    for (const { holdsProcess } of this.#holders) {
      if (holdsProcess) {
        timer.ref();
        return;
      }
    }
    timer.unref();
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = at;
    const delayMs = at - now();
    if (delayMs <= 0) this.#askSoon();
    else this.#timer = outsideRequests(() => setTimeout(this.#onTimer, Math.ceil(delayMs)));
  }

  readonly #onTimer = () => {
    this.#timer = undefined;
    this.#askDue();
  };

  /** Not at once: others may become due in the same turn. */
  #askSoon(): void {
    if (this.#isAskingSoon) return;
    this.#isAskingSoon = true;
    outsideRequests(() =>
      queueMicrotask(() => {
        this.#isAskingSoon = false;
        this.#askDue();
      }),
    );
  }

  #askDue(): void {
    const time = now();
    const holders = [...this.#holders];
    const due = new Set(holders.filter((holder) => holder.isDue(time)));
    if (due.size > 0) {
      for (const holder of holders) if (due.has(holder) || holder.mayJoin) void this.#ask(holder);
    }
    this.#rearm();
  }

  #rearm(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { dueAt } of this.#holders) next = Math.min(next, dueAt);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (next < Number.POSITIVE_INFINITY) this.#arm(next);
    this.#holdProcess();
  }

  /** All in one turn of the event loop, of which a storage can make one query. One by one, so that none fails with another. */
  async #ask(holder: LeaseHolder): Promise<void> {
    const request = holder.ask();
    const seconds = this.#storage.queryTimeoutSeconds ?? 1;
    try {
      const [grant] = await withTimeout(this.#storage.lease([request]), {
        limitMs: seconds * 1000,
        error: () => noAnswerError(seconds),
        holdsProcess: true,
      });
      holder.onGrant(validateGrant(grant));
    } catch (error) {
      holder.onFailure(error);
    }
  }
}
