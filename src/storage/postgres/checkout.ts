import type { Pool, PoolClient } from "pg";

interface Waiter {
  readonly resolve: (client: PoolClient) => void;
  readonly reject: (error: unknown) => void;
  hasGivenUp: boolean;
}

/**
 * Acquires connections of a pool, and waits for one of them at a time. A pool offers no way to cancel a wait: with
 * a pool that has no time limit of its own, every query to a database that hangs would leave one more wait in it.
 * So the next query takes over the wait of one that gave up.
 */
export class Checkout {
  readonly #pool: Pool;
  /** Waiters that the pool does not know of yet. */
  readonly #queue = new Set<Waiter>();
  #waits = 0;
  #limit = 1;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Acquires a connection. After `giveUp` it goes to the next waiter. */
  acquire(): { readonly connection: Promise<PoolClient>; readonly giveUp: () => void } {
    let giveUp = () => {};
    const connection = new Promise<PoolClient>((resolve, reject) => {
      const waiter = { resolve, reject, hasGivenUp: false };
      giveUp = () => {
        waiter.hasGivenUp = true;
        this.#queue.delete(waiter);
      };
      this.#queue.add(waiter);
    });
    this.#next();
    return { connection, giveUp };
  }

  release(client: PoolClient): void {
    client.off("error", ignore);
    client.release();
    this.#next();
  }

  /**
   * The database was reached by another connection. A wait that is not over may be for a connection that hangs
   * since before that, and would block the queue for as long as the network takes to notice: one more wait may begin.
   */
  markReachable(): void {
    // In the pool's own queue it waits for the application to release a connection, whatever the database does.
    if (this.#waits === 0 || this.#pool.waitingCount > 0) return;
    this.#limit = 2;
    this.#next();
  }

  #next(): void {
    if (this.#waits === 0) this.#limit = 1;
    // An idle connection is there at once, also while the wait for a new one hangs.
    const limit = this.#pool.idleCount > 0 ? this.#limit + 1 : this.#limit;
    if (this.#waits >= limit) return;
    const waiter = this.#shift();
    if (waiter !== undefined) void this.#wait(waiter);
  }

  #shift(): Waiter | undefined {
    const [waiter] = this.#queue;
    if (waiter !== undefined) this.#queue.delete(waiter);
    return waiter;
  }

  async #wait(waiter: Waiter): Promise<void> {
    this.#waits++;
    try {
      const client = await this.#connect();
      const receiver = waiter.hasGivenUp ? this.#shift() : waiter;
      if (receiver === undefined) this.release(client);
      else receiver.resolve(client);
    } catch (error) {
      // For the waiter that began the wait only: for another it would be an error from before its query.
      waiter.reject(error);
    }
    this.#waits--;
    this.#next();
  }

  /**
   * A connection whose loss does not end the process. By a callback, which is called while the pool hands it
   * out: a server that is stopped can end it in the same packet, before any promise is resolved.
   */
  #connect(): Promise<PoolClient> {
    return new Promise((resolve, reject) => {
      const take = (client: PoolClient) => {
        client.on("error", ignore);
        resolve(client);
      };
      const promise: unknown = this.#pool.connect((error, client) => {
        if (client === undefined) reject(error);
        else take(client);
      });
      // A class that extends Pool may have a `connect` that takes no callback.
      if (promise instanceof Promise) promise.then(take, reject);
    });
  }
}

function ignore(): void {}
