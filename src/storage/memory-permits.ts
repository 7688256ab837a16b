import { applyLease, EMPTY_POOL } from "./apply-lease.js";
import type { PermitGrant, PermitPool, PermitRequest } from "./permit-lease.js";
import { PermitSubscribers } from "./permit-subscribers.js";

/** The permits of an `InMemoryStorage`. Those of a name are forgotten when the last bulkhead gives everything back. */
export class MemoryPermits {
  readonly subscribers = new PermitSubscribers();
  readonly #pools = new Map<string, PermitPool>();

  /** @param time milliseconds since the epoch */
  lease(requests: readonly PermitRequest[], time: number): PermitGrant[] {
    return requests.map((request) => this.#decide(request, time));
  }

  #decide(request: PermitRequest, time: number): PermitGrant {
    const { name } = request;
    const { pool, grant, notice } = applyLease(this.#pools.get(name) ?? EMPTY_POOL, request, time);
    if (pool.shares.length > 0) this.#pools.set(name, pool);
    else this.#pools.delete(name);
    if (notice !== undefined) this.subscribers.emit(name, notice);
    return grant;
  }
}
