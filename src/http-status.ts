import type { Classification, Settlement } from "./classification.js";
import { parseRetryAfter } from "./common/retry-after.js";

/**
 * A ready-made `classify` for HTTP clients: a status of 500 or more, or 429, is a failure; another one of 400 or more
 * is a success of the dependency, which has answered. `Retry-After` of a failure (seconds or a date) opens the
 * circuit for that long, an hour at most. Without a status the plain rule holds.
 *
 * Reads `status` or `statusCode` of a result (fetch, undici) or of an error, and those of an error's `response`
 * (axios, got).
 * @example new Bulkhead({ name: "payments", classify: httpStatus() })
 */
export function httpStatus(): (settled: Settlement) => Classification | undefined {
  return (settled) => {
    const answer = answerOf(settled);
    const status = statusOf(answer);
    if (status === undefined || status < 400) return undefined;
    if (status < 500 && status !== 429) return "success";
    const retryAfterSeconds = parseRetryAfter(headerOf(answer, "retry-after"), Date.now());
    return retryAfterSeconds === undefined ? "failure" : { outcome: "failure", retryAfterSeconds };
  };
}

/** The HTTP status of a response, or of an error that has one. */
export function statusOf(value: unknown): number | undefined {
  for (const field of ["status", "statusCode"]) {
    const status: unknown = read(value, field);
    if (typeof status === "number" && Number.isInteger(status) && status >= 100 && status <= 599) {
      return status;
    }
  }
  return undefined;
}

function answerOf(settled: Settlement): unknown {
  if (!("error" in settled)) return settled.result;
  const response = read(settled.error, "response");
  return statusOf(response) === undefined ? settled.error : response;
}

/** `undefined` also when the headers cannot be read: the status is a verdict without them. */
function headerOf(answer: unknown, name: string): unknown {
  const headers = read(answer, "headers");
  const get = read(headers, "get");
  try {
    if (typeof get === "function") return Reflect.apply(get, headers, [name]);
    const key = Object.keys(Object(headers)).find((key) => key.toLowerCase() === name);
    return key === undefined ? undefined : read(headers, key);
  } catch {
    return undefined;
  }
}

/** A field of any value. Never throws: a getter or a Proxy of the user's can. */
function read(value: unknown, field: string): unknown {
  try {
    return Reflect.get(Object(value), field);
  } catch {
    return undefined;
  }
}
