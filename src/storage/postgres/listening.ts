import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { MAX_TIMER_MS, now } from "../../common/clock.js";
import { randomUUID } from "../../common/random-uuid.js";
import type { ChangeHooks } from "./change-source.js";
import { coalesced } from "./coalesced.js";
import { within } from "./database.js";
import { refusedError, unannouncedError, undeliveredError } from "./delivery-errors.js";
import { isListenRefused, isNoAnswer, type PostgresStorageError } from "./errors.js";
import { receive } from "./notice.js";
import { PostgresPoller } from "./poller.js";
import { CHANNEL } from "./schema.js";
import { destroy, unref } from "./wire.js";

export interface ListenerOptions {
  readonly connect: () => Client;
  readonly namespace: string;
  readonly queryTimeoutMs: number;
  /** @default `queryTimeoutMs` */
  readonly connectTimeoutMs?: number;
  /**
   * Milliseconds between two signs of life, or `null` for none: each asks the connection, because TCP finds
   * one whose other side vanished only after two hours, and reads the circuits again. @default 30_000
   */
  readonly heartbeatMs?: number | null;
  /** Milliseconds between two reads while no notices arrive. @default 5_000 */
  readonly pollMs?: number;
}

const HEARTBEAT_MS = 30_000;
const POLL_MS = 5_000;
/** A notice arrives within this after the answer of the query that sent it, or not at all. */
const NOTICE_MS = 2_000;

/** A connection that was checked gave no answer either. The query that led to the check has been rejected. */
export class Silence extends Error {}

/**
 * What is known of a listening connection:
 *
 * | state | LISTEN was | a notice of our own | changes arrive by |
 * |---|---|---|---|
 * | `untested` | accepted | could not be sent so far | notices, most likely |
 * | `delivered` | accepted | came back | notices |
 * | `undelivered` | accepted | did not come back | polling |
 * | `refused` | refused, as by a standby | – | polling |
 */
type Delivery = "untested" | "delivered" | "undelivered" | "refused";

/** One listening connection, from its start to its end. */
export class ListeningConnection {
  readonly #options: ListenerOptions;
  readonly #hooks: ChangeHooks;
  readonly #ownChannel: string;
  readonly #client: Client;
  readonly #reread: () => Promise<boolean>;
  readonly #poller: PostgresPoller;
  readonly #pollMs: number;
  /** The payload of the notice that tests this connection. */
  readonly #token = randomUUID();
  #delivery: Delivery = "untested";
  #isSent = false;
  #isPolling = false;
  /** A change was read that should have been announced, and no change was announced since. */
  #isUnannounced = false;
  #isEnded = false;
  /** Ends the current pause, with the reason. */
  #pausing: AbortController | undefined = undefined;
  /** Whether the pause is a wait for notices. */
  #awaitsNotice = false;

  /**
   * @param ownChannel no other process listens there, so the test disturbs none. One transaction subscribes
   *   to it and to the channel of the changes: where its notices arrive, theirs do too.
   */
  constructor(options: ListenerOptions, hooks: ChangeHooks, ownChannel: string) {
    const { onTrouble, onHearing } = hooks;
    this.#options = options;
    this.#hooks = hooks;
    this.#ownChannel = ownChannel;
    this.#client = options.connect();
    this.#reread = coalesced(hooks.reread);
    this.#pollMs = options.pollMs ?? POLL_MS;
    this.#poller = new PostgresPoller(this.#pollMs, { reread: this.#reread, onTrouble, onHearing });
  }

  /** Asks for a sign of life now. */
  check(): void {
    this.#pausing?.abort("check");
  }

