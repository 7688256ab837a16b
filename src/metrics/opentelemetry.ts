import {
  type Attributes,
  type BatchObservableResult,
  type Counter,
  type Histogram,
  type Meter,
  type MeterProvider,
  type MetricOptions,
  metrics,
  type ObservableGauge,
} from "@opentelemetry/api";
import { type Rule, readFields } from "../common/validation.js";
import { checkSource, type Follower, Watch } from "./bulkhead-observer.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import {
  BULKHEAD,
  CALLS,
  DURATION_BUCKETS,
  EXECUTION_DURATION,
  GAUGES,
  type GaugeMetric,
  type Label,
  type Metric,
  REASONS,
  REJECTIONS,
  readGauge,
  WAIT_DURATION,
} from "./metrics.js";

export type { MeasuredBulkhead, MeasuredManager };

/** Options of {@link instrumentBulkheads}. */
export interface InstrumentBulkheadsOptions {
  /** Gives the meter. Default: the global one, `metrics.getMeterProvider()`. */
  meterProvider?: MeterProvider | undefined;
}

const OPTIONS_RULES: { readonly [Field in keyof InstrumentBulkheadsOptions]-?: Rule } = {
  meterProvider: {
    description: "a MeterProvider, with the method getMeter",
    hasType: (value) =>
      typeof value === "object" &&
      value !== null &&
      typeof Reflect.get(value, "getMeter") === "function",
    inRange: () => true,
  },
};

const collectors = new WeakMap<MeterProvider, Collector>();

/**
 * Reports a bulkhead, or every bulkhead of a manager as they come and go, to OpenTelemetry, under the
 * meter `bulkman`. Call it after the SDK is set up: what has no SDK yet reports to nobody.
 *
 * Counters: `bulkman.bulkhead.calls` by `bulkman.call.outcome` (`success`, `failure`, `timeout`), and
 * `bulkman.bulkhead.rejections` by `bulkman.rejection.reason`. Each call is in one of them, once. They
 * begin with what `getStats()` shows, and `resetStats()` does not lower them.
 * Gauges: `active_calls`, `waiting_calls`, `abandoned_calls`, `concurrency.limit`, `queue.limit`,
 * `state` and `circuit.state`, read when metrics are collected. Histograms in seconds:
 * `execution.duration` and `wait.duration`.
 *
 * The only attribute with values of yours is `bulkman.bulkhead.name`; bulkheads of the same name are
 * added up. Gauges of a bulkhead that was removed are 0 at the next collection, and not observed after
 * it.
 * @returns undoes it; may be called again
 * @throws {TypeError} for something else than a bulkhead or a manager, and for a wrong option
 */
export function instrumentBulkheads(
  bulkheadOrManager: MeasuredBulkhead | MeasuredManager,
  options: InstrumentBulkheadsOptions = {},
): () => void {
  checkSource(bulkheadOrManager);
  const { meterProvider = metrics.getMeterProvider() } = readFields(
    "options",
    options,
    OPTIONS_RULES,
  );
  let collector = collectors.get(meterProvider);
  if (collector === undefined) {
    collector = new Collector(meterProvider.getMeter("bulkman"));
    collectors.set(meterProvider, collector);
  }
  return collector.add(bulkheadOrManager);
}

/** The instruments of one meter, and what they measure. */
class Collector {
  readonly #meter: Meter;
  readonly #calls: Counter;
  readonly #rejections: Counter;
  readonly #executionDuration: Histogram;
  readonly #waitDuration: Histogram;
  readonly #gauges: ReadonlyArray<{ metric: GaugeMetric; instrument: ObservableGauge }>;
  readonly #watch = new Watch((name) => this.#follower(name));
  /** Of every name ever seen: their series never end in an SDK, and go on when the name comes back. */
  readonly #followers = new Map<string, Follower>();
  /** Names without a bulkhead, of which the gauges have not told yet. */
  readonly #gone = new Set<string>();
  readonly #observe = (result: BatchObservableResult) => this.#observeGauges(result);

  constructor(meter: Meter) {
    this.#meter = meter;
    this.#calls = meter.createCounter(nameOf(CALLS), optionsOf(CALLS));
    this.#rejections = meter.createCounter(nameOf(REJECTIONS), optionsOf(REJECTIONS));
    const advice = { explicitBucketBoundaries: [...DURATION_BUCKETS] };
    const histogram = (metric: Metric) =>
      meter.createHistogram(nameOf(metric), { ...optionsOf(metric), advice });
    this.#executionDuration = histogram(EXECUTION_DURATION);
    this.#waitDuration = histogram(WAIT_DURATION);
    this.#gauges = GAUGES.map((metric) => ({
      metric,
      instrument: meter.createObservableGauge(nameOf(metric), optionsOf(metric)),
    }));
  }

  add(source: MeasuredBulkhead | MeasuredManager): () => void {
    this.#meter.addBatchObservableCallback(this.#observe, this.#instruments);
    return this.#watch.add(source);
  }

  get #instruments(): ObservableGauge[] {
    return this.#gauges.map(({ instrument }) => instrument);
  }

  #follower(name: string): Follower {
    this.#gone.delete(name);
    let follower = this.#followers.get(name);
    if (follower === undefined) {
      follower = this.#makeFollower(name);
      this.#followers.set(name, follower);
    }
    return follower;
  }

  #makeFollower(name: string): Follower {
    const ofBulkhead = attributes(name);
    const ofOutcome = {
      success: attributes(name, CALLS.label, "success"),
      failure: attributes(name, CALLS.label, "failure"),
      timeout: attributes(name, CALLS.label, "timeout"),
    };
    const ofReason = Object.fromEntries(
      REJECTIONS.label.values.map((word) => [word, attributes(name, REJECTIONS.label, word)]),
    );
    return {
      ended: (outcome, calls) => this.#calls.add(calls, ofOutcome[outcome]),
      rejected: (reason, calls) => this.#rejections.add(calls, ofReason[REASONS[reason]]),
      took: (outcome, { executionTime, queuedTime }) => {
        this.#executionDuration.record(executionTime, ofOutcome[outcome]);
        this.#waitDuration.record(queuedTime, ofBulkhead);
      },
      left: () => this.#gone.add(name),
    };
  }

  #observeGauges(result: BatchObservableResult): void {
    const figures = this.#watch.read();
    // The SDK repeats a gauge's last value for ever when it is not observed any more, unless its
    // reader is one of deltas.
    for (const name of this.#gone) figures.set(name, []);
    this.#gone.clear();
    for (const { metric, instrument } of this.#gauges) {
      for (const [name, bulkheads] of figures) {
        for (const [labelValue, value] of readGauge(metric, bulkheads)) {
          result.observe(instrument, value, attributes(name, metric.label, labelValue));
        }
      }
    }
    // Not at once: the SDK is going through its list of callbacks.
    if (this.#watch.isIdle) queueMicrotask(() => this.#rest());
  }

  /** All has been undone, and the gauges have told so. */
  #rest(): void {
    if (!this.#watch.isIdle) return;
    this.#meter.removeBatchObservableCallback(this.#observe, this.#instruments);
  }
}

function nameOf({ name }: Metric): string {
  return `bulkman.bulkhead.${name}`;
}

function optionsOf({ unit, description }: Metric): MetricOptions {
  return { unit, description };
}

function attributes(name: string, label?: Label, value?: string): Attributes {
  const ofBulkhead = { [BULKHEAD.attribute]: name };
  return label === undefined ? ofBulkhead : { ...ofBulkhead, [label.attribute]: value };
}
