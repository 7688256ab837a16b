import { AsyncResource } from "node:async_hooks";

/**
 * The `AsyncLocalStorage` context of the import of this library: usually none. What belongs to no call
 * runs in it, or else a timer, a lane or a listener would see the context of whichever request came first,
 * and keep that request's store alive.
 */
const NO_REQUEST: AsyncResource = /* @__PURE__ */ new AsyncResource("Bulkhead", {
  requireManualDestroy: true,
});

/** Runs `work` in the context of no request. */
export function outsideRequests<T>(work: () => T): T {
  return NO_REQUEST.runInAsyncScope(work);
}
