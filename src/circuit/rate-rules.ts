import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { FailureRate, type OpeningRule } from "./opening-rules.js";
import { RollingWindow } from "./rolling-window.js";
import { SlowCalls } from "./slow-calls.js";

/** The rules that open a circuit at a percentage of the calls in its window, as configured at the moment. */
export class RateRules {
  readonly window: RollingWindow;
  readonly #config: ResolvedBulkheadConfig;
  // Created when they are switched on first: most bulkheads need neither.
  #slowCalls: SlowCalls | undefined = undefined;
  #failureRate: FailureRate | undefined = undefined;

  constructor(config: ResolvedBulkheadConfig) {
    this.#config = config;
    this.window = new RollingWindow(config);
  }

  /** Also while it is switched off, if it was on before. */
  get createdSlowCalls(): SlowCalls | undefined {
    return this.#slowCalls;
  }

  /** `undefined` while it is switched off. */
  get slowCalls(): SlowCalls | undefined {
    if (this.#config.slowCallSeconds === null) return undefined;
    this.#slowCalls ??= new SlowCalls(this.window, this.#config);
    return this.#slowCalls;
  }

  /** Those that are switched on. */
  get inUse(): OpeningRule[] {
    const rules: OpeningRule[] = [];
    if (this.#config.failureRateThreshold !== null) {
      this.#failureRate ??= new FailureRate(this.window, this.#config);
      rules.push(this.#failureRate);
    }
    const { slowCalls } = this;
    if (slowCalls !== undefined) rules.push(slowCalls);
    return rules;
  }

  /** The configuration has changed. */
  reconfigure(before: ResolvedBulkheadConfig): void {
    const { windowSeconds, slowCallSeconds } = this.#config;
    if (windowSeconds !== before.windowSeconds) this.window.reschedule(now());
    if (slowCallSeconds === null) this.#slowCalls?.reset();
  }
}
