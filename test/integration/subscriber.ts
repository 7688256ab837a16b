import type { CircuitRecord, CircuitStorage } from "../../src/index.js";
import { eventually } from "./eventually.js";

/** A subscriber that asks nothing itself: what it receives, and what of that is newer than `version`. */
export function subscribe(storage: CircuitStorage, name: string, version = 0) {
  const told: CircuitRecord[] = [];
  const heard: CircuitRecord[] = [];
  const troubles: unknown[] = [];
  let newest = version;
  const unsubscribe = storage.subscribe(name, {
    onRecord: (record) => {
      told.push(record);
      if (record.version <= newest) return;
      newest = record.version;
      heard.push(record);
    },
    onError: (error) => troubles.push(error),
  });
  return { told, heard, troubles, unsubscribe, version };
}

/** A subscriber that receives changes already. */
export async function subscribed(storage: CircuitStorage, name: string) {
  const { version } = await storage.load(name);
  const subscription = subscribe(storage, name, version);
  // What the storage reads when it has begun to listen.
  await eventually(() => subscription.told.length > 0);
  return subscription;
}
