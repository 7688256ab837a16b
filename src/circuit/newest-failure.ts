import { codeOf, describeThrown, typeName } from "../common/describe.js";
import type { LastFailure } from "../stats.js";

/** Keeps the newest failure that counted. It is described when it is asked for: failures come by the thousand. */
export class NewestFailure {
  #error: unknown = undefined;
  #at: number | undefined = undefined;

  record(error: unknown): void {
    this.#error = error;
    this.#at = Date.now();
  }

  describe(): LastFailure | null {
    if (this.#at === undefined) return null;
    const error = this.#error;
    return {
      name: typeName(error),
      code: codeOf(error),
      message: describeThrown(error),
      at: new Date(this.#at),
    };
  }
}
