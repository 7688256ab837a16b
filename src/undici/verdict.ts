import type { Classification } from "../classification.js";
import { describeThrown, oneLine } from "../common/describe.js";
import { parseRetryAfter } from "../common/retry-after.js";
import type { Headers } from "./headers.js";
import type { GuardSettings } from "./settings.js";

/** Judges the head of an answer. @returns `undefined` when it is not bad */
export function judgeHead(
  settings: GuardSettings,
  statusCode: number,
  headers: Headers,
): Classification | undefined {
  const retryAfterSeconds = readRetryAfter(settings, statusCode, headers);
  if (retryAfterSeconds !== undefined) return { outcome: "failure", retryAfterSeconds };
  return isFailure(settings, statusCode, headers) ? "failure" : undefined;
}

function readRetryAfter(
  { retryAfterMaxSeconds }: GuardSettings,
  statusCode: number,
  headers: Headers,
): number | undefined {
  if ((statusCode !== 429 && statusCode !== 503) || retryAfterMaxSeconds === 0) return undefined;
  const seconds = parseRetryAfter(headers.byName["retry-after"], Date.now());
  return seconds && Math.min(seconds, retryAfterMaxSeconds);
}

function isFailure(settings: GuardSettings, statusCode: number, headers: Headers): boolean {
  if (settings.isFailure === undefined) return isServerError(statusCode);
  try {
    const returned: unknown = settings.isFailure({ statusCode, headers: headers.byName });
    if (!(returned instanceof Promise)) return Boolean(returned);
    returned.catch(() => {});
    throw new TypeError("it returned a promise, and a response cannot wait to be judged");
  } catch (thrown) {
    warnOnce(settings, thrown);
    return isServerError(statusCode);
  }
}

/** The plain rule. */
function isServerError(statusCode: number): boolean {
  return statusCode >= 500;
}

const warned = new WeakSet<GuardSettings>();

function warnOnce(settings: GuardSettings, thrown: unknown): void {
  if (warned.has(settings)) return;
  warned.add(settings);
  process.emitWarning(`isFailure of a guard threw: ${describeThrown(thrown)}`, "BulkheadWarning");
}

/** Whether who follows redirects follows this answer, and leaves its body unread. */
export function isRedirect(statusCode: number, headers: Headers): boolean {
  return REDIRECTS.has(statusCode) && headers.byName["location"] !== undefined;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Whether an error of a base is the caller's own: the server was not asked, or has no part in it. */
export function isOwnFault(error: unknown): boolean {
  return typeof error === "object" && error !== null && OWN_FAULTS.has(Reflect.get(error, "code"));
}

const OWN_FAULTS: ReadonlySet<unknown> = new Set([
  "UND_ERR_ABORTED",
  "UND_ERR_CLOSED",
  "UND_ERR_DESTROYED",
  "UND_ERR_INVALID_ARG",
  "UND_ERR_MAX_ORIGINS_REACHED",
  "UND_ERR_NOT_SUPPORTED",
  "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH",
]);

/** What led to a circuit's failure when nothing was thrown. */
export class ResponseStatusError extends Error {
  static {
    ResponseStatusError.prototype.name = "ResponseStatusError";
  }

  readonly statusCode: number;

  constructor(bulkheadName: string, statusCode: number) {
    super(`${oneLine(bulkheadName)} responded with status ${statusCode}`);
    this.statusCode = statusCode;
  }
}
