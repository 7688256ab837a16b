// What the examples of Fastify and Express have in common: a service behind a bulkhead, and what to
// answer when the bulkhead has no answer. API_URL says where the service is.
import { BulkheadManager } from "bulkman";

export const bulkheads = new BulkheadManager();
const users = await bulkheads.createBulkhead({
  name: "users",
  maxConcurrentCalls: 2,
  maxQueueSize: 2,
  timeoutSeconds: 2,
  failureThreshold: 3,
});

/** For a route that is too expensive to be served twice at once. */
export const reports = await bulkheads.createBulkhead({
  name: "reports",
  maxConcurrentCalls: 1,
  maxQueueSize: 0,
  circuitBreakerEnabled: false, // it limits our own work, which is no dependency
});

export async function getReport() {
  const { name } = await getUser("1");
  return { best: name };
}

export async function getUser(id) {
  const outcome = await users.run(async ({ signal }) => {
    const url = new URL(`/users/${encodeURIComponent(id)}`, process.env.API_URL);
    const response = await fetch(url, { signal });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`status ${response.status}`);
    }
    return response.json();
  });
  if (!outcome.success) throw outcome.error;
  return outcome.result;
}

const STATUS_OF = {
  ERR_BULKHEAD_CIRCUIT_OPEN: 503,
  ERR_BULKHEAD_FULL: 503,
  ERR_BULKHEAD_ISOLATION: 503,
  ERR_BULKHEAD_SHUTDOWN: 503,
  ERR_BULKHEAD_TIMEOUT: 504,
  ERR_BULKHEAD: 502, // the service answered with an error, or not at all
};

/** `undefined` for an error that is not of a bulkhead. */
export function toAnswer(error) {
  const status = STATUS_OF[error?.code];
  if (status === undefined) return undefined;
  // An open circuit says when it will try again, a full bulkhead estimates it. For the others, a second is a guess.
  const seconds = Math.max(1, Math.ceil(error.retryAfterSeconds ?? 1));
  return {
    status,
    headers: status === 502 ? {} : { "Retry-After": String(seconds) },
    body: { error: error.code },
  };
}

/** For monitors. A load balancer that asked would take every instance out, all for one dependency. */
export function getHealth() {
  const health = bulkheads.getHealthStatus();
  return { status: Object.values(health).every(Boolean) ? 200 : 503, body: health };
}
