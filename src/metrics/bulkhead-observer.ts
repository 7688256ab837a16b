import { isUnnamed } from "../common/unnamed.js";
import { format } from "../common/validation.js";
import type {
  FailureEvent,
  HealthCheckEvent,
  ReclaimedEvent,
  RejectedEvent,
  StateChangeEvent,
  SuccessEvent,
} from "../events.js";
import type { BulkheadStats, RejectionReason } from "../stats.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import {
  CIRCUIT_STATES,
  COUNTER_NAMES,
  COUNTERS,
  type CounterName,
  labelValuesOf,
  NO_LABEL,
  type Outcome,
  REASONS,
} from "./metrics.js";

/** Receives what happens to all observed bulkheads of one name. */
export interface MetricsSink {
  /** Where the counts are. While it is the same, a bulkhead's earlier counts are in it once. */
  readonly counts: object;
  count(counter: CounterName, labelValue: string, by: number): void;
  /** Beside `count`, for a call that ended while its bulkhead was observed. */
  recordDurations(outcome: Outcome, call: SuccessEvent): void;
  /** No bulkhead of that name is observed any more. */
  remove(): void;
}

/** The name of all bulkheads together that get no series of their own. */
const OTHERS = "other";

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
  readonly #boundsNames: boolean;
  /** The name in the metrics of a bulkhead that gets no series of its own. */
  readonly #names = new WeakMap<MeasuredBulkhead, string>();
  readonly #groups = new Map<string, BulkheadGroup>();
  /** The counts that include a bulkhead's earlier ones. */
  readonly #backfilled = new WeakMap<MeasuredBulkhead, object>();
  #sources = 0;

  /**
   * @param createSink called for a name of which no bulkhead is observed yet
   * @param options.boundsNames whether the names have to be few, since those of removed bulkheads are kept
   */
  constructor(createSink: (name: string) => MetricsSink, { boundsNames = false } = {}) {
    this.#createSink = createSink;
    this.#boundsNames = boundsNames;
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
      if (this.#boundsNames && isUnnamed(source, bulkhead.name)) this.#names.set(bulkhead, OTHERS);
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
    const { sink, bulkheads } = this.#groupOf(this.#nameOf(bulkhead));
    const held = bulkheads.get(bulkhead);
    if (held !== undefined) {
      held.holders++;
      return;
    }
    if (this.#backfilled.get(bulkhead) !== sink.counts) {
      this.#backfilled.set(bulkhead, sink.counts);
      backfill(bulkhead.getStats(), sink);
    }
    bulkheads.set(bulkhead, { holders: 1, stop: observe(bulkhead, sink) });
  }

  #release(bulkhead: MeasuredBulkhead): void {
    const name = this.#nameOf(bulkhead);
    const { sink, bulkheads } = this.#groupOf(name);
    const held = bulkheads.get(bulkhead);
    if (held === undefined || --held.holders > 0) return;
    held.stop();
    bulkheads.delete(bulkhead);
    if (bulkheads.size > 0) return;
    this.#groups.delete(name);
    sink.remove();
  }

  #nameOf(bulkhead: MeasuredBulkhead): string {
    return this.#names.get(bulkhead) ?? bulkhead.name;
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

/** Counts what a bulkhead counted before it was observed, and 0 in every other series. */
function backfill(stats: BulkheadStats, sink: MetricsSink): void {
  const earlier = countsOf(stats);
  for (const name of COUNTER_NAMES) {
    for (const labelValue of labelValuesOf(COUNTERS[name])) {
      sink.count(name, labelValue, earlier[name]?.[labelValue] ?? 0);
    }
  }
}

type Counts = Readonly<Record<string, number>>;

/** What the statistics know of the counters. */
function countsOf(stats: BulkheadStats): Partial<Record<CounterName, Counts>> {
  const { timedOutExecutions, abortedExecutions, ignoredExecutions } = stats;
  const otherwise = timedOutExecutions + abortedExecutions + ignoredExecutions;
  return {
    calls: {
      success: stats.successfulExecutions,
      failure: stats.failedExecutions - otherwise,
      timeout: timedOutExecutions,
      aborted: abortedExecutions,
      ignored: ignoredExecutions,
    },
    rejections: byReason(stats.rejections),
    wouldBeRejections: byReason(stats.wouldReject),
    transitions: { [CIRCUIT_STATES.OPEN]: stats.openings },
  };
}

function byReason(rejections: Record<RejectionReason, number>): Counts {
  const reasons = Object.keys(REASONS) as RejectionReason[];
  return Object.fromEntries(reasons.map((reason) => [REASONS[reason], rejections[reason]]));
}

/** @returns stops observing */
function observe(bulkhead: MeasuredBulkhead, sink: MetricsSink): () => void {
  let isOver = false;
  // An event also reaches the listeners that are removed while it is emitted.
  const until =
    <P>(listener: (payload: P) => void) =>
    (payload: P) => {
      if (!isOver) listener(payload);
    };
  const end = (outcome: Outcome, call: SuccessEvent) => {
    sink.count("calls", outcome, 1);
    sink.recordDurations(outcome, call);
  };
  const onSuccess = until((call: SuccessEvent) => end("success", call));
  const onFailure = until((call: FailureEvent) => end(call.outcome, call));
  const onRejected = until(({ reason, enforced }: RejectedEvent) => {
    sink.count(enforced === false ? "wouldBeRejections" : "rejections", REASONS[reason], 1);
  });
  const onStateChange = until(({ to }: StateChangeEvent) => {
    sink.count("transitions", CIRCUIT_STATES[to], 1);
  });
  const onReclaimed = until(({ settled }: ReclaimedEvent) => {
    if (!settled) sink.count("reclaimedPermits", NO_LABEL, 1);
  });
  const onHealthCheck = until(({ healthy }: HealthCheckEvent) => {
    sink.count("healthChecks", healthy ? "passed" : "failed", 1);
  });
  const onStorageError = until(() => sink.count("storageErrors", NO_LABEL, 1));
  bulkhead.on("success", onSuccess);
  bulkhead.on("failure", onFailure);
  bulkhead.on("rejected", onRejected);
  bulkhead.on("stateChange", onStateChange);
  bulkhead.on("reclaimed", onReclaimed);
  bulkhead.on("healthCheck", onHealthCheck);
  bulkhead.on("storageError", onStorageError);
  return () => {
    isOver = true;
    bulkhead.off("success", onSuccess);
    bulkhead.off("failure", onFailure);
    bulkhead.off("rejected", onRejected);
    bulkhead.off("stateChange", onStateChange);
    bulkhead.off("reclaimed", onReclaimed);
    bulkhead.off("healthCheck", onHealthCheck);
    bulkhead.off("storageError", onStorageError);
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
