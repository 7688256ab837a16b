import type { Bulkhead } from "../bulkhead.js";
import { LinkedList, ListNode } from "../common/linked-list.js";
import { unnamedOf } from "../common/unnamed.js";
import type { BulkheadManager } from "../manager.js";
import { type GuardInterceptorOptions, type OriginConfig, originOf } from "./settings.js";

/** What a guard knows of one of its bulkheads. */
export class Origin extends ListNode<Origin> {
  readonly key: string;
  readonly bulkhead: Bulkhead;
  /** Where it is while no request of the guard is under way; `undefined` when it is never removed. */
  readonly idleList: LinkedList<Origin> | undefined;
  #requests = 0;

  constructor(key: string, bulkhead: Bulkhead, idleList: LinkedList<Origin> | undefined) {
    super();
    this.key = key;
    this.bulkhead = bulkhead;
    this.idleList = idleList;
  }

  /** A request begins. */
  enter(): void {
    if (this.#requests++ === 0) this.idleList?.remove(this);
  }

  /** A request has ended. */
  leave(): void {
    if (--this.#requests === 0) this.idleList?.push(this);
  }
}

/** The bulkheads of a guard, one for each key. Those of keys that are not listed are removed when they are too many. */
export class Origins {
  readonly #manager: BulkheadManager;
  readonly #defaults: OriginConfig;
  readonly #maxOrigins: number;
  readonly #listed: ReadonlyMap<string, { readonly name: string; readonly config: OriginConfig }>;
  readonly #known = new Map<string, Origin>();
  /** Of keys that are not listed; the one that is idle for the longest time comes first. */
  readonly #idle = new LinkedList<Origin>();
  #unlisted = 0;
  /** Names of unlisted origins that have metrics of their own, for good; the last place is for all others together. */
  readonly #named = new Set<string>();
  readonly #unnamed: Set<string>;

  constructor(manager: BulkheadManager, options: GuardInterceptorOptions) {
    const { defaults = {}, origins = {}, maxOrigins = 1000, key } = options;
    this.#manager = manager;
    this.#unnamed = unnamedOf(manager);
    this.#defaults = { ...defaults };
    this.#maxOrigins = maxOrigins;
    this.#listed = new Map(
      Object.entries(origins).map(([listed, { name = listed, ...config }]) => [
        key === undefined ? (originOf(listed) ?? listed) : listed,
        { name, config: { ...defaults, ...config } },
      ]),
    );
  }

  /** The one of a key that is known already. */
  find(key: string): Origin | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    if (this.#manager.getBulkhead(known.bulkhead.name) === known.bulkhead) return known;
    this.#forget(known);
    return undefined;
  }

  /** @returns a promise that rejects when the manager makes none, such as after its shutdown */
  get(key: string): Origin | Promise<unknown> {
    const known = this.find(key);
    if (known !== undefined) return known;
    const listed = this.#listed.get(key);
    const name = listed?.name ?? key;
    const existing = this.#manager.getBulkhead(name);
    // The program made it, and may still use it: this guard must not remove it.
    if (existing !== undefined) return this.#add(new Origin(key, existing, undefined));
    if (listed === undefined) {
      this.#makeRoom();
      this.#nameSeries(name);
    }
    const created =
      listed === undefined
        ? this.#manager.createBulkhead({ ...this.#defaults, name }, {})
        : this.#manager.createBulkhead({ ...listed.config, name });
    const bulkhead = this.#manager.getBulkhead(name);
    if (bulkhead === undefined) return created;
    return this.#add(new Origin(key, bulkhead, listed === undefined ? this.#idle : undefined));
  }

  #add(origin: Origin): Origin {
    this.#known.set(origin.key, origin);
    if (origin.idleList !== undefined) this.#unlisted++;
    return origin;
  }

  #forget(origin: Origin): void {
    this.#known.delete(origin.key);
    if (origin.idleList === undefined) return;
    this.#unnamed.delete(origin.bulkhead.name);
    this.#unlisted--;
    origin.idleList.remove(origin);
  }

  /** Before the bulkhead is made: metrics begin with it. */
  #nameSeries(name: string): void {
    if (this.#named.has(name)) return;
    if (this.#named.size < this.#maxOrigins - 1) this.#named.add(name);
    else this.#unnamed.add(name);
  }

  /** What cannot be removed now is looked at last the next time. */
  #makeRoom(): void {
    for (let left = this.#idle.size; left > 0 && this.#unlisted >= this.#maxOrigins; left--) {
      const origin = this.#idle.shift();
      if (origin === undefined) return;
      if (isRemovable(origin.bulkhead)) {
        this.#manager.removeBulkhead(origin.bulkhead.name);
        this.#forget(origin);
      } else {
        this.#idle.push(origin);
      }
    }
  }
}

/** Nothing is lost with it but its counts. Others can use it, too: the manager is public. */
function isRemovable(bulkhead: Bulkhead): boolean {
  if (bulkhead.getState() !== "healthy") return false;
  const { activeTasks, queuedTasks, abandonedTasks } = bulkhead.getStats();
  return activeTasks + queuedTasks + abandonedTasks === 0;
}
