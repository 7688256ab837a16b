import { applyLease, EMPTY_POOL } from "./apply-lease.js";
import type { PermitGrant, PermitNotice, PermitPool, PermitRequest } from "./permit-lease.js";

type OnNotice = (notice: PermitNotice) => void;

/** The permits of an `InMemoryStorage`. Those of a name are forgotten when the last bulkhead gives everything back. */
export class MemoryPermits {
  readonly #pools = new Map<string, PermitPool>();
  readonly #subscribers = new Map<string, Set<OnNotice>>();

  /** @param time milliseconds since the epoch */
  lease(requests: readonly PermitRequest[], time: number): PermitGrant[] {
    return requests.map((request) => this.#decide(request, time));
  }

  subscribe(name: string, onNotice: OnNotice): () => void {
    const subscribers = this.#subscribers.get(name) ?? new Set();
    this.#subscribers.set(name, subscribers);
    // Of its own, so that a function that subscribes twice is called twice.
    const subscriber: OnNotice = (notice) => onNotice(notice);
    subscribers.add(subscriber);
    return () => {
      subscribers.delete(subscriber);
      if (subscribers.size === 0 && this.#subscribers.get(name) === subscribers) {
        this.#subscribers.delete(name);
      }
    };
  }

  clearSubscribers(): void {
    this.#subscribers.clear();
  }

  #decide(request: PermitRequest, time: number): PermitGrant {
    const { name } = request;
    const { pool, grant, notice } = applyLease(this.#pools.get(name) ?? EMPTY_POOL, request, time);
    if (pool.shares.length > 0) this.#pools.set(name, pool);
    else this.#pools.delete(name);
    if (notice !== undefined) {
      for (const subscriber of this.#subscribers.get(name) ?? []) {
        queueMicrotask(() => subscriber(notice));
      }
    }
    return grant;
  }
}
