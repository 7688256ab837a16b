import { bulkhead as cockatielBulkhead } from "cockatiel";
import CircuitBreaker from "opossum-10";
import pLimit from "p-limit";
import PQueue from "p-queue";
import { vi } from "vitest";
import { Bulkhead, type BulkheadConfig } from "../../src/index.js";

/** The columns of the comparison, in its order. */
export const PEERS = ["bulkman", "opossum", "cockatiel", "p-limit", "p-queue"] as const;
export type Peer = (typeof PEERS)[number];

/** The package that is run for a column. */
export function packageOf(peer: Peer): string {
  return peer === "opossum" ? "opossum-10" : peer;
}

/** For each library, how it is observed; the result is the text of its cell. */
export type Row = Record<Peer, () => string | Promise<string>>;

export type Work = () => unknown;
/** Calls a function through a library. Rejects when the function fails or the library rejects it. */
export type Call = (work: Work) => Promise<unknown>;
export type Calls = Record<Peer, Call>;

/** A promise as it stands. */
export interface Outcome {
  state: "pending" | "resolved" | "rejected";
  value: unknown;
}

export function watch(promise: Promise<unknown>): Outcome {
  const outcome: Outcome = { state: "pending", value: undefined };
  promise.then(
    (value) => Object.assign(outcome, { state: "resolved", value }),
    (value) => Object.assign(outcome, { state: "rejected", value }),
  );
  return outcome;
}

/** Lets time pass, and everything happen that is due. */
export async function pass(seconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1000);
}

/** A timer of this many seconds, of the faked time. */
export function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

export function never(): Promise<never> {
  return new Promise(() => {});
}

export async function down(): Promise<never> {
  throw new Error("down");
}

export async function up(): Promise<string> {
  return "up";
}

/** 2000 outcomes with 20 % of failures, the same in every run: five consecutive ones among them. */
export function outcomes(): Array<() => Promise<unknown>> {
  let seed = 3;
  return Array.from({ length: 2000 }, () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647 < 0.2 ? down : up;
  });
}

/** A call of a bulkhead, with the failure of its function as a rejection too. */
export function through(config: Partial<BulkheadConfig>): Call {
  const bulkhead = new Bulkhead({ name: "x", ...config });
  return async (work) => {
    const outcome = await bulkhead.execute(work);
    if (!outcome.success) throw outcome.error;
    return outcome.result;
  };
}

/** What opossum takes, with two options that its published types lack. */
interface OpossumOptions extends CircuitBreaker.Options<[Work]> {
  state?: object;
  coalesce?: boolean;
}

export function breaker(options: OpossumOptions): CircuitBreaker<[Work]> {
  return new CircuitBreaker(async (work: Work) => work(), { timeout: false, ...options });
}

export function firing(circuit: CircuitBreaker<[Work]>): Call {
  return (work) => circuit.fire(work);
}

/** Each library with a limit of running calls and, where it can have one, of waiting calls. */
export function limited(running: number, waiting: number): Calls {
  const bulkhead = cockatielBulkhead(running, waiting);
  const limit = pLimit(running);
  const queue = new PQueue({ concurrency: running });
  return {
    bulkman: through({ maxConcurrentCalls: running, maxQueueSize: waiting }),
    opossum: firing(breaker({ capacity: running })),
    cockatiel: async (work) => bulkhead.execute(work),
    "p-limit": (work) => limit(work),
    "p-queue": (work) => queue.add(work),
  };
}

/** The same observation of every library, but for those that are given their own. */
export function eachOf(observe: (peer: Peer) => string | Promise<string>, own?: Partial<Row>): Row {
  return {
    bulkman: () => observe("bulkman"),
    opossum: () => observe("opossum"),
    cockatiel: () => observe("cockatiel"),
    "p-limit": () => observe("p-limit"),
    "p-queue": () => observe("p-queue"),
    ...own,
  };
}

export function yesIf(condition: boolean): string {
  return condition ? "yes" : "no";
}
