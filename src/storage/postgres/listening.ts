import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { MAX_TIMER_MS, now } from "../../common/clock.js";
import type { ChangeHooks } from "./change-source.js";
import { coalesced } from "./coalesced.js";
import { withQueryTimeout } from "./database.js";
import { Delivery } from "./delivery.js";
import { isConnectionError, isListenRejected } from "./errors.js";
import { receive } from "./notice.js";
import { PERMIT_CHANNEL } from "./permits-schema.js";
import { CHANNEL } from "./schema.js";
import { destroy, unref } from "./wire.js";

export interface ListenerOptions {
  readonly connect: () => Client;
  readonly namespace: string;
  readonly queryTimeoutMs: number;
  /** @default `queryTimeoutMs` */
  readonly connectTimeoutMs?: number;
  /**
   * Milliseconds between two heartbeats, or `null` for none: each queries the connection, because TCP notices
   * only after two hours that the other side vanished, and reads the circuits again. @default 30_000
   */
  readonly heartbeatMs?: number | null;
  /** Milliseconds between two reads while no notices arrive. @default 5_000 */
  readonly pollMs?: number;
}

const HEARTBEAT_MS = 30_000;
const POLL_MS = 5_000;
/** A notice arrives within this after the answer of the query that sent it, or not at all. */
const NOTICE_MS = 2_000;

/** The connection did not answer a check either. The query that led to the check has been rejected. */
export class ConnectionLost extends Error {}

/** One listening connection, from its start to its end. */
export class ListeningConnection {
  readonly #options: ListenerOptions;
  readonly #hooks: ChangeHooks;
  readonly #ownChannel: string;
  readonly #client: Client;
  readonly #reread: () => Promise<boolean>;
  readonly #pollMs: number;
  readonly #delivery: Delivery;
  #hasListened = false;
  #isEnded = false;
  /** Ends the current pause, with the reason. */
  #pausing: AbortController | undefined = undefined;
  /** Whether the pause is a wait for notices. */
  #awaitsNotice = false;

