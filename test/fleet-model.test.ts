import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  type CircuitChange,
  type CircuitChangeResult,
  type CircuitRecord,
  type CircuitStorage,
  type CircuitSubscriber,
  InMemoryStorage,
} from "../src/index.js";

const RUNS = Number(process.env["STORM_RUNS"] ?? 60);
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
  isCut = false;
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
    return this.#table.subscribe(name, {
      onRecord: (record) => {
        void this.#deliver("notice").then(() => subscriber.onRecord(record));
      },
      onError: (error) => subscriber.onError(error),
    });
  }

  async close(): Promise<void> {}

  async #send<T>(what: string, ask: () => Promise<T>): Promise<T> {
    await this.#deliver(`${what}, asked`);
    const answer = await ask();
    await this.#deliver(`${what}, answered`);
    return answer;
  }

  /** Resolves when the message arrives; never, when the process has crashed by then. */
  async #deliver(what: string): Promise<void> {
    await this.#scheduler.schedule(Promise.resolve(), `${this.#label}: ${what}`);
    if (this.isCut) await new Promise(() => {});
  }
}

interface Member {
  readonly bulkhead: Bulkhead;
  readonly wire: Wire;
  readonly label: string;
  isDead: boolean;
}

/** Two to four processes on one table. Crashed processes never hear or say anything again. */
class Fleet {
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
      { name: "api", failureThreshold: 1, successThreshold: 2, isolationDuration: 3 },
      { circuitStorage: wire },
    );
    return { wire, bulkhead, label, isDead: false };
  }

  call(member: Member, succeeds: boolean): void {
    if (member.isDead) return;
    const { bulkhead } = member;
    bulkhead
      .execute(async () => {
        if (member.isDead) await new Promise(() => {});
        if (bulkhead.getStats().circuitStatus === "HALF_OPEN") this.#onProbe(member);
        if (!succeeds) throw new Error("down");
      })
      .catch(() => {});
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
  }
}

const act = fc.record({
  member: fc.nat({ max: 3 }),
  what: fc.oneof(
    { weight: 4, arbitrary: fc.constant("fails" as const) },
    { weight: 6, arbitrary: fc.constant("succeeds" as const) },
    { weight: 1, arbitrary: fc.constant("crash" as const) },
  ),
  /** Messages delivered before the next act. */
  deliver: fc.nat({ max: 6 }),
  /** Seconds that pass before the next act. */
  pass: fc.constantFrom(0, 0, 0, 0.4, 3, 9),
});

/** Plays the acts; time passes between messages only if `slow`, else when all have arrived. */
async function play(
  scheduler: fc.Scheduler,
  fleet: Fleet,
  acts: ReadonlyArray<typeof act extends fc.Arbitrary<infer A> ? A : never>,
  slow: boolean,
): Promise<void> {
  for (const { member: n, what, deliver, pass } of acts) {
    const member = fleet.members[n % fleet.members.length];
    if (member === undefined) continue;
    if (what !== "crash") fleet.call(member, what === "succeeds");
    else if (fleet.alive.length > 1) fleet.crash(member);
    for (let left = deliver; left > 0 && scheduler.count() > 0; left--) {
      await scheduler.waitOne();
      await vi.advanceTimersByTimeAsync(0);
    }
    if (!slow && pass > 0) await fleet.settle();
    await vi.advanceTimersByTimeAsync(pass * 1000);
    fleet.checkHistory();
  }
}

describe("a fleet on one table, as a model", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("has one prober, loses no opening and agrees with the table, while messages take no time", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 2, max: 4 }),
        fc.array(act, { maxLength: 25 }),
        async (scheduler, size, acts) => {
          const probes: Array<{ label: string; lease: string | null; until: number }> = [];
          const fleet = new Fleet(scheduler, size, ({ label }) => {
            void fleet.table.getState("api").then((record) => {
              probes.push({
                label,
                lease: record?.probeOwner ?? null,
                until: record?.probeUntil?.getTime() ?? 0,
              });
            });
          });
          await play(scheduler, fleet, acts, false);
          await fleet.settle();
          await fleet.checkAgreement();
          // Probes under one lease are all of one process.
          const proberOf = new Map<string, string>();
          for (const { label, lease, until } of probes) {
            const key = `${lease} until ${until}`;
            expect(proberOf.get(key) ?? label).toBe(label);
            proberOf.set(key, label);
          }
          await fleet.end();
        },
      ),
      { numRuns: RUNS },
    );
  }, 120_000);

  it("loses no opening and agrees with the table, also when messages take too long", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 2, max: 4 }),
        fc.array(act, { maxLength: 25 }),
        async (scheduler, size, acts) => {
          const fleet = new Fleet(scheduler, size, () => {});
          await play(scheduler, fleet, acts, true);
          await fleet.settle();
          // What a process could not say in time it says again when it retries.
          for (let waited = 0; waited < 60; waited += 0.4) {
            await vi.advanceTimersByTimeAsync(400);
            await fleet.settle();
          }
          fleet.checkHistory();
          await fleet.checkAgreement();
          await fleet.end();
        },
      ),
      { numRuns: RUNS },
    );
  }, 120_000);
});
