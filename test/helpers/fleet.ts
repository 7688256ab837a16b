import type * as fc from "fast-check";
import { expect, vi } from "vitest";
import {
  Bulkhead,
  type CircuitChange,
  type CircuitChangeResult,
  type CircuitRecord,
  type CircuitStorage,
  type CircuitSubscriber,
  InMemoryStorage,
} from "../../src/index.js";

const LEASE_SECONDS = 8;

/** The database: remembers each change that was made, with who asked for it and when. */
class Table extends InMemoryStorage {
  readonly made: Array<{ before: CircuitRecord | null; change: CircuitChange; time: number }> = [];

  override async change(name: string, change: CircuitChange): Promise<CircuitChangeResult> {
    const before = await this.getState(name);
    const result = await super.change(name, change);
    if (result.changed) this.made.push({ before, change, time: Date.now() });
    return result;
  }
}

/** One process's way to the database: every message is under way until the scheduler delivers it. */
class Wire implements CircuitStorage {
  readonly queryTimeoutSeconds = 1;
  readonly probeLeaseSeconds = LEASE_SECONDS;
  isCut = false;
  /** Nothing that is asked arrives. */
  isOut = false;
  /** Notices do not arrive. */
  isDisconnected = false;
  /** So many answers are lost: what was asked has been carried out. */
  losesAnswers = 0;
  #subscriber: CircuitSubscriber | undefined = undefined;
  readonly #table: Table;
  readonly #scheduler: fc.Scheduler;
  readonly #label: string;

  constructor(table: Table, scheduler: fc.Scheduler, label: string) {
    this.#table = table;
    this.#scheduler = scheduler;
    this.#label = label;
  }

  getState(name: string) {
    return this.#send("getState", () => this.#table.getState(name));
  }

  load(name: string) {
    return this.#send("load", () => this.#table.load(name));
  }

  change(name: string, change: CircuitChange) {
    return this.#send(`change to ${change.to}`, () => this.#table.change(name, change));
  }

  subscribe(name: string, subscriber: CircuitSubscriber): () => void {
    this.#subscriber = subscriber;
    return this.#table.subscribe(name, {
      onRecord: (record) => {
        if (!this.isDisconnected)
          void this.#deliver("notice").then(() => subscriber.onRecord(record));
      },
      onError: (error) => subscriber.onError(error),
    });
  }

  /** A notice that anyone has sent. */
  forge(record: CircuitRecord): void {
    void this.#deliver("forged notice").then(() => this.#subscriber?.onRecord(record));
  }

  /** Everything is well from now on; as a storage does, it reads what it has missed. */
  heal(): void {
    this.isOut = false;
    this.losesAnswers = 0;
    if (!this.isDisconnected) return;
    this.isDisconnected = false;
    // A fault that comes after this one can lose that, too.
    this.load("api").then(
      (record) => this.#subscriber?.onRecord(record),
      () => {},
    );
  }

  async close(): Promise<void> {}

  async #send<T>(what: string, ask: () => Promise<T>): Promise<T> {
    await this.#deliver(`${what}, asked`);
    if (this.isOut) throw new Error("out");
    const answer = await ask();
    await this.#deliver(`${what}, answered`);
    if (this.losesAnswers === 0) return answer;
    this.losesAnswers--;
    throw new Error("lost");
  }

  /** Resolves when the message arrives; never, when the process has crashed by then. */
  async #deliver(what: string): Promise<void> {
    await this.#scheduler.schedule(Promise.resolve(), `${this.#label}: ${what}`);
    if (this.isCut) await new Promise(() => {});
  }
}

export interface Member {
  readonly bulkhead: Bulkhead;
  readonly wire: Wire;
  readonly label: string;
  isDead: boolean;
}

/** Two to four processes on one table. Crashed processes never receive or send anything again. */
export class Fleet {
  readonly table = new Table({ probeLeaseSeconds: LEASE_SECONDS });
  readonly members: Member[];
  readonly #scheduler: fc.Scheduler;
  readonly #onProbe: (member: Member) => void;

