import { format } from "../common/validation.js";
import type { FailureEvent, RejectedEvent, SuccessEvent } from "../events.js";
import type { BulkheadStats, RejectionReason } from "../stats.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import { type Outcome, REASONS } from "./metrics.js";

/** Receives the calls of all observed bulkheads of one name. */
export interface MetricsSink {
  countEnded(outcome: Outcome, calls: number): void;
  countRejected(reason: RejectionReason, calls: number): void;
  /** Beside `countEnded`, for a call that ended while its bulkhead was observed. */
  recordDurations(outcome: Outcome, call: SuccessEvent): void;
  /** No bulkhead of that name is observed any more. */
  remove(): void;
}

/** The observed bulkheads of one name. */
interface BulkheadGroup {
  readonly sink: MetricsSink;
  readonly bulkheads: Map<MeasuredBulkhead, { holders: number; readonly stop: () => void }>;
}

/**
 * Observes bulkheads, and those of managers, as they come and go. A bulkhead that is added twice, such as by
 * itself and in its manager, is observed once.
 *
 * Counts by events, so that `resetStats()` does not lower the counts. What a bulkhead had counted before it was
 * observed goes to its sink first, once: from then on the sink has counted what `getStats()` of a bulkhead that is
 * never reset shows.
 */
export class BulkheadObserver {
  readonly #createSink: (name: string) => MetricsSink;
  readonly #groups = new Map<string, BulkheadGroup>();
  /** The sink that has a bulkhead's earlier counts. */
  readonly #backfilled = new WeakMap<MeasuredBulkhead, MetricsSink>();
  #sources = 0;

  /** @param createSink called for a name of which no bulkhead is observed yet */
  constructor(createSink: (name: string) => MetricsSink) {
    this.#createSink = createSink;
  }

  /** Whether nothing is observed, not even a manager without bulkheads. */
  get isIdle(): boolean {
    return this.#sources === 0;
  }

  /** @returns stops observing the source; may be called again */
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

  /** The statistics of all observed bulkheads, by name. */
  read(): Map<string, BulkheadStats[]> {
    return new Map(
      Array.from(this.#groups, ([name, { bulkheads }]) => [
        name,
        Array.from(bulkheads.keys(), (bulkhead) => bulkhead.getStats()),
      ]),
    );
  }

  #hold(bulkhead: MeasuredBulkhead): void {
    const { sink, bulkheads } = this.#groupOf(bulkhead.name);
    const held = bulkheads.get(bulkhead);
    if (held !== undefined) {
      held.holders++;
      return;
    }
    if (this.#backfilled.get(bulkhead) !== sink) {
      this.#backfilled.set(bulkhead, sink);
      backfill(bulkhead.getStats(), sink);
    }
    bulkheads.set(bulkhead, { holders: 1, stop: observe(bulkhead, sink) });
  }

  #release(bulkhead: MeasuredBulkhead): void {
    const { sink, bulkheads } = this.#groupOf(bulkhead.name);
    const held = bulkheads.get(bulkhead);
    if (held === undefined || --held.holders > 0) return;
    held.stop();
    bulkheads.delete(bulkhead);
    if (bulkheads.size > 0) return;
    this.#groups.delete(bulkhead.name);
    sink.remove();
  }

  #groupOf(name: string): BulkheadGroup {
    let group = this.#groups.get(name);
    if (group === undefined) {
      group = { sink: this.#createSink(name), bulkheads: new Map() };
      this.#groups.set(name, group);
    }
    return group;
  }
}

/** Counts what a bulkhead counted before it was observed. */
function backfill(stats: BulkheadStats, sink: MetricsSink): void {
  const { successfulExecutions, failedExecutions, rejections } = stats;
  const { timedOutExecutions, abortedExecutions, ignoredExecutions } = stats;
  const otherwise = timedOutExecutions + abortedExecutions + ignoredExecutions;
  sink.countEnded("success", successfulExecutions);
  sink.countEnded("failure", failedExecutions - otherwise);
  sink.countEnded("timeout", timedOutExecutions);
  sink.countEnded("aborted", abortedExecutions);
  sink.countEnded("ignored", ignoredExecutions);
  for (const reason of Object.keys(REASONS) as RejectionReason[]) {
    sink.countRejected(reason, rejections[reason]);
  }
}

/** @returns stops observing */
function observe(bulkhead: MeasuredBulkhead, sink: MetricsSink): () => void {
  let isOver = false;
  const end = (outcome: Outcome, call: SuccessEvent) => {
    // An event also reaches the listeners that are removed while it is emitted.
    if (isOver) return;
    sink.countEnded(outcome, 1);
    sink.recordDurations(outcome, call);
  };
  const onSuccess = (call: SuccessEvent) => end("success", call);
  const onFailure = (call: FailureEvent) => end(call.outcome, call);
  const onRejected = ({ reason, enforced }: RejectedEvent) => {
    if (!isOver && enforced !== false) sink.countRejected(reason, 1);
  };
  bulkhead.on("success", onSuccess);
  bulkhead.on("failure", onFailure);
  bulkhead.on("rejected", onRejected);
  return () => {
    isOver = true;
    bulkhead.off("success", onSuccess);
    bulkhead.off("failure", onFailure);
    bulkhead.off("rejected", onRejected);
  };
}

/** By its shape, because a program can have both builds of this library loaded. */
function isManager(source: MeasuredBulkhead | MeasuredManager): source is MeasuredManager {
  return hasMethods(source, "createBulkhead", "on", "off");
}

/** @throws {TypeError} for anything but a bulkhead or a manager */
export function checkSource(source: MeasuredBulkhead | MeasuredManager): void {
  if (isManager(source) || hasMethods(source, "getStats", "on", "off")) return;
  throw new TypeError(
    `The source of metrics must be a Bulkhead or a BulkheadManager; got ${format(source)}`,
  );
}

function hasMethods(value: unknown, ...methods: readonly string[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  return methods.every((method) => typeof Reflect.get(value, method) === "function");
}
