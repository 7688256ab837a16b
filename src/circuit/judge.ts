import type { Settlement } from "../classification.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { isRejection } from "../errors.js";
import { warnOnce } from "../events.js";

/** What a settled call says of the dependency. */
export interface Verdict {
  /** `ignore`: nothing; it neither ends a run of failures nor counts in a rate. */
  readonly outcome: "success" | "failure" | "ignore";
  /** Opens the circuit at once for that long. */
  readonly retryAfterSeconds?: number | undefined;
}

const SUCCESS: Verdict = { outcome: "success" };
export const FAILURE: Verdict = { outcome: "failure" };
export const IGNORE: Verdict = { outcome: "ignore" };
const VERDICTS = new Map<unknown, Verdict>([
  ["success", SUCCESS],
  ["failure", FAILURE],
  ["ignore", IGNORE],
]);

const NAMES = '"success", "failure", "ignore"';
const DETAILED = '{ outcome: "failure", retryAfterSeconds } with a number of seconds of at least 0';
/** What a verdict can be made of, for messages. */
export const CLASSIFICATIONS = `${NAMES} or ${DETAILED}`;

/** The longest pause that a dependency can ask for. */
const MAX_RETRY_AFTER_SECONDS = 3600;

/** Judges settled calls by `classify` or `errorFilter`, or by the plain rule: a value is a success, an error a failure. */
export class Judge {
  readonly #config: ResolvedBulkheadConfig;

  constructor(config: ResolvedBulkheadConfig) {
    this.#config = config;
  }

  judgeResult(result: unknown, args: readonly unknown[]): Verdict {
    return this.#classify({ result }, args) ?? SUCCESS;
  }

  judgeError(error: unknown, args: readonly unknown[]): Verdict {
    // The rejection of another bulkhead, which the function called: the dependency was not asked.
    if (isRejection(error)) return IGNORE;
    const { errorFilter } = this.#config;
    if (errorFilter === undefined) return this.#classify({ error }, args) ?? FAILURE;
    const excuses = this.#ask("errorFilter", errorFilter, () => {
      const returned: unknown = errorFilter(error, ...args);
      rejectPromise(returned);
      return Boolean(returned);
    });
    return excuses ? SUCCESS : FAILURE;
  }

  #classify(settled: Settlement, args: readonly unknown[]): Verdict | undefined {
    const { classify } = this.#config;
    if (classify === undefined) return undefined;
    return this.#ask("classify", classify, () => {
      const returned: unknown = classify(settled, ...args);
      if (returned === undefined) return undefined;
      rejectPromise(returned);
      const verdict = toVerdict(returned);
      if (verdict === undefined) {
        throw new TypeError(`it returned neither ${NAMES}, undefined nor ${DETAILED}`);
      }
      return verdict;
    });
  }

  /** A callback that throws is reported once, and the plain rule holds. */
  #ask<T>(name: string, callback: object, ask: () => T): T | undefined {
    try {
      return ask();
    } catch (thrown) {
      warnOnce(callback, `${name} of bulkhead "${this.#config.name}"`, thrown);
      return undefined;
    }
  }
}

function rejectPromise(returned: unknown): void {
  if (!(returned instanceof Promise)) return;
  returned.catch(() => {});
  throw new TypeError("it returned a promise, and a call cannot wait to be judged");
}

/** The verdict of a classification; `undefined` when it is invalid. */
export function toVerdict(classification: unknown): Verdict | undefined {
  const verdict = VERDICTS.get(classification);
  if (verdict !== undefined) return verdict;
  const { outcome, retryAfterSeconds } = Object(classification) as Record<string, unknown>;
  if (outcome !== "failure") return undefined;
  if (retryAfterSeconds === undefined) return FAILURE;
  if (typeof retryAfterSeconds !== "number" || !(retryAfterSeconds >= 0)) return undefined;
  if (retryAfterSeconds === 0) return FAILURE;
  return { outcome, retryAfterSeconds: Math.min(retryAfterSeconds, MAX_RETRY_AFTER_SECONDS) };
}
