import { setTimeout as sleep } from "node:timers/promises";

/** Waits until `look` gives something true, and gives that. Fails after `seconds`. */
export async function eventually<T>(
  look: () => T | Promise<T>,
  { seconds = 20, what = look.toString() } = {},
): Promise<NonNullable<T>> {
  const end = performance.now() + seconds * 1000;
  while (true) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(5);
  }
}
