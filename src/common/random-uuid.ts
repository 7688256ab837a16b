/** A new random UUID. By the global object: to import `node:crypto` takes as long as half of the library. */
export function randomUUID(): string {
  return crypto.randomUUID();
}
