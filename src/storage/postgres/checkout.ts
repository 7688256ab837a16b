import type { Pool, PoolClient } from "pg";

interface Waiter {
  readonly resolve: (client: PoolClient) => void;
  readonly reject: (error: unknown) => void;
  hasGivenUp: boolean;
}

/**
 * Takes connections out of a pool, and waits for one of them at a time: a wait that was begun cannot be
 * taken back, so that with a pool that has no time limit of its own, every question to a database that
 * hangs would leave one more in it. Who asks next takes over the wait of who gave up.
 */
export class Checkout {
  readonly #pool: Pool;
  /** Those for whom the pool has not been asked. */
  readonly #line = new Set<Waiter>();
  #waits = 0;
  #limit = 1;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** A connection, which after `giveUp` is somebody else's. */
  take(): { readonly connection: Promise<PoolClient>; readonly giveUp: () => void } {
    let giveUp = () => {};
    const connection = new Promise<PoolClient>((resolve, reject) => {
      const waiter = { resolve, reject, hasGivenUp: false };
      giveUp = () => {
        waiter.hasGivenUp = true;
        this.#line.delete(waiter);
      };
      this.#line.add(waiter);
    });
    this.#next();
    return { connection, giveUp };
  }

  giveBack(client: PoolClient): void {
    client.off("error", ignore);
    client.release();
    this.#next();
  }

  /**
   * The database was reached on another way. A wait that is not over may be for a connection that hangs
   * from before, and would be in the way for as long as the network takes to notice: one more may begin.
   */
  reached(): void {
    // In the pool's own line it waits for the application, whatever the database does.
    if (this.#waits === 0 || this.#pool.waitingCount > 0) return;
    this.#limit = 2;
    this.#next();
  }

  #next(): void {
    if (this.#waits === 0) this.#limit = 1;
    // A connection that lies idle is there at once, also while the wait for a new one takes forever.
    const limit = this.#pool.idleCount > 0 ? this.#limit + 1 : this.#limit;
    if (this.#waits >= limit) return;
    const waiter = this.#first();
    if (waiter !== undefined) void this.#wait(waiter);
  }

  #first(): Waiter | undefined {
    const [waiter] = this.#line;
    if (waiter !== undefined) this.#line.delete(waiter);
    return waiter;
  }

  async #wait(waiter: Waiter): Promise<void> {
    this.#waits++;
    try {
      const client = await this.#connect();
      const taker = waiter.hasGivenUp ? this.#first() : waiter;
      if (taker === undefined) this.giveBack(client);
      else taker.resolve(client);
    } catch (error) {
      // Told to who began the wait alone: to another it would be an error of the past.
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
