import type { CircuitRecord, CircuitSubscriber } from "../circuit-storage.js";
import type { PostgresStorageError } from "./errors.js";

/** The subscribers of a storage's circuits, and which errors they have received. */
export class Subscriptions {
  readonly #subscribers = new Map<string, Set<CircuitSubscriber>>();
  /** The newest version that was seen of each circuit with subscribers. */
  readonly #newest = new Map<string, number>();
  /** Circuits that could not be read at the last try; their subscribers have received the error. */
  readonly #unreadable = new Set<string>();
  /** Why no changes arrive at the moment; every subscriber has received it. */
  #interruption: PostgresStorageError | undefined = undefined;
  /** Why no notices arrive and the circuits are polled instead; every subscriber has received it. */
  #undelivered: PostgresStorageError | undefined = undefined;

  /** The circuits that have subscribers. */
  get names(): string[] {
    return [...this.#subscribers.keys()];
  }

  get isEmpty(): boolean {
    return this.#subscribers.size === 0;
  }

  has(name: string): boolean {
    return this.#subscribers.has(name);
  }

  /** A copy of the newest version that was seen of each circuit. */
  newestVersions(): ReadonlyMap<string, number> {
    return new Map(this.#newest);
  }

  /** Adds a subscriber, which receives the current trouble, if any. @returns what removes it */
  add(name: string, subscriber: CircuitSubscriber): () => void {
    const subscribers = this.#subscribers.get(name) ?? new Set();
    this.#subscribers.set(name, subscribers.add(subscriber));
    const trouble = this.#interruption ?? this.#undelivered;
    if (trouble !== undefined) queueMicrotask(() => subscriber.onError(trouble));
    return () => {
      if (!subscribers.delete(subscriber) || subscribers.size > 0) return;
      if (this.#subscribers.get(name) !== subscribers) return;
      this.#subscribers.delete(name);
      this.#newest.delete(name);
      this.#unreadable.delete(name);
    };
  }

  clear(): void {
    this.#subscribers.clear();
  }

  /** Remembers the record's version. @returns the record */
  see(name: string, record: CircuitRecord): CircuitRecord {
    const newest = this.#newest.get(name) ?? 0;
    if (this.#subscribers.has(name)) this.#newest.set(name, Math.max(newest, record.version));
    return record;
  }

  emit(name: string, record: CircuitRecord): void {
    this.#unreadable.delete(name);
    this.see(name, record);
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber.onRecord(record));
    }
  }

  /** One circuit cannot be read. Emitted once, until it can be read again. */
  emitUnreadable(name: string, error: Error): void {
    if (this.#unreadable.has(name)) return;
    this.#unreadable.add(name);
    this.#emitError(name, error);
  }

  /** No changes arrive. Emitted once, until {@link endInterruption}. */
  interrupt(error: PostgresStorageError): void {
    if (this.#interruption !== undefined) return;
    this.#interruption = error;
    for (const name of this.#subscribers.keys()) this.#emitError(name, error);
  }

  /** Changes arrive again, or are polled. */
  endInterruption(): void {
    this.#interruption = undefined;
  }

  /** No notices arrive, and reads replace them. Emitted once, until {@link endUndelivered}. */
  startUndelivered(error: PostgresStorageError): void {
    if (this.#undelivered !== undefined) return;
    this.#undelivered = error;
    for (const name of this.#subscribers.keys()) this.#emitError(name, error);
  }

  endUndelivered(): void {
    this.#undelivered = undefined;
  }

  #emitError(name: string, error: Error): void {
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber.onError(error));
    }
  }
}
