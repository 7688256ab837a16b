import { setTimeout as sleep } from "node:timers/promises";
import { Bulkhead, type BulkheadConfig } from "../../src/index.js";
import { gate, started } from "../helpers/gate.js";

/** Three permits, one place in the line. */
export const SMALL: BulkheadConfig = {
  name: "api",
  maxConcurrentCalls: 3,
  maxQueueSize: 1,
  isolationDuration: 3600,
  reclaimAfterSeconds: null,
};

/**
 * Sends a bulkhead, configured like {@link SMALL}, a call of every kind: every outcome, every reason of
 * a refusal, and what is easily counted twice or not at all.
 * @param check called at moments when calls are active, waiting and abandoned
 */
export async function everyKindOfCall(
  bulkhead: Bulkhead,
  check: (moment: string) => Promise<void>,
): Promise<void> {
  await bulkhead.execute(() => "sync");
  await bulkhead.execute(async () => "async");
  await bulkhead.execute(() => {
    throw new Error("sync fault of user Mallory");
  });
  await bulkhead.execute((token) => Promise.reject(new Error(`fault of ${token}`)), "user Mallory");
  const inner = new Bulkhead({ name: "inner", reclaimAfterSeconds: 0 });
  // A failure of the outer bulkhead, whose error is a timeout of another one.
  await bulkhead.execute(() => inner.run(() => sleep(20), { timeoutSeconds: 0.001 }));
  const closed = new Bulkhead({ name: "closed" });
  await closed.shutdown();
  await bulkhead.execute(() => closed.call(() => 1)); // is ignored
  await bulkhead.execute(() => "resets the consecutive failures");
  await check("after calls that ended");

  const busy = gate();
  const timedOut = bulkhead.run(() => busy.promise, { timeoutSeconds: 0.001 });
  await rejected(timedOut, "ERR_BULKHEAD_TIMEOUT");
  const aborter = new AbortController();
  const aborted = bulkhead.run(() => busy.promise, { signal: aborter.signal });
  await started();
  aborter.abort(new Error("the client of user Mallory is gone"));
  await rejected(aborted);
  const active = bulkhead.execute(() => busy.promise);
  await rejected(
    bulkhead.run(() => 1, { timeoutSeconds: 0.001 }),
    "ERR_BULKHEAD_TIMEOUT",
  );
  await rejected(bulkhead.run(() => 1, { signal: aborter.signal }));
  const waiting = bulkhead.execute(() => "waited");
  await rejected(
    bulkhead.execute(() => 1),
    "ERR_BULKHEAD_FULL",
  );
  await check("while calls are active, abandoned and waiting");

  busy.open();
  await Promise.all([active, waiting]);
  await check("after abandoned functions have settled");

  bulkhead.isolate("incident Mallory");
  await rejected(
    bulkhead.execute(() => 1),
    "ERR_BULKHEAD_ISOLATION",
  );
  await check("while isolated by hand");
  bulkhead.release();
  await holdUpAndRefuse(bulkhead, () => bulkhead.breaker?.open());
  await rejected(
    bulkhead.execute(() => 1),
    "ERR_BULKHEAD_CIRCUIT_OPEN",
  );
  await check("while the circuit is open");

  bulkhead.breaker?.close();
  await holdUpAndRefuse(bulkhead, () => void bulkhead.shutdown());
  await rejected(
    bulkhead.execute(() => 1),
    "ERR_BULKHEAD_SHUTDOWN",
  );
  await check("after the shutdown");
}

/** Has a call wait, and refuses it by what `refuse` does. */
async function holdUpAndRefuse(bulkhead: Bulkhead, refuse: () => void): Promise<void> {
  const busy = gate();
  const running = Array.from({ length: 3 }, () => bulkhead.execute(() => busy.promise));
  const waiting = bulkhead.execute(() => 1);
  refuse();
  await rejected(waiting);
  busy.open();
  await Promise.all(running);
}

async function rejected(call: Promise<unknown>, code?: string): Promise<void> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Error)) throw new Error("the call was not rejected");
  if (code === undefined) return;
  if (Reflect.get(error, "code") !== code) throw new Error(`expected ${code}`, { cause: error });
}
