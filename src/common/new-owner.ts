import { randomUUID } from "./random-uuid.js";

/** Names a bulkhead in a storage: the host and process for operators, and an id that no other bulkhead has. */
export function newOwner(host: string): string {
  // A record holds 255 characters, and a host name can have as many.
  return `${host.slice(0, 150)} ${process.pid} ${randomUUID()}`;
}
