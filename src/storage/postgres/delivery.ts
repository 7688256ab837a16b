import { randomUUID } from "../../common/random-uuid.js";
import type { ChangeHooks } from "./change-source.js";
import { listenRejectedError, unannouncedError, undeliveredError } from "./delivery-errors.js";
import { isConnectionError, type PostgresStorageError } from "./errors.js";
import { PostgresPoller } from "./poller.js";

/**
 * What is known of a listening connection:
 *
 * | state | LISTEN was | its test notice | changes arrive by |
 * |---|---|---|---|
 * | `untested` | accepted | could not be sent so far | notices, most likely |
 * | `delivered` | accepted | came back | notices |
 * | `undelivered` | accepted | did not come back | polling |
 * | `rejected` | rejected, as by a standby | – | polling |
 */
type DeliveryState = "untested" | "delivered" | "undelivered" | "rejected";

type Hooks = Pick<
  ChangeHooks,
  "notify" | "announcements" | "onUndelivered" | "onDelivered" | "onInterrupted" | "onSynced"
>;

export interface DeliveryOptions {
  /** No other process listens there, so that the test notice disturbs none. */
  readonly ownChannel: string;
  readonly pollMs: number;
  readonly reread: () => Promise<boolean>;
  /** Reads again, and reports a failure. */
  readonly readAgain: () => Promise<unknown>;
  /** Waits for a notice. Resolves to whether it has arrived; also to `true` when the connection has ended. */
  readonly waitForNotice: (hasArrived: () => boolean) => Promise<boolean>;
}

/** Whether notices arrive on one listening connection; while they do not, the circuits are polled. */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #hooks: Hooks;
  readonly #poller: PostgresPoller;
  /** The payload of the notice that tests the connection. */
  readonly #token = randomUUID();
  #state: DeliveryState = "untested";
  #isTestSent = false;
  #isPolling = false;
  /** A change was read without its notice, and no notice of a change has arrived since. */
  #isUnannounced = false;
  #isStopped = false;

  constructor(options: DeliveryOptions, hooks: Hooks) {
    const { pollMs, reread } = options;
    const { onInterrupted, onSynced } = hooks;
    this.#options = options;
    this.#hooks = hooks;
    this.#poller = new PostgresPoller(pollMs, { reread, onInterrupted, onSynced });
  }

  get state(): DeliveryState {
    return this.#state;
  }

  /** Whether the poller reads the circuits, and a heartbeat need not. */
  get isPolled(): boolean {
    return this.#isPolling && this.#state !== "untested";
  }

  stop(): void {
    this.#isStopped = true;
    this.#poller.stop();
  }

  /** The server accepted or rejected `LISTEN`. */
  setAccepted(isAccepted: boolean): void {
    if (!isAccepted) this.#state = "rejected";
    else if (this.#state === "rejected") this.#state = "untested";
  }

  /** Notices may have been lost together with a query's answer: what is missing is no evidence. */
  restart(): void {
    this.#hooks.announcements?.forgetMissing();
    this.#isTestSent = false;
  }

  /** Finds out whether notices arrive, as far as that is unknown. */
  async test(): Promise<void> {
    if (this.#state === "rejected") {
      this.#poll(listenRejectedError(this.#options.pollMs));
    } else if (this.#state === "untested") {
      await this.#testConnection();
    } else if (this.#state === "delivered") {
      await this.#testTrigger();
    }
  }

  /** Sends a notice to this connection. Rejects when the database does not answer the query. */
  async sendTestNotice(): Promise<void> {
    const { notify } = this.#hooks;
    if (this.#state !== "untested") return;
    if (notify === undefined) {
      this.#markDelivered();
      return;
    }
    try {
      await notify(this.#options.ownChannel, this.#token);
      this.#isTestSent = true;
    } catch (error) {
      if (isConnectionError(error)) throw error;
    }
  }

  /** A notice came on the own channel; it may also come after the wait for it. */
  receiveTestNotice(payload: string | undefined): void {
    if (payload === this.#token && !this.#isStopped) this.#markDelivered();
  }

  /** A notice of a change arrived: the trigger fires. */
  receiveChange(): void {
    if (!this.#isUnannounced) return;
    this.#isUnannounced = false;
    this.#hooks.onDelivered?.();
  }

  async #testConnection(): Promise<void> {
    if (!this.#isTestSent) await this.sendTestNotice().catch(() => {});
    // A notice that was not sent cannot come back.
    if (!this.#isTestSent) return;
    const isKnown = () => this.#state === "delivered" || !this.#isTestSent;
    if (await this.#options.waitForNotice(isKnown)) return;
    this.#state = "undelivered";
    this.#poll(undeliveredError(this.#options.pollMs));
    await this.#options.readAgain();
  }

  async #testTrigger(): Promise<void> {
    const { announcements, onUndelivered } = this.#hooks;
    if (announcements === undefined || !announcements.isMissing) return;
    // A notice can be slower than the query that read its change.
    if (await this.#options.waitForNotice(() => !announcements.isMissing)) return;
    announcements.forgetMissing();
    this.#isUnannounced = true;
    onUndelivered?.(unannouncedError());
  }

  #markDelivered(): void {
    this.#state = "delivered";
    this.#isPolling = false;
    this.#poller.stop();
    this.#hooks.announcements?.forgetMissing();
    this.#hooks.onDelivered?.();
  }

  #poll(error: PostgresStorageError): void {
    if (this.#isPolling) return;
    this.#isPolling = true;
    this.#poller.start();
    const { onUndelivered, onInterrupted } = this.#hooks;
    (onUndelivered ?? onInterrupted)(error);
  }
}
