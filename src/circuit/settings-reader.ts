import type { CheckedStorage } from "../storage/checked-storage.js";
import { endSubscription } from "../storage/end-subscription.js";
import type { OperatorSettings } from "./operator-settings.js";

/** A notice is followed by one read, this long after it at most. */
const READ_MS = 1000;

/**
 * Follows an operator's settings while the circuit itself is not shared, since `enforce` is `false`: otherwise the fleet could
 * be told to watch, and never to enforce again. It only reads.
 */
export class SettingsReader {
  readonly #source: CheckedStorage;
  readonly #settings: OperatorSettings;
  readonly #onError: (error: unknown) => void;
  readonly #unsubscribe: () => void;
  #timer: NodeJS.Timeout | undefined = undefined;
  #isClosed = false;

  constructor(
    source: CheckedStorage,
    settings: OperatorSettings,
    onError: (error: unknown) => void,
  ) {
    this.#source = source;
    this.#settings = settings;
    this.#onError = onError;
    this.#unsubscribe = this.#subscribe();
    void this.#read();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    endSubscription(this.#unsubscribe);
  }

  #subscribe(): () => void {
    const readSoon = () => this.#readSoon();
    try {
      const subscriber = { onRecord: readSoon, onError: this.#onError };
      return this.#source.subscribe(subscriber, readSoon);
    } catch (error) {
      queueMicrotask(() => this.#onError(error));
      return () => {};
    }
  }

  #readSoon(): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        void this.#read();
      },
      READ_MS * (0.2 + Math.random() * 0.8),
    ).unref();
  }

  async #read(): Promise<void> {
    try {
      const record = await this.#source.getState();
      if (record !== null && !this.#isClosed) this.#settings.receive(record);
    } catch (error) {
      if (!this.#isClosed) this.#onError(error);
    }
  }
}