  constructor(scheduler: fc.Scheduler, size: number, onProbe: (member: Member) => void) {
    this.#scheduler = scheduler;
    this.#onProbe = onProbe;
    this.members = Array.from({ length: size }, (_, n) => this.#join(`process ${n}`));
  }

  #join(label: string): Member {
    const wire = new Wire(this.table, this.#scheduler, label);
    const bulkhead = new Bulkhead(
      {
        ...{ name: "api", failureThreshold: 1, successThreshold: 2, isolationDuration: 3 },
        maxConcurrentCalls: 1000,
      },
      { circuitStorage: wire },
    );
    return { wire, bulkhead, label, isDead: false };
  }

  call(member: Member, outcome: "succeeds" | "fails" | "hangs"): void {
    if (member.isDead) return;
    const { bulkhead } = member;
    bulkhead
      .execute(async () => {
        if (member.isDead || outcome === "hangs") await new Promise(() => {});
        if (bulkhead.getStats().circuitStatus === "HALF_OPEN") this.#onProbe(member);
        if (outcome === "fails") throw new Error("down");
      })
      .catch(() => {});
  }

  /** An operator opens or closes the circuit for all. */
  async steer(): Promise<void> {
    const { version, state } = await this.table.load("api");
    const byHand = { version, owner: "operator", byHand: true } as const;
    const opening = { to: "OPEN", openSeconds: 3, failureCount: 0, reason: "why" } as const;
    await this.table.change(
      "api",
      state === "CLOSED" ? { ...opening, ...byHand } : { to: "CLOSED", ...byHand },
    );
  }

  async forge(member: Member): Promise<void> {
    const record = await this.table.load("api");
    const version = Number.MAX_SAFE_INTEGER;
    const never = new Date(Date.now() + 1e12);
    const forged =
      record.state === "CLOSED"
        ? { state: "OPEN", openUntil: never }
        : { state: "CLOSED", openUntil: null };
    member.wire.forge({
      ...record,
      probeOwner: null,
      probeUntil: null,
      version,
      ...forged,
    } as CircuitRecord);
  }

  crash(member: Member): void {
    member.isDead = true;
    member.wire.isCut = true;
  }

  get alive(): Member[] {
    return this.members.filter(({ isDead }) => !isDead);
  }

  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await vi.advanceTimersByTimeAsync(0);
      while (this.#scheduler.count() > 0) {
        await this.#scheduler.waitOne();
        await vi.advanceTimersByTimeAsync(0);
        quiet = 0;
      }
    }
  }

  /** Rules of the table alone: whatever processes thought, it took no change that it must not take. */
  checkHistory(): void {
    for (const { before, change, time } of this.table.made) {
      if ("byHand" in change && change.byHand) continue;
      if (before?.state === "OPEN" && !("early" in change && change.early)) {
        expect(before.openUntil?.getTime()).toBeLessThanOrEqual(time);
      }
      if (before?.state === "OPEN") expect(change.to).not.toBe("CLOSED");
      const leaseIsLive = (before?.probeUntil?.getTime() ?? 0) > time;
      if (before?.state === "HALF_OPEN" && leaseIsLive) {
        expect(change.owner).toBe(before.probeOwner);
      }
      if (change.to === "CLOSED") expect(leaseIsLive).toBe(true);
    }
  }

  /** Once every message has arrived, each process agrees with the table. */
  async checkAgreement(): Promise<void> {
    const record = await this.table.getState("api");
    for (const { bulkhead, label } of this.alive) {
      const { circuitStatus } = bulkhead.getStats();
      const isClosed = record?.state === "CLOSED";
      expect(`${label} closed: ${circuitStatus === "CLOSED"}`).toBe(`${label} closed: ${isClosed}`);
      const isIsolated = record?.state === "OPEN" && record.openUntil !== null;
      if (isIsolated && record.openUntil > new Date()) expect(circuitStatus).toBe("OPEN");
    }
  }

  async end(): Promise<void> {
    const downs = this.alive.map(({ bulkhead }) => bulkhead.shutdown({ drainSeconds: 0 }));
    await this.settle();
    await vi.advanceTimersByTimeAsync(60_000);
    await this.settle();
    await Promise.all(downs);
    // Those of crashed processes: otherwise they would run on in all fleets after this one.
    vi.clearAllTimers();
  }
}
