import { setTimeout as sleep } from "node:timers/promises";
import { now } from "../../common/clock.js";
import { randomUUID } from "../../common/random-uuid.js";
import type { ChangeHooks, ChangeSource } from "./change-source.js";
import { ConnectionLost, type ListenerOptions, ListeningConnection } from "./listening.js";

const FIRST_RETRY_MS = 100;
/** No longer: otherwise a process misses changes long after the network has recovered. A try costs one connection. */
const LAST_RETRY_MS = 5_000;
/** A connection that lasted this long was a good one: the pauses start again with the first. */
const STEADY_MS = 10_000;

/**
 * Receives changes by `LISTEN`, on a separate connection that never keeps the process alive. Reconnects when it is
 * lost, with growing pauses, and reads the circuits again, because changes may have been missed.
 */
export class PostgresListener implements ChangeSource {
  readonly #options: ListenerOptions;
  readonly #hooks: ChangeHooks;
  /** The same for all its connections: a pooler keeps the subscriptions of a connection. */
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

  updatePermits(): void {
    this.#connection?.updatePermits();
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
        if (error instanceof ConnectionLost) this.#hooks.onConnectionLost?.();
        else if (!stopped.aborted) this.#hooks.onInterrupted(error);
      }
      if (now() - begun >= STEADY_MS) retryMs = FIRST_RETRY_MS;
      // Jitter, so that a fleet does not come back to a restarted server in one instant.
      const delay = retryMs * (0.5 + Math.random() / 2);
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      await sleep(delay, undefined, { ref: false, signal: stopped }).catch(() => {});
    }
  }
}
