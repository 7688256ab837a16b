import type { Bulkhead } from "../../src/index.js";

/** Fails `count` calls of the bulkhead, one after the other. */
export async function failCalls(bulkhead: Bulkhead, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await bulkhead.execute(() => Promise.reject(new Error("down")));
  }
}

/** Lets `count` calls of the bulkhead succeed, one after the other. */
export async function passCalls(bulkhead: Bulkhead, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await bulkhead.execute(async () => "up");
}
