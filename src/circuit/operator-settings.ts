import { MAX_TIMER_MS } from "../common/clock.js";
import type { CircuitRecord } from "../storage/circuit-storage.js";
import { settingsMsLeft } from "../storage/remaining.js";

type Values = Readonly<Record<string, unknown>>;

/**
 * What an operator has set in the storage, as long as it is in force. Settings with an end have a timer, which does not keep
 * the process alive.
 */
export class OperatorSettings {
  readonly #apply: (values: Values) => void;
  #known = "null";
  #timer: NodeJS.Timeout | undefined = undefined;

  /** @param apply called with the values that hold from now on, none when the settings are over; must not throw */
  constructor(apply: (values: Values) => void) {
    this.#apply = apply;
  }

  /** A record was read. A notice is not enough: every role that may connect can send one. */
  receive(record: CircuitRecord): void {
    const settings = record.settings ?? null;
    const text = JSON.stringify(settings);
    if (text === this.#known) return;
    this.#known = text;
    this.stop();
    const msLeft = settingsMsLeft(record);
    if (settings === null || msLeft <= 0) {
      this.#apply({});
      return;
    }
    if (msLeft !== Number.POSITIVE_INFINITY) this.#endIn(msLeft);
    this.#apply(settings.values);
  }

  /** What is in force stays so. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #endIn(ms: number): void {
    const step = Math.min(ms, MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      if (ms > step) this.#endIn(ms - step);
      else this.#apply({});
    }, step).unref();
  }
}
