import { randomUUID } from "node:crypto";
import type { Circuit, CircuitTransition } from "./circuit.js";
import type { ResolvedBulkheadConfig } from "./config.js";
import type { CircuitChange, CircuitRecord, CircuitStorage } from "./storage/storage.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
/** Each write can be refused because of another process; a storage that goes on refusing is at fault. */
const MAX_WRITES = 10;

export interface CircuitSyncHooks {
  /** A trouble with the storage began. Not told again until the storage has answered in between. */
  readonly onError: (error: unknown) => void;
  /** Calls that waited for the storage's answer may start now, if the circuit lets them. */
  readonly onAnswer: () => void;
}

/**
 * Keeps one circuit and its record in a storage in step. The circuit moves at once, by itself; what it
 * did is offered to the storage as a guarded change, and whoever was first there is followed. The
 * storage is asked one thing at a time, never waited for longer than its time limit, and left alone
 * while nothing changes.
 */
export class CircuitSync {
  readonly #config: ResolvedBulkheadConfig;
  readonly #storage: CircuitStorage;
  readonly #circuit: Circuit;
  readonly #hooks: CircuitSyncHooks;
  readonly #owner = randomUUID();
  readonly #unsubscribe: () => void;
  /** The newest record seen. */
  #known: CircuitRecord | undefined = undefined;
  /** A newer record that was heard of while a question was under way. */
  #heard: CircuitRecord | undefined = undefined;
  /** The change of this process that the storage has not answered yet. */
  #unwritten: CircuitTransition | undefined = undefined;
  #work: Promise<void> | undefined = undefined;
  #troubled = false;
  #closed = false;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined = undefined;
  #isLoaded = false;
  /** Settles when the circuit is loaded, or the storage's time limit has passed. Never rejects. */
  readonly ready: Promise<void>;

  constructor(
    config: ResolvedBulkheadConfig,
    storage: CircuitStorage,
    circuit: Circuit,
    hooks: CircuitSyncHooks,
  ) {
    this.#config = config;
    this.#storage = storage;
    this.#circuit = circuit;
    this.#hooks = hooks;
    this.#unsubscribe = this.#subscribe();
    this.ready = this.#ask(() => this.#load());
  }

  /** Whether calls may start: the circuit was loaded, or it took too long. */
  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** The circuit has changed. What this process decided is offered to the storage. */
  transition(transition: CircuitTransition): void {
    if (transition.origin === "storage") this.#unwritten = undefined;
    if (transition.origin === "storage" || transition.origin === "clock") return;
    this.#unwritten = transition;
    this.#startWriting();
  }

  /** Asks for the probe lease. The circuit is told when there is an answer. */
  claim(): void {
    this.#startWriting();
  }

