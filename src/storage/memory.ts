import { now } from "../clock.js";
import { POSITIVE_SECONDS, readFields } from "../config.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitStorage,
  CircuitSubscriber,
} from "./storage.js";

/** Options of an {@link InMemoryStorage}. */
export interface InMemoryStorageOptions {
  /**
   * Seconds that one bulkhead may probe a half-open circuit before another takes over.
   * > 0. @default 30
   */
  probeLeaseSeconds?: number | undefined;
}

type Kept = Omit<CircuitRecord, "readAt">;

/**
 * Keeps circuits in this process: bulkheads of the same name that are given the same storage share
 * one circuit. When no bulkhead uses a circuit any more and it is closed, it is forgotten. Owns no timer and
 * no handle.
 *
 * @throws {TypeError | RangeError} from the constructor, for a wrong option
 */
export class InMemoryStorage implements CircuitStorage {
  readonly #leaseMs: number;
  /** Its clock is right when it is made, and nobody sets it: an isolation is as long as it should be. */
  readonly #epochMs = Date.now() - now();
  readonly #circuits = new Map<string, Kept>();
  readonly #subscribers = new Map<string, Set<CircuitSubscriber>>();
  /** Circuits that nobody uses any more, but that are not closed. */
  readonly #left = new Set<string>();
  /** The highest version of a circuit that was forgotten. */
  #forgottenVersion = 0;

  constructor(options: InMemoryStorageOptions = {}) {
    const rules = { probeLeaseSeconds: POSITIVE_SECONDS };
    const { probeLeaseSeconds = 30 } = readFields("options", options, rules);
    this.#leaseMs = probeLeaseSeconds * 1000;
  }

  async getState(name: string): Promise<CircuitRecord | null> {
    const circuit = this.#circuits.get(name);
    return circuit === undefined ? null : { ...circuit, readAt: this.#time() };
  }

  async load(name: string): Promise<CircuitRecord> {
    return { ...this.#loadNow(name), readAt: this.#time() };
  }

  async change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const readAt = this.#time();
    const before = this.#loadNow(name);
    if (change.version !== before.version || !isAllowed(before, change, readAt)) {
      return { changed: false, record: { ...before, readAt } };
    }
    const after = this.#apply(before, change, readAt);
    this.#circuits.set(name, after);
    const record = { ...after, readAt };
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber.onRecord(record));
    }
    if (this.#left.has(name)) this.#forget(name);
    return { changed: true, record };
  }

  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    let subscribers = this.#subscribers.get(name);
    if (subscribers === undefined) {
      subscribers = new Set();
      this.#subscribers.set(name, subscribers);
    }
    subscribers.add(subscriber);
    this.#left.delete(name);
    return () => {
      if (!subscribers.delete(subscriber) || subscribers.size > 0) return;
      this.#subscribers.delete(name);
      this.#forget(name);
    };
  }

  /** Forgets the subscribers; the circuits stay readable. */
  async close(): Promise<void> {
    this.#subscribers.clear();
  }

  #time(): Date {
    return new Date(Math.round(this.#epochMs + now()));
  }

  #loadNow(name: string): Kept {
    let circuit = this.#circuits.get(name);
    if (circuit === undefined) {
      const updatedAt = this.#time();
      // Versions start at the time of creation, so that they rise even across an emptied storage.
      const version = Math.max(updatedAt.getTime(), this.#forgottenVersion + 1);
      circuit = { ...closed(updatedAt), version };
      this.#circuits.set(name, circuit);
    }
    return circuit;
  }

  /** Nobody uses the circuit: it is kept only as long as it is not closed. */
  #forget(name: string): void {
    const circuit = this.#circuits.get(name);
    if (circuit !== undefined && circuit.state !== "CLOSED") {
      this.#left.add(name);
      return;
    }
    this.#left.delete(name);
    this.#circuits.delete(name);
    this.#forgottenVersion = Math.max(this.#forgottenVersion, circuit?.version ?? 0);
  }

  #apply(before: Kept, change: CircuitChange, updatedAt: Date): Kept {
    const version = before.version + 1;
    const { openedBy } = before;
    if (change.to === "CLOSED") return { ...closed(updatedAt), version, openedBy };
    if (change.to === "OPEN") {
      const openUntil = later(updatedAt, change.openSeconds * 1000);
      const { failureCount, owner } = change;
      const reason = change.reason === undefined ? null : [...change.reason].slice(0, 255).join("");
      const common = { ...closed(updatedAt), version, openedBy: owner, reason };
      return { ...common, state: "OPEN", failureCount, openUntil };
    }
    const lease = change.early
      ? {}
      : { probeOwner: change.owner, probeUntil: later(updatedAt, this.#leaseMs) };
    const { failureCount } = before;
    const probeSuccesses = change.successes ?? before.probeSuccesses;
    const common = { ...closed(updatedAt), version, failureCount, openedBy };
    return { ...common, state: "HALF_OPEN", probeSuccesses, ...lease };
  }
}

function closed(updatedAt: Date): Omit<Kept, "version"> {
  return {
    state: "CLOSED",
    failureCount: 0,
    openUntil: null,
    openedBy: null,
    reason: null,
    probeOwner: null,
    probeUntil: null,
    probeSuccesses: 0,
    updatedAt,
  };
}

function isAllowed(before: Kept, change: CircuitChange, time: Date): boolean {
  const ownsLease = isAhead(before.probeUntil, time) && before.probeOwner === change.owner;
  if (change.to !== "HALF_OPEN" && change.byHand) return true;
  // A Node timer can fire a millisecond early: who slept for the whole isolation finds it over.
  const isFree =
    before.state === "OPEN"
      ? !isAhead(before.openUntil, later(time, 1))
      : !isAhead(before.probeUntil, time);
  if (change.to === "CLOSED") return before.state === "HALF_OPEN" && ownsLease;
  if (change.to === "OPEN") return before.state === "CLOSED" || ownsLease || isFree;
  if (before.state === "CLOSED") return false;
  if (change.early)
    return ownsLease || isFree || (before.state === "OPEN" && before.reason === null);
  return ownsLease || isFree;
}

function isAhead(date: Date | null, time: Date): boolean {
  return date !== null && date > time;
}

function later(date: Date, ms: number): Date {
  return new Date(date.getTime() + ms);
}
