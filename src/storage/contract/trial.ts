import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { CircuitChange, CircuitRecord, CircuitStorage } from "../circuit-storage.js";

/** What a case gets. */
export interface Trial {
  readonly storage: CircuitStorage;
  /** Another storage of the same place: another process. */
  readonly open: () => Promise<CircuitStorage>;
  readonly name: string;
  readonly probeLeaseSeconds: number;
  readonly spreadSeconds: number;
  readonly hasPermitNotices: boolean;
}

/** Cases by their titles. */
export type Cases = { readonly [title: string]: (trial: Trial) => Promise<void> };

let names = 0;
export function newName(): string {
  return `contract ${process.pid} ${Date.now().toString(36)} ${names++}`;
}

export function opening(
  version: number,
  owner: string,
  openSeconds: number,
  failureCount = 1,
): Extract<CircuitChange, { to: "OPEN" }> {
  return { to: "OPEN", version, owner, openSeconds, failureCount };
}

export async function opened(
  storage: CircuitStorage,
  name: string,
  seconds: number,
  failures = 1,
): Promise<CircuitRecord> {
  const { version } = await storage.load(name);
  const { changed, record } = await storage.change(
    name,
    opening(version, "opener", seconds, failures),
  );
  assert.ok(changed);
  return record;
}

/** A circuit whose probe lease `owner` has. */
export async function leased(
  storage: CircuitStorage,
  name: string,
  owner: string,
): Promise<CircuitRecord> {
  const { version } = await opened(storage, name, 0);
  const { changed, record } = await storage.change(name, { to: "HALF_OPEN", version, owner });
  assert.ok(changed);
  return record;
}

export function subscribed(storage: CircuitStorage, name: string) {
  const heard: CircuitRecord[] = [];
  const unsubscribe = storage.subscribe(name, {
    onRecord: (record) => heard.push(record),
    onError: () => {},
  });
  return { heard, unsubscribe };
}

export async function until<T>(
  { spreadSeconds }: Trial,
  look: () => T | Promise<T>,
): Promise<NonNullable<T>> {
  const end = performance.now() + spreadSeconds * 1000;
  while (true) {
    const seen = await look();
    if (seen) return seen;
    assert.ok(performance.now() < end, `the change did not arrive within ${spreadSeconds} s`);
    await sleep(5);
  }
}

export async function assertRejected(
  storage: CircuitStorage,
  name: string,
  change: CircuitChange,
): Promise<void> {
  const before = await storage.getState(name);
  const { changed, record } = await storage.change(name, change);
  assert.equal(changed, false, `${change.to} for ${change.owner} must be rejected`);
  assertSame(record, before);
}

export function assertClosed(record: CircuitRecord): void {
  const { state, failureCount, openUntil, reason, probeOwner, probeUntil, probeSuccesses } = record;
  assert.deepEqual([state, failureCount, probeSuccesses], ["CLOSED", 0, 0]);
  assert.deepEqual([openUntil, reason, probeOwner, probeUntil], [null, null, null, null]);
}

/** The same record, whenever it was read. */
export function assertSame(
  actual: CircuitRecord | null | undefined,
  expected: CircuitRecord | null | undefined,
): void {
  const stripped = (record: CircuitRecord | null | undefined) =>
    record ? { ...record, readAt: undefined } : null;
  assert.deepEqual(stripped(actual), stripped(expected));
}

export function secondsLeft(date: Date | null, record: CircuitRecord): number {
  return ((date?.getTime() ?? Number.NaN) - record.readAt.getTime()) / 1000;
}

/** Not exactly: the record may have been read a moment after the change. */
export function assertNear(actual: number, expected: number): void {
  assert.ok(
    actual <= expected + 0.01 && actual > expected - Math.min(1, expected / 2),
    `${actual} is not about ${expected}`,
  );
}

export function at<T>(list: readonly T[], index: number): T {
  const item = list[index % list.length];
  if (item === undefined) throw new RangeError("The list is empty");
  return item;
}