  /** Stops hearing and asking. A lease that this process holds is given back. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    try {
      this.#unsubscribe();
    } catch {
      // A storage at fault must not keep a bulkhead from being shut down.
    }
    await this.#work;
    const known = this.#known;
    if (known?.state !== "HALF_OPEN" || known.probeOwner !== this.#owner) return;
    const { version, failureCount } = known;
    const change = {
      to: "OPEN",
      version,
      owner: this.#owner,
      openSeconds: 0,
      failureCount,
    } as const;
    await this.#limited(() => this.#storage.change(this.#config.name, change)).catch(() => {
      // The lease runs out by itself.
    });
  }

  #subscribe(): () => void {
    try {
      return this.#storage.subscribe(this.#config.name, {
        onRecord: (record) => this.#hear(record),
        onError: (error) => this.#trouble(error),
      });
    } catch (error) {
      // Not at once: whoever makes a bulkhead can listen to it only after that.
      queueMicrotask(() => this.#trouble(error));
      return () => {};
    }
  }

  #hear(record: CircuitRecord): void {
    if (this.#closed) return;
    this.#answered();
    if (this.#work !== undefined) this.#heard = newer(this.#heard, record);
    else this.#follow(record);
    if (this.#unwritten !== undefined) this.#startWriting();
  }

  // Asking

  #startWriting(): void {
    if (this.#closed || this.#work !== undefined) return;
    void this.#ask(() => this.#write());
  }

  /** Asks the storage, then whatever else has come up meanwhile, and says that there is an answer. */
  #ask(question: () => Promise<void>): Promise<void> {
    clearTimeout(this.#retryTimer);
    const work = this.#carryOut(question).finally(() => {
      this.#isLoaded = true;
      this.#work = undefined;
      this.#hooks.onAnswer();
    });
    this.#work = work;
    return work;
  }

  async #carryOut(question: () => Promise<void>): Promise<void> {
    try {
      await question();
      for (let writes = 0; this.#hasMore(); writes++) {
        if (writes === MAX_WRITES) throw new Error("The circuit storage does not take a change");
        await this.#write();
      }
    } catch (error) {
      if (this.#circuit.isClaiming) this.#circuit.claimed(Number.POSITIVE_INFINITY);
      this.#trouble(error);
      this.#retryLater();
    }
  }

  #hasMore(): boolean {
    const heard = this.#heard;
    this.#heard = undefined;
    if (heard !== undefined) this.#follow(heard);
    return !this.#closed && (this.#unwritten !== undefined || this.#circuit.isClaiming);
  }

  async #load(): Promise<void> {
    const record = await this.#limited(() => this.#storage.load(this.#config.name));
    this.#answered();
    this.#follow(record);
  }

  /** Offers the newest change of this process, or asks for the lease. */
  async #write(): Promise<void> {
    if (this.#known === undefined) await this.#load();
    const known = this.#known;
    const offered = this.#unwritten;
    const change = known === undefined ? undefined : this.#change(known, offered);
    if (change === undefined) return;
    const { changed, record } = await this.#limited(() =>
      this.#storage.change(this.#config.name, change),
    );
    this.#answered();
    if (!changed) {
      this.#adopt(record);
      return;
    }
    if (this.#unwritten === offered) this.#unwritten = undefined;
    this.#won(record);
  }

  #change(known: CircuitRecord, offered: CircuitTransition | undefined): CircuitChange | undefined {
    const common = { version: known.version, owner: this.#owner };
    if (offered === undefined) {
      return this.#circuit.isClaiming ? { to: "HALF_OPEN", ...common } : undefined;
    }
    const byHand = offered.origin === "hand";
    if (offered.to === "HALF_OPEN") return { to: "HALF_OPEN", early: true, ...common };
    if (offered.to === "CLOSED") return { to: "CLOSED", byHand, ...common };
    const openSeconds = this.#circuit.retryAfterSeconds;
    return { to: "OPEN", byHand, openSeconds, failureCount: offered.failures, ...common };
  }

  // Following

  #won(record: CircuitRecord): void {
    this.#known = record;
    if (record.state === "HALF_OPEN") this.#circuit.claimed(remainingMs(record.probeUntil, record));
    else if (record.state === "OPEN")
      this.#circuit.isolatedFor(remainingMs(record.openUntil, record));
  }

  /** Takes over a record, unless it is old or this process has something newer to say. */
  #follow(record: CircuitRecord): void {
    const known = this.#known;
    if (known !== undefined && record.version <= known.version) return;
    if (known === undefined && record.state === "CLOSED") this.#known = record;
    else this.#adopt(record);
  }

  #adopt(record: CircuitRecord): void {
    this.#known = record;
    const leaseMs = remainingMs(record.probeUntil, record);
    if (record.probeOwner === this.#owner && leaseMs > 0) {
      // What this process did under its lease is still to be written, whatever delayed that.
      this.#circuit.claimed(leaseMs);
      if (this.#unwritten !== undefined || this.#circuit.circuitStatus !== "CLOSED") return;
    }
    this.#unwritten = undefined;
    if (record.state === "CLOSED") {
      this.#circuit.closedElsewhere("closed by another process");
    } else if (record.state === "OPEN") {
      const isolationMs = remainingMs(record.openUntil, record);
      this.#circuit.openedElsewhere(isolationMs, "opened by another process");
    } else {
      this.#circuit.probedElsewhere(leaseMs, "another process probes");
    }
  }

  // Trouble

  #answered(): void {
    this.#troubled = false;
    this.#retryMs = FIRST_RETRY_MS;
  }

  #trouble(error: unknown): void {
    if (this.#troubled || this.#closed) return;
    this.#troubled = true;
    this.#hooks.onError(error);
  }

  /** Reads the circuit again after a while, so that both sides catch up; full jitter, as AWS advises. */
  #retryLater(): void {
    if (this.#closed) return;
    const delay = this.#retryMs * (0.5 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    this.#retryTimer = setTimeout(() => void this.#ask(() => this.#load()), delay);
    this.#retryTimer.unref();
  }

  /** The answer, or a rejection when it takes longer than the storage's limit. */
  async #limited<T>(ask: () => Promise<T>): Promise<T> {
    const seconds = this.#storage.queryTimeoutSeconds ?? 1;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`The circuit storage did not answer within ${seconds} s`);
      timer = setTimeout(() => reject(error), seconds * 1000);
    });
    try {
      return await Promise.race([ask(), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function newer(one: CircuitRecord | undefined, other: CircuitRecord): CircuitRecord {
  return one !== undefined && one.version > other.version ? one : other;
}

/** How long after the record was read a time in it comes, by the storage's clock alone. */
function remainingMs(date: Date | null, record: CircuitRecord): number {
  return date === null ? 0 : Math.max(0, date.getTime() - record.readAt.getTime());
}
