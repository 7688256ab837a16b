import { now } from "../common/clock.js";
import { POSITIVE_SECONDS, readFields } from "../common/validation.js";
import { applyChange, applySettings, closedRecord } from "./apply-change.js";
import type {
  CircuitChange,
  CircuitChangeResult,
  CircuitRecord,
  CircuitSettingsChange,
  CircuitStorage,
  CircuitSubscriber,
} from "./circuit-storage.js";
import { MemoryPermits } from "./memory-permits.js";
import type { PermitGrant, PermitNotice, PermitRequest } from "./permit-lease.js";
import { readPermitTimes } from "./permit-times.js";

/** Options of an {@link InMemoryStorage}. */
export interface InMemoryStorageOptions {
  /**
   * Seconds that one bulkhead may probe a half-open circuit before another takes over.
   * > 0. @default 30
   */
  probeLeaseSeconds?: number | undefined;
  /** Seconds that a bulkhead may start calls under a lease of the fleet's permits. > 0. @default 15 */
  permitLeaseSeconds?: number | undefined;
  /** Seconds between two requests for permits, less than `permitLeaseSeconds`. > 0. @default 5 */
  permitRenewSeconds?: number | undefined;
}

/**
 * Keeps circuits in this process: bulkheads of the same name with the same storage share one circuit. A closed
 * circuit without settings that no bulkhead uses any more is forgotten. Owns no timer and no handle.
 *
 * @throws {TypeError | RangeError} from the constructor, for an invalid option
 */
export class InMemoryStorage implements CircuitStorage {
  /** Seconds of the probe lease. */
  readonly probeLeaseSeconds: number;
  /** Seconds of a lease of permits. */
  readonly permitLeaseSeconds: number;
  /** Seconds between two requests for permits. */
  readonly permitRenewSeconds: number;
  /** The system's clock at the start, and monotonic from there: setting the clock changes no isolation. */
  readonly #epochMs = Date.now() - now();
  readonly #circuits = new Map<string, CircuitRecord>();
  readonly #subscribers = new Map<string, Set<CircuitSubscriber>>();
  /** Circuits that no bulkhead uses any more, but that are not closed, or have settings. */
  readonly #unused = new Set<string>();
  readonly #permits = new MemoryPermits();
  /** The highest version of a circuit that was forgotten. */
  #forgottenVersion = 0;

  constructor(options: InMemoryStorageOptions = {}) {
    const { probeLeaseSeconds = 30, ...times } = readFields("options", options, {
      probeLeaseSeconds: POSITIVE_SECONDS,
      permitLeaseSeconds: POSITIVE_SECONDS,
      permitRenewSeconds: POSITIVE_SECONDS,
    });
    const { permitLeaseSeconds, permitRenewSeconds } = readPermitTimes(times);
    this.probeLeaseSeconds = probeLeaseSeconds;
    this.permitLeaseSeconds = permitLeaseSeconds;
    this.permitRenewSeconds = permitRenewSeconds;
  }

  async getState(name: string): Promise<CircuitRecord | null> {
    const circuit = this.#circuits.get(name);
    return circuit === undefined ? null : { ...circuit, readAt: this.#time() };
  }

  async load(name: string): Promise<CircuitRecord> {
    return { ...this.#loadNow(name), readAt: this.#time() };
  }

  async change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const result = applyChange(this.#loadNow(name), change, this.#time(), {
      leaseSeconds: this.probeLeaseSeconds,
    });
    return this.#write(name, result);
  }

  /** @throws {TypeError} for malformed settings */
  async configure(name: string, change: CircuitSettingsChange): Promise<CircuitChangeResult> {
    return this.#write(name, applySettings(this.#loadNow(name), change, this.#time()));
  }

  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    let subscribers = this.#subscribers.get(name);
    if (subscribers === undefined) {
      subscribers = new Set();
      this.#subscribers.set(name, subscribers);
    }
    subscribers.add(subscriber);
    this.#unused.delete(name);
    return () => {
      if (!subscribers.delete(subscriber) || subscribers.size > 0) return;
      this.#subscribers.delete(name);
      this.#forget(name);
    };
  }

  /** Bulkheads with the same storage share the limit. Permits of a name that no bulkhead holds are forgotten. */
  async lease(requests: readonly PermitRequest[]): Promise<readonly PermitGrant[]> {
    return this.#permits.lease(requests, this.#time().getTime());
  }

  subscribeToPermits(name: string, onNotice: (notice: PermitNotice) => void): () => void {
    return this.#permits.subscribers.add(name, onNotice);
  }

  /** Forgets the subscribers; the circuits stay readable. */
  async close(): Promise<void> {
    this.#subscribers.clear();
    this.#permits.subscribers.clear();
  }

  #time(): Date {
    return new Date(Math.round(this.#epochMs + now()));
  }

  #write(name: string, result: CircuitChangeResult): CircuitChangeResult {
    if (!result.changed) return result;
    this.#circuits.set(name, { ...result.record });
    for (const subscriber of this.#subscribers.get(name) ?? []) {
      queueMicrotask(() => subscriber.onRecord(result.record));
    }
    if (this.#unused.has(name)) this.#forget(name);
    return result;
  }

  #loadNow(name: string): CircuitRecord {
    let circuit = this.#circuits.get(name);
    if (circuit === undefined) {
      const time = this.#time();
      // Versions start at the time of creation, so that they rise even across an emptied storage.
      const version = Math.max(time.getTime(), this.#forgottenVersion + 1);
      circuit = closedRecord(version, time);
      this.#circuits.set(name, circuit);
    }
    return circuit;
  }

  /** Forgets a circuit without subscribers, unless it is not closed, or has settings: these go on. */
  #forget(name: string): void {
    const circuit = this.#circuits.get(name);
    if (circuit !== undefined && (circuit.state !== "CLOSED" || circuit.settings)) {
      this.#unused.add(name);
      return;
    }
    this.#unused.delete(name);
    this.#circuits.delete(name);
    this.#forgottenVersion = Math.max(this.#forgottenVersion, circuit?.version ?? 0);
  }
}
