import { onTestFinished } from "vitest";
import { type Bulkhead, BulkheadManager } from "../../src/index.js";
import { type GuardDispatcherOptions, guardDispatcher } from "../../src/undici/index.js";
import { FakeBase, FakeCaller, type Form } from "./fake-base.js";

export const ORIGIN = "https://api.example.com";

/** Each pair of a caller's form and a base's. */
export const PAIRS: ReadonlyArray<[caller: Form, base: Form]> = [
  ["old", "old"],
  ["new", "new"],
  ["old", "new"],
  ["new", "old"],
];

/** A guard over a {@link FakeBase}, with one bulkhead. */
export function fakeGuard(base: Form, options: Omit<GuardDispatcherOptions, "dispatcher"> = {}) {
  const manager = options.manager ?? new BulkheadManager();
  const fake = new FakeBase(base);
  const dispatcher = guardDispatcher({ ...options, manager, dispatcher: fake });
  onTestFinished(() => manager.shutdown());
  return {
    manager,
    base: fake,
    dispatcher,
    get bulkhead(): Bulkhead {
      const [bulkhead] = manager;
      if (bulkhead === undefined) throw new Error("There is no bulkhead yet");
      return bulkhead;
    },
    /** Dispatches a request; its caller is told when the promises that are ready have had their turn. */
    async dispatch(form: Form, request: object = {}): Promise<FakeCaller> {
      const caller = new FakeCaller(form);
      dispatcher.dispatch({ origin: ORIGIN, path: "/", method: "GET", ...request }, caller.handler);
      await turn();
      return caller;
    },
  };
}

/** Lets promises, and everything else that is due, have their turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The counts of a bulkhead that are not 0. */
export function ledger(bulkhead: Bulkhead): Record<string, number> {
  const stats = bulkhead.getStats();
  const { activeTasks, queuedTasks, abandonedTasks, totalExecutions } = stats;
  const { successfulExecutions, failedExecutions, ignoredExecutions } = stats;
  const { timedOutExecutions, abortedExecutions, rejectedExecutions } = stats;
  const counts = {
    active: activeTasks,
    queued: queuedTasks,
    abandoned: abandonedTasks,
    total: totalExecutions,
    successful: successfulExecutions,
    failed: failedExecutions,
    ignored: ignoredExecutions,
    timedOut: timedOutExecutions,
    aborted: abortedExecutions,
    rejected: rejectedExecutions,
  };
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0));
}
