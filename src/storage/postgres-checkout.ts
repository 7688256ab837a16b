import type { Pool, PoolClient } from "pg";

interface Waiter {
  readonly resolve: (client: PoolClient) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Takes connections out of a pool, and waits for one of them at a time: a wait that was begun cannot be
 * taken back, so that with a pool that has no time limit of its own, every question to a database that
 * hangs would leave one more in it. Who asks next takes over the wait of who gave up.
 */
export class Checkout {
  readonly #pool: Pool;
  readonly #waiters = new Set<Waiter>();
  #waits = 0;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** A connection, which after `giveUp` is somebody else's. */
  take(): { readonly connection: Promise<PoolClient>; readonly giveUp: () => void } {
    let giveUp = () => {};
    const connection = new Promise<PoolClient>((resolve, reject) => {
      const waiter = { resolve, reject };
      giveUp = () => this.#waiters.delete(waiter);
      this.#waiters.add(waiter);
    });
    this.#next();
    return { connection, giveUp };
  }

  giveBack(client: PoolClient): void {
    client.release();
    this.#next();
  }

  #next(): void {
    const [waiter] = this.#waiters;
    if (waiter === undefined) return;
    // A connection that lies idle is there at once, also while the wait for a new one takes forever.
    if (this.#waits === 0 || (this.#waits === 1 && this.#pool.idleCount > 0)) this.#wait(waiter);
  }

  /** An error is told to who began the wait: to another it would be one of the past. */
  async #wait(waiter: Waiter): Promise<void> {
    this.#waits++;
    try {
      const client = await this.#pool.connect();
      const [first] = this.#waiters;
      if (first === undefined) client.release();
      else {
        this.#waiters.delete(first);
        first.resolve(client);
      }
    } catch (error) {
      if (this.#waiters.delete(waiter)) waiter.reject(error);
    }
    this.#waits--;
    this.#next();
  }
}
