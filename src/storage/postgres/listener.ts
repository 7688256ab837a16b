import { setTimeout as sleep } from "node:timers/promises";
import { now } from "../../common/clock.js";
import { randomUUID } from "../../common/random-uuid.js";
import type { ChangeHooks, ChangeSource } from "./change-source.js";
import { type ListenerOptions, ListeningConnection, Silence } from "./listening.js";

const FIRST_RETRY_MS = 100;
/** No longer: otherwise a process misses changes for long after the network is well. A try costs one connection. */
const LAST_RETRY_MS = 5_000;
/** A connection that held this long was a good one: the next trouble is a new one. */
const STEADY_MS = 10_000;

/**
 * Receives changes by `LISTEN`, on one connection of its own that never keeps the process alive. When
 * the connection is lost it makes another, at first soon, then later and later, and reads again what
 * it may have missed.
 */
export class PostgresListener implements ChangeSource {
  readonly #options: ListenerOptions;
  readonly #hooks: ChangeHooks;
  /** The same for all its connections: a pooler keeps what a connection has subscribed to. */
  readonly #ownChannel = `bulkman_${randomUUID().replaceAll("-", "")}`;
  #stopping: AbortController | undefined = undefined;
  #connection: ListeningConnection | undefined = undefined;

  constructor(options: ListenerOptions, hooks: ChangeHooks) {
    this.#options = options;
    this.#hooks = hooks;
  }

  start(): void {
    if (this.#stopping !== undefined) return;
    this.#stopping = new AbortController();
    void this.#listenUntil(this.#stopping.signal);
  }

  stop(): void {
    this.#stopping?.abort();
    this.#stopping = undefined;
  }

  check(): void {
    this.#connection?.check();
  }

  async #listenUntil(stopped: AbortSignal): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!stopped.aborted) {
      const begun = now();
      try {
        const connection = new ListeningConnection(this.#options, this.#hooks, this.#ownChannel);
        this.#connection = connection;
        await connection.run(stopped);
      } catch (error) {
        if (error instanceof Silence) this.#hooks.onSilence?.();
        else if (!stopped.aborted) this.#hooks.onTrouble(error);
      }
      if (now() - begun >= STEADY_MS) retryMs = FIRST_RETRY_MS;
      // Jitter, so that a fleet does not come back to a restarted server in one instant.
      const delay = retryMs * (0.5 + Math.random() / 2);
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      await sleep(delay, undefined, { ref: false, signal: stopped }).catch(() => {});
    }
  }
}
