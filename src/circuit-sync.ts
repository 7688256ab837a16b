import { hostname } from "node:os";
import type { CircuitRules, CircuitTransition } from "./circuit-rules.js";
import { randomUUID } from "./random-uuid.js";
import type { CircuitChange, CircuitRecord } from "./storage/storage.js";
import type { StoredCircuit } from "./storage/stored-circuit.js";

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
  readonly #stored: StoredCircuit;
  readonly #circuit: CircuitRules;
  readonly #hooks: CircuitSyncHooks;
  /** Tells an operator which process it is. */
  readonly #owner = `${hostname()} ${process.pid} ${randomUUID()}`;
  readonly #unsubscribe: () => void;
  /** The newest record seen. */
  #known: CircuitRecord | undefined = undefined;
  /** A newer record that was heard of while a question was under way. */
  #heard: CircuitRecord | undefined = undefined;
  /** The change of this process that the storage has not taken or refused yet. */
  #unwritten: CircuitTransition | undefined = undefined;
  /** How this process opened its closed circuit, as long as it is open by that. */
  #opening: CircuitTransition | undefined = undefined;
  /** When the storage took that, by its clock. */
  #openingTakenAt = Number.NaN;
  /** It could not be written when it was made. */
  #isLate = false;
  /** A probe has succeeded: the lease is to be renewed, and the success to be kept. */
  #renews = false;
  #renewTimer: NodeJS.Timeout | undefined = undefined;
  #work: Promise<void> | undefined = undefined;
  /** Questions fail, or changes of others are not heard. Told once, however it shows. */
  readonly #troubles = { asking: false, hearing: false };
  #closed = false;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined = undefined;
  #isLoaded = false;
  /** Settles when the circuit is loaded, or the storage's time limit has passed. Never rejects. */
  readonly ready: Promise<void>;

  constructor(stored: StoredCircuit, circuit: CircuitRules, hooks: CircuitSyncHooks) {
    this.#stored = stored;
    this.#circuit = circuit;
    this.#hooks = hooks;
    this.#unsubscribe = this.#subscribe();
    this.ready = this.#ask(() => this.#load());
  }

  /** Whether calls may start: the circuit was loaded, or it took too long. */
  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** Whether a person has isolated the circuit for the whole fleet, which no health check ends. */
  get isHeld(): boolean {
    return this.#known?.state === "OPEN" && Boolean(this.#known.reason);
  }

  /** The circuit has changed. What this process decided is offered to the storage. */
  transition(transition: CircuitTransition): void {
    const { from, to, origin } = transition;
    this.#opening = undefined;
    this.#openingTakenAt = Number.NaN;
    if (origin === "storage") this.#unwritten = undefined;
    if (origin === "storage" || origin === "clock") return;
    if (from === "CLOSED" && to === "OPEN") this.#opening = transition;
    this.#unwritten = transition;
    this.#isLate = false;
    this.#startWriting();
  }

  /** Asks for the probe lease. The circuit is told when there is an answer. */
  claim(): void {
    this.#startWriting();
  }

  /**
   * A probe has succeeded under the lease. Not told to the storage at once: when the last probe
   * succeeds in the same turn of the event loop, closing the circuit says it all.
   */
  renew(): void {
    this.#renewTimer ??= setTimeout(() => {
      this.#renewTimer = undefined;
      this.#renews = true;
      this.#startWriting();
    }, 0).unref();
  }

  /** Stops hearing and asking. A lease that this process holds is given back. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#renewTimer);
    try {
      this.#unsubscribe();
    } catch {
      // A storage at fault must not keep a bulkhead from being shut down.
    }
    await this.#work;
    const known = this.#known;
    if (known?.state !== "HALF_OPEN" || known.probeOwner !== this.#owner) return;
    const { version, probeSuccesses } = known;
    const successes = this.#circuit.successesUnderLease ?? probeSuccesses;
    const back = { to: "HALF_OPEN", version, owner: this.#owner, early: true, successes } as const;
    // What its probes have shown, when that could not be told before.
    const verdict = this.#unwritten && this.#change(known, this.#unwritten);
    await this.#stored.change(verdict ?? back).catch(() => {
      // The lease runs out by itself.
    });
  }

  #subscribe(): () => void {
    try {
      return this.#stored.subscribe(
        {
          onRecord: (record) => this.#hear(record),
          onError: (error) => this.#trouble("hearing", error),
        },
        (error) => {
          this.#trouble("hearing", error);
          this.#retryLater();
        },
      );
    } catch (error) {
      // Not at once: whoever makes a bulkhead can listen to it only after that.
      queueMicrotask(() => this.#trouble("hearing", error));
      return () => {};
    }
  }

  #hear(record: CircuitRecord): void {
    if (this.#closed) return;
    this.#troubles.hearing = false;
    if (this.#work !== undefined) this.#heard = newer(this.#heard, record);
    else this.#follow(record);
    if (this.#unwritten !== undefined) this.#startWriting();
  }

  // Asking

  #startWriting(): void {
    if (this.#closed || this.#work !== undefined) return;
    void this.#ask(() => this.#write());
  }

  #startLoading(): void {
    if (this.#closed) return;
    if (this.#work === undefined) void this.#ask(() => this.#load());
    else void this.#work.then(() => this.#startLoading());
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
      this.#troubles.asking = false;
      this.#troubles.hearing = false;
      this.#retryMs = FIRST_RETRY_MS;
    } catch (error) {
      this.#isLate = true;
      if (this.#circuit.isClaiming) this.#circuit.claimed(Number.POSITIVE_INFINITY);
      this.#trouble("asking", error);
      this.#retryLater();
    }
  }

  #hasMore(): boolean {
    const heard = this.#heard;
    this.#heard = undefined;
    if (heard !== undefined) this.#follow(heard);
    if (this.#unwritten !== undefined) return true;
    return !this.#closed && (this.#circuit.isClaiming || this.#renews);
  }

  async #load(): Promise<void> {
    this.#follow(await this.#stored.load());
  }

  /** Offers the newest change of this process, or asks for the lease, or for more of it. */
  async #write(): Promise<void> {
    if (this.#known === undefined) await this.#load();
    const known = this.#known;
    if (known === undefined) return;
    if (this.#isLate && this.#unwritten?.to === "OPEN" && this.#circuit.status !== "OPEN") {
      // The isolation is over by now: nobody is to begin another one because of it.
      const late = this.#unwritten;
      const record = await this.#stored.load();
      if (this.#unwritten !== late) return;
      this.#unwritten = undefined;
      this.#adopt(record);
      return;
    }
    const offered = this.#unwritten;
    this.#renews = false;
    const change = this.#change(known, offered);
    if (change === undefined) return;
    const { changed, record } = await this.#stored.change(change);
    if (changed) {
      if (this.#unwritten === offered) this.#unwritten = undefined;
      this.#won(record);
    } else if (offered?.origin === "hand" && this.#unwritten === offered) {
      // Another was a moment faster. A hand is obeyed: it is offered again, on top of that.
      this.#known = record;
    } else {
      this.#adopt(record);
    }
  }

  #change(known: CircuitRecord, offered: CircuitTransition | undefined): CircuitChange | undefined {
    const common = { version: known.version, owner: this.#owner };
    if (offered === undefined) {
      if (this.#circuit.isClaiming) return { to: "HALF_OPEN", ...common };
      const successes = this.#circuit.successesUnderLease;
      return successes === undefined ? undefined : { to: "HALF_OPEN", successes, ...common };
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
    if (record.state === "HALF_OPEN") this.#hasLease(record);
    else if (record.state === "OPEN") {
      this.#openingTakenAt = Number(record.updatedAt);
      this.#circuit.isolatedFor(remainingMs(record.openUntil, record));
    }
  }

  #hasLease(record: CircuitRecord): void {
    const leaseMs = remainingMs(record.probeUntil, record);
    if (this.#circuit.isClaiming) this.#circuit.claimed(leaseMs, record.probeSuccesses);
    else this.#circuit.renewed(leaseMs);
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
      this.#hasLease(record);
      if (this.#unwritten !== undefined || this.#circuit.status !== "CLOSED") return;
    }
    if (record.state === "CLOSED" && this.#isOpen && this.#isUnaware(record)) {
      // Nobody has closed what this process opened: the storage never heard of it, or has lost it.
      this.#unwritten = this.#opening;
      this.#isLate = true;
      return;
    }
    this.#unwritten = undefined;
    if (record.state === "CLOSED") {
      this.#circuit.closedElsewhere("closed by another process");
    } else if (record.state === "OPEN") {
      const isolationMs = remainingMs(record.openUntil, record);
      const why = record.reason ? `isolated: ${record.reason}` : "opened by another process";
      this.#circuit.openedElsewhere(isolationMs, why);
    } else {
      this.#circuit.probedElsewhere(leaseMs, record.probeSuccesses, "another process probes");
    }
  }

  /** Whether the record, of a closed circuit, knows nothing of this process's opening. */
  #isUnaware({ openedBy, updatedAt }: Pick<CircuitRecord, "updatedAt"> & Partial<CircuitRecord>) {
    if (openedBy === undefined) return false;
    return openedBy !== this.#owner || Number(updatedAt) < this.#openingTakenAt;
  }

  /** Whether the circuit is open because this process has opened it. */
  get #isOpen(): boolean {
    return this.#circuit.status === "OPEN" && this.#opening !== undefined;
  }

  // Trouble

  #trouble(where: "asking" | "hearing", error: unknown): void {
    if (this.#closed) return;
    const isTold = this.#troubles.asking || this.#troubles.hearing;
    this.#troubles[where] = true;
    if (!isTold) this.#hooks.onError(error);
  }

  /** Reads the circuit again after a while, so that both sides catch up; full jitter, as AWS advises. */
  #retryLater(): void {
    if (this.#closed) return;
    const delay = this.#retryMs * (0.5 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#startLoading(), delay);
    this.#retryTimer.unref();
  }
}

function newer(one: CircuitRecord | undefined, other: CircuitRecord): CircuitRecord {
  return one !== undefined && one.version > other.version ? one : other;
}

/** How long after the record was read a time in it comes, by the storage's clock alone. */
function remainingMs(date: Date | null, record: CircuitRecord): number {
  return date === null ? 0 : Math.max(0, date.getTime() - record.readAt.getTime());
}
