import type { BulkheadConfig, BulkheadConfigChanges, ResolvedBulkheadConfig } from "./config.js";
import { changeConfig } from "./resolve-config.js";

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

  constructor(given: ResolvedBulkheadConfig) {
    this.live = { ...given };
    this.current = given;
    this.#own = given;
  }

  /**
   * The program changes its configuration.
   * @returns the fields that have other values now
   * @throws {TypeError | RangeError} for a wrong change; then nothing has changed
   */
  change(changes: BulkheadConfigChanges): Array<keyof BulkheadConfig> {
    const own = changeConfig(this.#own, changes);
    const changed = this.#apply(changeConfig(own, this.#settings));
    this.#own = own;
    return changed;
  }

  /**
   * The operator sets fields, or none any more.
   * @returns the fields that have other values now
   * @throws {TypeError | RangeError} for wrong settings; then nothing has changed
   */
  override(settings: BulkheadConfigChanges): Array<keyof BulkheadConfig> {
    const changed = this.#apply(changeConfig(this.#own, settings));
    this.#settings = settings;
    return changed;
  }

  #apply(next: ResolvedBulkheadConfig): Array<keyof BulkheadConfig> {
    const before = this.current;
    const fields = Object.keys(next) as Array<keyof BulkheadConfig>;
    const changed = fields.filter((field) => !isSame(before[field], next[field]));
    if (changed.length === 0) return changed;
    this.current = next;
    Object.assign(this.live, next);
    return changed;
  }
}

function isSame(one: unknown, other: unknown): boolean {
  if (typeof one !== "object" || typeof other !== "object") return one === other;
  // A growing isolation.
  return JSON.stringify(one) === JSON.stringify(other);
}
