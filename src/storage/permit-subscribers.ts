import type { PermitNotice } from "./permit-lease.js";

type OnNotice = (notice: PermitNotice) => void;

/** The subscribers of the notices of permits, by name. */
export class PermitSubscribers {
  readonly #subscribers = new Map<string, Set<OnNotice>>();

  get isEmpty(): boolean {
    return this.#subscribers.size === 0;
  }

  /** Returns what removes it, which returns whether it was still there. */
  add(name: string, onNotice: OnNotice): () => boolean {
    const subscribers = this.#subscribers.get(name) ?? new Set();
    this.#subscribers.set(name, subscribers);
    // A function of its own, so that one that subscribes twice is called twice.
    const subscriber: OnNotice = (notice) => onNotice(notice);
    subscribers.add(subscriber);
    return () => {
      const wasThere = subscribers.delete(subscriber);
      if (subscribers.size === 0 && this.#subscribers.get(name) === subscribers) {
        this.#subscribers.delete(name);
      }
      return wasThere;
    };
  }

  clear(): void {
    this.#subscribers.clear();
  }

  emit(name: string, notice: PermitNotice): void {
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber(notice));
    }
  }
}
