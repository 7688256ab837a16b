import { format } from "../common/validation.js";
import type { FailureEvent, RejectedEvent, SuccessEvent, TimeoutEvent } from "../events.js";
import type { BulkheadStats, RejectionReason } from "../stats.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import { type Outcome, REASONS } from "./metrics.js";

/** Hears of the calls of all watched bulkheads of one name. */
export interface Follower {
  ended(outcome: Outcome, calls: number): void;
  rejected(reason: RejectionReason, calls: number): void;
  /** Told beside `ended`, of a call that ended while it was watched. */
  took(outcome: Outcome, call: SuccessEvent): void;
  /** No bulkhead of that name is watched any more. */
  left(): void;
}

/** The watched bulkheads of one name. */
interface Namesakes {
  readonly follower: Follower;
  readonly bulkheads: Map<MeasuredBulkhead, { holders: number; readonly stop: () => void }>;
}

/**
 * Watches bulkheads: those that are given, and those of managers that are given, as they come and go.
 * One that is given twice, as by itself and in its manager, is watched once.
 *
 * Counts are taken from events, so that `resetStats()` does not lower them. What a bulkhead had counted
 * before it was watched is told to its follower first, once: from then on the follower has counted
 * what `getStats()` of a bulkhead that is never reset shows.
 */
export class Watch {
  readonly #follow: (name: string) => Follower;
  readonly #names = new Map<string, Namesakes>();
  /** Who was told of the bulkhead's past. */
  readonly #told = new WeakMap<MeasuredBulkhead, Follower>();
  #sources = 0;

  /** @param follow called for a name of which no bulkhead is watched yet */
  constructor(follow: (name: string) => Follower) {
    this.#follow = follow;
  }

  /** Whether nothing is watched, not even a manager without bulkheads. */
  get isIdle(): boolean {
    return this.#sources === 0;
  }

  /** @returns ends the watching; may be called again */
  add(source: MeasuredBulkhead | MeasuredManager): () => void {
    const held = new Set<MeasuredBulkhead>();
    let isOver = false;
    const hold = (bulkhead: MeasuredBulkhead) => {
      if (isOver || held.has(bulkhead)) return;
      held.add(bulkhead);
      this.#hold(bulkhead);
    };
    const release = (bulkhead: MeasuredBulkhead) => {
      if (held.delete(bulkhead)) this.#release(bulkhead);
    };
    const manager = isManager(source) ? source : undefined;
    // A listener before this one can have removed it already.
    const onCreated = (bulkhead: MeasuredBulkhead) => {
      if (manager?.getBulkhead(bulkhead.name) === bulkhead) hold(bulkhead);
    };
    manager?.on("created", onCreated);
    manager?.on("removed", release);
    for (const bulkhead of isManager(source) ? source : [source]) hold(bulkhead);
    this.#sources++;
    return () => {
      if (isOver) return;
      isOver = true;
      manager?.off("created", onCreated);
      manager?.off("removed", release);
      this.#sources--;
      for (const bulkhead of held) release(bulkhead);
    };
  }

  /** The figures of all watched bulkheads, by name. */
  read(): Map<string, BulkheadStats[]> {
    return new Map(
      Array.from(this.#names, ([name, { bulkheads }]) => [
        name,
        Array.from(bulkheads.keys(), (bulkhead) => bulkhead.getStats()),
      ]),
    );
  }

  #hold(bulkhead: MeasuredBulkhead): void {
    const { follower, bulkheads } = this.#namesakes(bulkhead.name);
    const held = bulkheads.get(bulkhead);
    if (held !== undefined) {
      held.holders++;
      return;
    }
    if (this.#told.get(bulkhead) !== follower) {
      this.#told.set(bulkhead, follower);
      tellPast(bulkhead.getStats(), follower);
    }
    bulkheads.set(bulkhead, { holders: 1, stop: listen(bulkhead, follower) });
  }

  #release(bulkhead: MeasuredBulkhead): void {
    const { follower, bulkheads } = this.#namesakes(bulkhead.name);
    const held = bulkheads.get(bulkhead);
    if (held === undefined || --held.holders > 0) return;
    held.stop();
    bulkheads.delete(bulkhead);
    if (bulkheads.size > 0) return;
    this.#names.delete(bulkhead.name);
    follower.left();
  }

  #namesakes(name: string): Namesakes {
    let namesakes = this.#names.get(name);
    if (namesakes === undefined) {
      namesakes = { follower: this.#follow(name), bulkheads: new Map() };
      this.#names.set(name, namesakes);
    }
    return namesakes;
  }
}

function tellPast(stats: BulkheadStats, follower: Follower): void {
  const { successfulExecutions, failedExecutions, timedOutExecutions, rejections } = stats;
  follower.ended("success", successfulExecutions);
  follower.ended("failure", failedExecutions - timedOutExecutions);
  follower.ended("timeout", timedOutExecutions);
  for (const reason of Object.keys(REASONS) as RejectionReason[]) {
    follower.rejected(reason, rejections[reason]);
  }
}

/** @returns ends the listening */
function listen(bulkhead: MeasuredBulkhead, follower: Follower): () => void {
  let isOver = false;
  /** Calls whose timeout was told, and whose failure is about to be told. */
  const timedOut = new Set<string>();
  const end = (outcome: Outcome, call: SuccessEvent) => {
    // An event that is being told reaches also the listeners that are taken off meanwhile.
    if (isOver) return;
    follower.ended(outcome, 1);
    follower.took(outcome, call);
  };
  const onSuccess = (call: SuccessEvent) => end("success", call);
  const onTimeout = ({ executionId, phase }: TimeoutEvent) => {
    if (phase === "running") timedOut.add(executionId);
  };
  // The error's class does not say it: it can be the timeout of another bulkhead within.
  const onFailure = (call: FailureEvent) =>
    end(timedOut.delete(call.executionId) ? "timeout" : "failure", call);
  const onRejected = ({ reason }: RejectedEvent) => {
    if (!isOver) follower.rejected(reason, 1);
  };
  bulkhead.on("success", onSuccess);
  bulkhead.on("timeout", onTimeout);
  bulkhead.on("failure", onFailure);
  bulkhead.on("rejected", onRejected);
  return () => {
    isOver = true;
    bulkhead.off("success", onSuccess);
    bulkhead.off("timeout", onTimeout);
    bulkhead.off("failure", onFailure);
    bulkhead.off("rejected", onRejected);
  };
}

/** By its shape, since a program can have both builds of this library loaded. */
function isManager(source: MeasuredBulkhead | MeasuredManager): source is MeasuredManager {
  return hasMethods(source, "createBulkhead", "on", "off");
}

/** @throws {TypeError} for something else than a bulkhead or a manager */
export function checkSource(source: MeasuredBulkhead | MeasuredManager): void {
  if (isManager(source) || hasMethods(source, "getStats", "on", "off")) return;
  throw new TypeError(`Metrics are taken of a Bulkhead or BulkheadManager; got ${format(source)}`);
}

function hasMethods(value: unknown, ...methods: readonly string[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  return methods.every((method) => typeof Reflect.get(value, method) === "function");
}