  /** Listens until `stopped` is aborted; rejects when the connection is lost. */
  async run(stopped: AbortSignal): Promise<void> {
    const client = this.#client;
    const ended = new AbortController();
    try {
      await new Promise<void>((resolve, reject) => {
        stopped.addEventListener("abort", () => resolve(), { once: true, signal: ended.signal });
        client.on("error", reject);
        client.on("end", () => reject(new Error("The listening connection was closed")));
        this.#begin(reject)
          .then((hasAll) => this.#keepAlive(hasAll))
          .catch(reject);
      });
    } finally {
      this.#isEnded = true;
      ended.abort();
      this.#poller.stop();
      this.#pausing?.abort("end");
      client.on("error", () => {});
      destroy(client);
    }
  }

  /** Resolves, when it listens, to whether all circuits could be read. */
  async #begin(fail: (error: unknown) => void): Promise<boolean> {
    const client = this.#client;
    const connecting = client.connect();
    unref(client);
    const { queryTimeoutMs, connectTimeoutMs = queryTimeoutMs } = this.#options;
    await within(connectTimeoutMs, connecting);
    // A secure connection has replaced the socket.
    unref(client);
    await this.#hooks.prepare();
    const handle = (payload: string | undefined) => {
      if (!this.#receive(payload)) this.#reread().catch(fail);
    };
    // What comes before the schema is known waits for the answer that names it, instead of asking again.
    let early: Array<string | undefined> | undefined = [];
    client.on("notification", ({ channel, payload }) => {
      if (channel === this.#ownChannel) this.#receiveOwn(payload);
      else if (early !== undefined && this.#hooks.schema() === undefined) early.push(payload);
      else handle(payload);
      if (this.#awaitsNotice) this.#pausing?.abort("notice");
    });
    await this.#listen();
    // First, so that it has most likely come back when the circuits are read.
    await this.#sendOwn();
    const hasAll = await this.#reread();
    const waiting = early;
    early = undefined;
    waiting.forEach(handle);
    return hasAll;
  }

  /** Rejects when the other side does not answer any more. */
  async #keepAlive(hadAll: boolean): Promise<void> {
    let hasAll = hadAll;
    if (this.#isEnded) return;
    this.#hooks.onHearing();
    // What was read so far may have been announced while nothing listened.
    this.#hooks.announcements?.forgetMissing();
    await this.#test();
    while (!this.#isEnded) {
      const end = await this.#pause(this.#heartbeatMs(hasAll));
      if (this.#isEnded) return;
      if (end === "check") {
        hasAll = await this.#checkNow();
      } else {
        await this.#listen();
        const isRead = this.#isPolling && this.#delivery !== "untested";
        if (!isRead) hasAll = await this.#readAgain();
      }
      if (!this.#isEnded) await this.#test();
    }
  }

  /** A query got no answer: finds out whether this connection is lost, too. Resolves as `#readAgain` does. */
  async #checkNow(): Promise<boolean> {
    await this.#listen().catch(() => Promise.reject(new Silence()));
    const hasAll = await this.#readAgain();
    // It is there, but notices may have been lost together with that answer.
    this.#hooks.announcements?.forgetMissing();
    this.#isSent = false;
    return hasAll;
  }

  /** Resolves to whether all circuits could be read. */
  async #readAgain(): Promise<boolean> {
    try {
      const hasAll = await this.#reread();
      if (!this.#isEnded) this.#hooks.onHearing();
      return hasAll;
    } catch (error) {
      // An exhausted pool gives no answer either: that does not mean that no notices arrive.
      if (!this.#isEnded && !isNoAnswer(error)) this.#hooks.onTrouble(error);
      return false;
    }
  }

  /** Milliseconds until the next sign of life: never later, and not in lockstep with the fleet. */
  #heartbeatMs(hasAll: boolean): number {
    const { heartbeatMs = HEARTBEAT_MS } = this.#options;
    let ms = heartbeatMs ?? MAX_TIMER_MS;
    if (!hasAll || this.#delivery === "untested") ms = Math.min(ms, HEARTBEAT_MS);
    if (this.#delivery === "refused") ms = Math.min(ms, this.#pollMs);
    return ms * (0.9 + Math.random() / 10);
  }

  /** Resolves after `ms`, or to what ended the pause before that. */
  async #pause(ms: number): Promise<unknown> {
    const pausing = new AbortController();
    this.#pausing = pausing;
    await sleep(ms, undefined, { ref: false, signal: pausing.signal }).catch(() => {});
    this.#pausing = undefined;
    return pausing.signal.reason;
  }

  /** Also the sign of life: to listen twice changes nothing. */
  async #listen(): Promise<void> {
    try {
      await this.#limited(this.#client.query(`LISTEN ${CHANNEL}; LISTEN ${this.#ownChannel}`));
    } catch (error) {
      if (!isListenRefused(error)) throw error;
      this.#delivery = "refused";
      return;
    }
    if (this.#delivery === "refused") this.#delivery = "untested";
  }

  // Whether notices arrive

  /** Finds out whether notices arrive, as far as that is not known. */
  async #test(): Promise<void> {
    if (this.#delivery === "refused") {
      this.#poll(refusedError(this.#pollMs));
    } else if (this.#delivery === "untested") {
      await this.#testConnection();
    } else if (this.#delivery === "delivered") {
      await this.#testTrigger();
    }
  }

  async #testConnection(): Promise<void> {
    if (!this.#isSent) await this.#sendOwn().catch(() => {});
    // A notice that was not sent is not one that did not come back.
    if (!this.#isSent) return;
    if (await this.#arrives(() => this.#delivery === "delivered" || !this.#isSent)) return;
    this.#delivery = "undelivered";
    this.#poll(undeliveredError(this.#pollMs));
    await this.#readAgain();
  }

  /** Sends a notice to this connection. Rejects when the database does not answer the query. */
  async #sendOwn(): Promise<void> {
    const { notify } = this.#hooks;
    if (this.#delivery !== "untested") return;
    if (notify === undefined) {
      this.#markDelivered();
      return;
    }
    try {
      await notify(this.#ownChannel, this.#token);
      this.#isSent = true;
    } catch (error) {
      if (isNoAnswer(error)) throw error;
    }
  }

  async #testTrigger(): Promise<void> {
    const { announcements, onUndelivered } = this.#hooks;
    if (announcements === undefined || !announcements.isMissing) return;
    // A notice can be slower than the query that read its change.
    if (await this.#arrives(() => !announcements.isMissing)) return;
    announcements.forgetMissing();
    this.#isUnannounced = true;
    onUndelivered?.(unannouncedError());
  }

  /** Waits for a notice. It has arrived when `hasArrived` says so, or when the connection has ended. */
  async #arrives(hasArrived: () => boolean): Promise<boolean> {
    const end = now() + NOTICE_MS;
    const isOver = () => hasArrived() || this.#isEnded;
    this.#awaitsNotice = true;
    while (!isOver() && now() < end) {
      if ((await this.#pause(end - now())) === "check" && !isOver()) await this.#checkNow();
    }
    this.#awaitsNotice = false;
    // What the server sent before this answer is received before it, even by a process that was held up.
    if (!isOver()) await this.#listen();
    return isOver();
  }

  #receiveOwn(payload: string | undefined): void {
    // It may also come after the wait for it.
    if (payload === this.#token && !this.#isEnded) this.#markDelivered();
  }

  #markDelivered(): void {
    this.#delivery = "delivered";
    this.#isPolling = false;
    this.#poller.stop();
    this.#hooks.announcements?.forgetMissing();
    this.#hooks.onDelivered?.();
  }

  #poll(error: PostgresStorageError): void {
    if (this.#isPolling) return;
    this.#isPolling = true;
    this.#poller.start();
    const { onUndelivered, onTrouble } = this.#hooks;
    (onUndelivered ?? onTrouble)(error);
  }

  /** Returns whether the notice said everything there is to know. */
  #receive(payload: string | undefined): boolean {
    const { schema, onChange } = this.#hooks;
    return receive(payload, this.#options.namespace, {
      schema,
      onChange: (name, row) => {
        onChange(name, row);
        if (!this.#isUnannounced) return;
        this.#isUnannounced = false;
        this.#hooks.onDelivered?.();
      },
    });
  }

  #limited<T>(answer: Promise<T>): Promise<T> {
    return within(this.#options.queryTimeoutMs, answer);
  }
}
