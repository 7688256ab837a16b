import type { BulkheadConfig, BulkheadConfigChanges, ResolvedBulkheadConfig } from "./config.js";
import type { BulkheadError } from "./errors.js";
import type { ConfiguredEvent } from "./events.js";
import { settingsError } from "./rejections.js";
import { changeConfig } from "./resolve-config.js";

interface ConfigurationHooks {
  /** @throws {TypeError} when the bulkhead cannot do what the configuration wants */
  readonly check: (config: ResolvedBulkheadConfig) => void;
  /** A field has another value than before. */
  readonly onChanged: (before: ResolvedBulkheadConfig, event: ConfiguredEvent) => void;
  /** The operator's settings cannot be taken. */
  readonly onInvalid: (error: BulkheadError) => void;
}

/** What a bulkhead is configured with: by its program, and over that by the settings of an operator. */
export class Configuration {
  /**
   * For the parts of the bulkhead, which read it whenever they need a field: one object that changes in place, so that a
   * call costs nothing more than with a fixed configuration.
   */
  readonly live: ResolvedBulkheadConfig;
  /** For users: frozen, and replaced by each change. */
  current: ResolvedBulkheadConfig;
  /** Without the operator's settings. */
  #own: ResolvedBulkheadConfig;
  #settings: BulkheadConfigChanges = {};
  readonly #hooks: ConfigurationHooks;

  constructor(given: ResolvedBulkheadConfig, hooks: ConfigurationHooks) {
    this.#hooks = hooks;
    this.live = { ...given };
    this.current = given;
    this.#own = given;
  }

  /**
   * The program changes its configuration.
   * @throws {TypeError | RangeError} for a wrong change; then nothing has changed
   */
  change(changes: BulkheadConfigChanges): void {
    const own = changeConfig(this.#own, changes);
    const next = changeConfig(own, this.#settings);
    this.#hooks.check(next);
    this.#own = own;
    this.#apply(next, "program");
  }

  /** The operator sets fields, or none any more. What this process cannot take is reported, and changes nothing. */
  override(settings: Readonly<Record<string, unknown>>): void {
    let next: ResolvedBulkheadConfig;
    try {
      next = changeConfig(this.#own, settings);
      this.#hooks.check(next);
    } catch (error) {
      this.#hooks.onInvalid(settingsError(this.#own.name, error));
      return;
    }
    this.#settings = settings;
    this.#apply(next, "operator");
  }

  #apply(next: ResolvedBulkheadConfig, by: ConfiguredEvent["by"]): void {
    const before = this.current;
    const fields = Object.keys(next) as Array<keyof BulkheadConfig>;
    const changed = fields.filter((field) => !isSame(before[field], next[field]));
    if (changed.length === 0) return;
    this.current = next;
    Object.assign(this.live, next);
    this.#hooks.onChanged(before, { config: next, changed, by });
  }
}

function isSame(one: unknown, other: unknown): boolean {
  if (typeof one !== "object" || typeof other !== "object") return one === other;
  // A growing isolation.
  return JSON.stringify(one) === JSON.stringify(other);
}
