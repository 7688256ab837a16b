// How the services of the demo call a dependency, and answer for it.
import { BulkheadCircuitOpenError, BulkheadFullError, BulkheadTimeoutError } from "bulkman";

/** One call to a dependency. An answer that is an error is thrown, as bulkheads and callers need it. */
export async function askDependency(name, url, options) {
  const response = await fetch(url, options);
  const body = await response.text();
  if (!response.ok) throw new Error(`${name} answered with status ${response.status}`);
  return body;
}

/** The result of a call through a bulkhead, or its error. */
export async function askThrough(bulkhead, task) {
  const outcome = await bulkhead.run(task);
  if (!outcome.success) throw outcome.error;
  return outcome.result;
}

/**
 * Answers a request with what a call gives.
 * @param {import("node:http").ServerResponse} response
 * @param {() => Promise<string>} call
 */
export async function answerWith(response, call) {
  try {
    response.end(await call());
  } catch (thrown) {
    // fetch throws a TypeError with the reason as its cause.
    const error = thrown instanceof TypeError && thrown.cause ? thrown.cause : thrown;
    if (error instanceof BulkheadCircuitOpenError) {
      response.setHeader("Retry-After", Math.ceil(error.retryAfterSeconds));
    }
    response.writeHead(statusOf(error)).end(`${error.message}\n`);
  }
}

function statusOf(error) {
  if (error instanceof BulkheadCircuitOpenError || error instanceof BulkheadFullError) return 503;
  if (error instanceof BulkheadTimeoutError || error.name === "TimeoutError") return 504;
  return 502;
}
