/** What one bulkhead asks for, of the permits of the fleet's limit. */
export interface PermitRequest {
  /** The name of the bulkhead, and of the limit. */
  readonly name: string;
  /** The bulkhead that asks: the same string for every request of it, and no other's. */
  readonly owner: string;
  /** Rises with every request of the owner: one that is carried out late changes nothing. */
  readonly sequence: number;
  /** The owner's `fleetMaxConcurrentCalls`. Integer ≥ 1. */
  readonly limit: number;
  /** The owner has used no more than this since before it asked, and is never left with less of what it holds. Integer ≥ 0. */
  readonly keep: number;
  /** How many permits the owner can use. Integer ≥ 0; 0, with a `keep` of 0, gives everything back. */
  readonly want: number;
  /** Seconds until the storage takes the permits back, from now by its clock. > 0. */
  readonly leaseSeconds: number;
  /** Seconds after which the owner asks again while it has calls. > 0. */
  readonly renewSeconds: number;
}

/** What a bulkhead holds after a request. */
export interface PermitGrant {
  /** How many permits it holds. Integer ≥ 0. */
  readonly permits: number;
  /**
   * Its fair share. Integer ≥ 0: when there are fewer permits than bulkheads that want one, they take turns, and it is
   * 0 for those whose turn it is not.
   */
  readonly fair: number;
  /** The fleet's limit now: the smallest that a bulkhead has, unless an operator has set another. Integer ≥ 1. */
  readonly limit: number;
  /** How many bulkheads hold or want permits, this one included. Integer ≥ 1. */
  readonly processes: number;
  /**
   * Another bulkhead has less than its fair share and wants more, or more is held than the limit allows: no function may
   * start above the fair share.
   */
  readonly isContended: boolean;
  /** The owner's place in the order of turns: lower ones come first. No two owners have the same. */
  readonly turn: number;
}

/** Another bulkhead lacks permits, or has given back some. A hint, which the next request confirms. */
export interface PermitNotice {
  /** The fair share of everyone that wants it. Integer ≥ 0. */
  readonly fair: number;
  /** With a `fair` of 0: the share of a bulkhead is 1 when its turn is at most this. */
  readonly lastTurn: number;
  /** Permits were given back that another lacks. Otherwise a bulkhead with more than its share starts nothing above it. */
  readonly gives: boolean;
}

/** One owner's permits, as a storage keeps them. Times are in milliseconds since the epoch, by the storage's clock. */
export interface PermitShare {
  /** As in its requests. */
  readonly owner: string;
  /** That of its newest request. */
  readonly sequence: number;
  /** The owner's `fleetMaxConcurrentCalls`. */
  readonly limit: number;
  /** How many it holds. */
  readonly permits: number;
  /** How many it can use. */
  readonly wants: number;
  /** Its place in the order of turns. */
  readonly turn: number;
  /** When it asked last. */
  readonly askedAt: number;
  /** How long its lease lasts from then on. */
  readonly leaseMs: number;
}

/** The permits of one name, as a storage keeps them. Times are in milliseconds since the epoch, by the storage's clock. */
export interface PermitPool {
  /** The limit that an operator has set; `null`: the smallest of the owners. */
  readonly limitSet: number | null;
  /** When a bulkhead asked last; 0: never. */
  readonly askedAt: number;
  /** Since when permits whose lease has run out still count, because the storage was away; 0: they do not. */
  readonly learnsSince: number;
  /** For how long they do. */
  readonly learnsMs: number;
  /** When the last notice was sent; 0: never. */
  readonly noticedAt: number;
  /** The next place in the order of turns. */
  readonly nextTurn: number;
  /** Of every owner that holds or wants permits. */
  readonly shares: readonly PermitShare[];
}

/** The decision on a request. */
export interface PermitDecision {
  /** The permits after it. */
  readonly pool: PermitPool;
  /** The answer to the bulkhead. */
  readonly grant: PermitGrant;
  /** To be sent to every bulkhead of that name; `undefined`: nothing. */
  readonly notice: PermitNotice | undefined;
}
