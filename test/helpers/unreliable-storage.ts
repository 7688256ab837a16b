import {
  type CircuitChange,
  type CircuitStorage,
  type CircuitSubscriber,
  InMemoryStorage,
} from "../../src/index.js";

type Mood = "well" | "down" | "hanging";

/** Stands between a bulkhead and a storage: counts what is asked, and can be down, hang or be deaf. */
export class UnreliableStorage implements CircuitStorage {
  readonly queryTimeoutSeconds = 1;
  readonly asked: string[] = [];
  mood: Mood = "well";
  /** Whether changes reach subscribers. */
  deaf = false;
  readonly #inner: CircuitStorage;
  readonly #subscribers = new Set<CircuitSubscriber>();

  constructor(inner: CircuitStorage = new InMemoryStorage()) {
    this.#inner = inner;
  }

  getState(name: string) {
    return this.#ask("getState", () => this.#inner.getState(name));
  }

  load(name: string) {
    return this.#ask("load", () => this.#inner.load(name));
  }

  change(name: string, change: CircuitChange) {
    return this.#ask(`change to ${change.to}`, () => this.#inner.change(name, change));
  }

  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    this.#subscribers.add(subscriber);
    const unsubscribe = this.#inner.subscribe(name, {
      onRecord: (record) => {
        if (!this.deaf) subscriber.onRecord(record);
      },
      onError: (error) => subscriber.onError(error),
    });
    return () => {
      this.#subscribers.delete(subscriber);
      unsubscribe();
    };
  }

  get subscriberCount(): number {
    return this.#subscribers.size;
  }

  /** What a storage does when its connection is lost. */
  breakSubscriptions(): void {
    for (const subscriber of this.#subscribers) subscriber.onError(new Error("connection lost"));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  #ask<T>(question: string, answer: () => Promise<T>): Promise<T> {
    this.asked.push(question);
    if (this.mood === "down") return Promise.reject(new Error("storage down"));
    if (this.mood === "hanging") return new Promise(() => {});
    return answer();
  }
}
