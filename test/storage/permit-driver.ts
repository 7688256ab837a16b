import {
  applyLease,
  EMPTY_POOL,
  type PermitGrant,
  type PermitNotice,
  type PermitPool,
  type PermitRequest,
} from "../../src/index.js";

export const LEASE_SECONDS = 15;
const RENEW_SECONDS = 5;

/** A pool whose owners ask by `applyLease`, with a clock that the test moves. */
export class Permits {
  pool: PermitPool;
  now = 1_000_000;
  readonly notices: PermitNotice[] = [];
  #sequence = 0;

  constructor(
    readonly limit: number,
    pool: Partial<PermitPool> = {},
  ) {
    this.pool = { ...EMPTY_POOL, ...pool };
  }

  /** @param asked besides `owner` and `want`; the limit is that of the constructor, and `keep` 0 */
  ask(owner: string, want: number, asked: Partial<PermitRequest> = {}): PermitGrant {
    const { pool, grant, notice } = applyLease(
      this.pool,
      {
        name: "api",
        owner,
        sequence: ++this.#sequence,
        limit: this.limit,
        keep: 0,
        want,
        leaseSeconds: LEASE_SECONDS,
        renewSeconds: RENEW_SECONDS,
        ...asked,
      },
      this.now,
    );
    this.pool = pool;
    if (notice !== undefined) this.notices.push(notice);
    return grant;
  }

  pass(seconds: number): void {
    this.now += seconds * 1000;
  }

  /** What each owner holds, by its name. */
  get held(): Record<string, number> {
    return Object.fromEntries(this.pool.shares.map(({ owner, permits }) => [owner, permits]));
  }

  /** What owners hold whose lease is not over. */
  get sum(): number {
    return this.pool.shares
      .filter(({ askedAt, leaseMs }) => this.now < askedAt + leaseMs)
      .reduce((sum, { permits }) => sum + permits, 0);
  }
}
