import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { now } from "../clock.js";
import { within } from "./postgres-database.js";
import { destroy, unref } from "./postgres-wire.js";
import { CHANNEL } from "./schema.js";

/** How a storage hears of changes that others made. */
export interface ChangeSource {
  /** Begins to listen. Called again after `stop`, it begins anew. */
  start(): void;
  stop(): void;
  /** The database did not answer elsewhere: finds out whether changes are still heard. */
  check(): void;
}

export interface ChangeHooks {
  /** The listening connection is made: sees to it that the table is there. */
  readonly prepare: () => Promise<void>;
  /** The name of a circuit and its row as JSON. */
  readonly onChange: (name: string, row: unknown) => void;
  /**
   * The schema of the table, once it is known: the channel is that of the whole database. The listening
   * connection cannot tell, as it does not run what a pool runs on each of its connections.
   */
  readonly schema: () => string | undefined;
  /** Reads every circuit again that somebody wants to hear of. Resolves to whether it could read all. */
  readonly reread: () => Promise<boolean>;
  /** Changes cannot be heard at the moment; it is being tried again. Told at every try that fails. */
  readonly onTrouble: (error: unknown) => void;
  /** The connection that {@link ChangeSource.check} asked about is lost, too; it is being tried again. */
  readonly onSilence?: () => void;
  /** Changes are heard from now on, and what was missed has been read. */
  readonly onHearing: () => void;
}

export interface ListenerOptions {
  readonly connect: () => Client;
  readonly namespace: string;
  readonly queryTimeoutMs: number;
  /** @default `queryTimeoutMs` */
  readonly connectTimeoutMs?: number;
  /**
   * Milliseconds between two signs of life that are asked of the connection: they find one whose
   * other side is gone without a word, which TCP finds after two hours. @default 30_000
   */
  readonly heartbeatMs?: number;
}

const FIRST_RETRY_MS = 100;
/** No longer, lest a process be deaf for long after the network is well: a try costs one connection. */
const LAST_RETRY_MS = 5_000;
/** A connection that held this long was a good one: the next trouble is a new one. */
const STEADY_MS = 10_000;
const HEARTBEAT_MS = 30_000;

/** A connection that was checked gave no answer either. Whoever asked first has been told of the trouble. */
class Silence extends Error {}

/** Also the sign of life that is asked for: saying it again changes nothing. */
const LISTEN = `LISTEN ${CHANNEL}`;

/**
 * Hears of changes by `LISTEN`, on one connection of its own that never keeps the process alive. When
 * the connection is lost it makes another, at first soon, then later and later, and reads again what
 * it may have missed.
 */
export class PostgresListener implements ChangeSource {
  readonly #options: ListenerOptions;
  readonly #hooks: ChangeHooks;
  #stopping: AbortController | undefined = undefined;
  /** Cuts the pause short after which a sign of life is asked for. */
  #asking: AbortController | undefined = undefined;

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
    this.#asking?.abort();
  }

  async #listenUntil(stopped: AbortSignal): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!stopped.aborted) {
      const begun = now();
      try {
        await this.#listenOnce(stopped);
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

  /** Listens until it is stopped; rejects when the connection is lost. */
  async #listenOnce(stopped: AbortSignal): Promise<void> {
    const client = this.#options.connect();
    const ended = new AbortController();
    try {
      await new Promise<void>((resolve, reject) => {
        stopped.addEventListener("abort", () => resolve(), { once: true, signal: ended.signal });
        client.on("error", reject);
        client.on("end", () => reject(new Error("The listening connection was closed")));
        const reread = coalesced(this.#hooks.reread);
        this.#begin(client, reread, reject)
          .then((hasAll) => {
            if (!ended.signal.aborted) this.#hooks.onHearing();
            return this.#keepAlive(client, reread, hasAll, ended.signal);
          })
          .catch(reject);
      });
    } finally {
      ended.abort();
      // Ends the pause.
      this.check();
      client.on("error", () => {});
      destroy(client);
    }
  }

  /** Rejects when the other side does not answer any more. */
  async #keepAlive(
    client: Client,
    reread: () => Promise<boolean>,
    hadAll: boolean,
    ended: AbortSignal,
  ): Promise<void> {
    const { heartbeatMs = HEARTBEAT_MS } = this.#options;
    let hasAll = hadAll;
    while (!ended.aborted) {
      this.#asking = new AbortController();
      const { signal } = this.#asking;
      const isAsked = await sleep(heartbeatMs, false, { ref: false, signal }).catch(() => true);
      this.#asking = undefined;
      if (ended.aborted) return;
      const answer = this.#limited(client.query(LISTEN));
      await (isAsked ? answer.catch(() => Promise.reject(new Silence())) : answer);
      // It answers, but what it said meanwhile may have been lost with what was asked elsewhere. That it
      // cannot be read now either, as when a pool is exhausted, is no reason to hear nothing more.
      if (isAsked || !hasAll) hasAll = await reread().catch(() => false);
    }
  }

  async #begin(
    client: Client,
    reread: () => Promise<boolean>,
    fail: (error: unknown) => void,
  ): Promise<boolean> {
    const connecting = client.connect();
    unref(client);
    const { queryTimeoutMs, connectTimeoutMs = queryTimeoutMs } = this.#options;
    await within(connectTimeoutMs, connecting);
    // A secure connection has replaced the socket.
    unref(client);
    await this.#hooks.prepare();
    const hear = (payload: string | undefined) => {
      if (!this.#tell(payload)) reread().catch(fail);
    };
    // What comes before the schema is known waits for the answer that tells it, instead of asking again.
    let early: Array<string | undefined> | undefined = [];
    client.on("notification", ({ payload }) => {
      if (early !== undefined && this.#hooks.schema() === undefined) early.push(payload);
      else hear(payload);
    });
    await this.#limited(client.query(LISTEN));
    const hasAll = await reread();
    const waiting = early;
    early = undefined;
    waiting.forEach(hear);
    return hasAll;
  }

  /** Tells what a notification says. Returns whether that was all there is to know. */
  #tell(payload: string | undefined): boolean {
    const notice = parse(payload);
    if (notice === undefined) return false;
    const { schema, namespace, name, record } = notice;
    const ownSchema = this.#hooks.schema();
    if (schema === undefined || ownSchema === undefined) return false;
    if (schema !== ownSchema) return true;
    if (typeof namespace === "string" && namespace !== this.#options.namespace) return true;
    if (typeof name !== "string" || record === undefined) return false;
    try {
      this.#hooks.onChange(name, record);
      return true;
    } catch {
      return false;
    }
  }

  #limited<T>(answer: Promise<T>): Promise<T> {
    return within(this.#options.queryTimeoutMs, answer);
  }
}

function parse(payload: string | undefined): Record<string, unknown> | undefined {
  try {
    const notice: unknown = JSON.parse(payload ?? "");
    return typeof notice === "object" && notice !== null ? { ...notice } : undefined;
  } catch {
    return undefined;
  }
}

/** However often it is asked for while it runs, it runs once more after that. */
function coalesced<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  let next: Promise<T> | undefined;
  const run = () => {
    running = work().finally(() => {
      running = undefined;
    });
    return running;
  };
  return () => {
    if (running === undefined) return run();
    next ??= running
      .catch(() => {})
      .then(() => {
        next = undefined;
        return run();
      });
    return next;
  };
}