  /**
   * @param ownChannel tests whether notices arrive. One transaction subscribes to it and to the channel of the
   *   changes: where its notices arrive, theirs do too.
   */
  constructor(options: ListenerOptions, hooks: ChangeHooks, ownChannel: string) {
    this.#options = options;
    this.#hooks = hooks;
    this.#ownChannel = ownChannel;
    this.#client = options.connect();
    this.#reread = coalesced(hooks.reread);
    this.#pollMs = options.pollMs ?? POLL_MS;
    this.#delivery = new Delivery(
      {
        ownChannel,
        pollMs: this.#pollMs,
        reread: this.#reread,
        readAgain: () => this.#readAgain(),
        waitForNotice: (hasArrived) => this.#waitForNotice(hasArrived),
      },
      hooks,
    );
  }

  /** Queries the connection now, instead of at the next heartbeat. */
  check(): void {
    this.#pausing?.abort("check");
  }

  /** Notices of permits have subscribers now, or none any more. */
  updatePermits(): void {
    // Otherwise the first `#listen` does it.
    if (!this.#hasListened || this.#isEnded) return;
    const verb = this.#hooks.permits?.isEmpty === false ? "LISTEN" : "UNLISTEN";
    // A lost connection is noticed otherwise. Where LISTEN is rejected, permits move without notices.
    this.#client.query(`${verb} ${PERMIT_CHANNEL}`).catch(() => {});
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
        this.#start(reject)
          .then((hasAll) => this.#keepAlive(hasAll))
          .catch(reject);
      });
    } finally {
      this.#isEnded = true;
      ended.abort();
      this.#delivery.stop();
      this.#pausing?.abort("end");
      client.on("error", () => {});
      destroy(client);
    }
  }

  /** Connects and listens. Resolves to whether all circuits could be read. */
  async #start(fail: (error: unknown) => void): Promise<boolean> {
    const client = this.#client;
    const connecting = client.connect();
    unref(client);
    const { queryTimeoutMs, connectTimeoutMs = queryTimeoutMs } = this.#options;
    await withQueryTimeout(connectTimeoutMs, connecting);
    // A secure connection has replaced the socket.
    unref(client);
    await this.#hooks.prepare();
    const handle = (payload: string | undefined) => {
      if (!this.#receive(payload)) this.#reread().catch(fail);
    };
    // Notices before the schema is known wait for the answer that names it, instead of causing another read.
    let early: Array<string | undefined> | undefined = [];
    client.on("notification", ({ channel, payload }) => {
      if (channel === PERMIT_CHANNEL) {
        this.#hooks.permits?.receive(payload);
        return;
      }
      if (channel === this.#ownChannel) this.#delivery.receiveTestNotice(payload);
      else if (early !== undefined && this.#hooks.schema() === undefined) early.push(payload);
      else handle(payload);
      if (this.#awaitsNotice) this.#pausing?.abort("notice");
    });
    await this.#listen();
    // First, so that it has most likely come back when the circuits are read.
    await this.#delivery.sendTestNotice();
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
    this.#hooks.onSynced();
    // The notices of what was read so far may have been sent before this connection listened.
    this.#hooks.announcements?.forgetMissing();
    await this.#delivery.test();
    while (!this.#isEnded) {
      const end = await this.#pause(this.#heartbeatMs(hasAll));
      if (this.#isEnded) return;
      if (end === "check") {
        hasAll = await this.#checkNow();
      } else {
        await this.#listen();
        if (!this.#delivery.isPolled) hasAll = await this.#readAgain();
      }
      if (!this.#isEnded) await this.#delivery.test();
    }
  }

  /** A query got no answer: finds out whether this connection is lost, too. Resolves as `#readAgain` does. */
  async #checkNow(): Promise<boolean> {
    await this.#listen().catch(() => Promise.reject(new ConnectionLost()));
    const hasAll = await this.#readAgain();
    this.#delivery.restart();
    return hasAll;
  }

  /** Resolves to whether all circuits could be read. */
  async #readAgain(): Promise<boolean> {
    try {
      const hasAll = await this.#reread();
      if (!this.#isEnded) this.#hooks.onSynced();
      return hasAll;
    } catch (error) {
      // An exhausted pool gives no answer either: that does not mean that no notices arrive.
      if (!this.#isEnded && !isConnectionError(error)) this.#hooks.onInterrupted(error);
      return false;
    }
  }

  /** Milliseconds until the next heartbeat: never more, and not in lockstep with the fleet. */
  #heartbeatMs(hasAll: boolean): number {
    const { heartbeatMs = HEARTBEAT_MS } = this.#options;
    const { state } = this.#delivery;
    let ms = heartbeatMs ?? MAX_TIMER_MS;
    if (!hasAll || state === "untested") ms = Math.min(ms, HEARTBEAT_MS);
    if (state === "rejected") ms = Math.min(ms, this.#pollMs);
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

  /** Also the heartbeat's query: to listen twice changes nothing. */
  async #listen(): Promise<void> {
    const permits = this.#hooks.permits?.isEmpty === false ? `; LISTEN ${PERMIT_CHANNEL}` : "";
    this.#hasListened = true;
    const query = this.#client.query(`LISTEN ${CHANNEL}; LISTEN ${this.#ownChannel}${permits}`);
    try {
      await withQueryTimeout(this.#options.queryTimeoutMs, query);
      this.#delivery.setAccepted(true);
    } catch (error) {
      if (!isListenRejected(error)) throw error;
      this.#delivery.setAccepted(false);
    }
  }

  async #waitForNotice(hasArrived: () => boolean): Promise<boolean> {
    const end = now() + NOTICE_MS;
    const isOver = () => hasArrived() || this.#isEnded;
    this.#awaitsNotice = true;
    while (!isOver() && now() < end) {
      if ((await this.#pause(end - now())) === "check" && !isOver()) await this.#checkNow();
    }
    this.#awaitsNotice = false;
    // What the server sent before this answer arrives before it, even in a process that was suspended.
    if (!isOver()) await this.#listen();
    return isOver();
  }

  /** Returns whether the notice was complete. */
  #receive(payload: string | undefined): boolean {
    const { schema, onChange } = this.#hooks;
    return receive(payload, this.#options.namespace, {
      schema,
      onChange: (name, row) => {
        onChange(name, row);
        this.#delivery.receiveChange();
      },
    });
  }
}
