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
import { BulkheadObserver, checkSource, type MetricsSink } from "./bulkhead-observer.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import {
  byOutcome,
  byReason,
  CALLS,
  DURATION_BUCKETS,
  EXECUTION_DURATION,
  GAUGES,
  type GaugeMetric,
  type Label,
  labelsOf,
  type Metric,
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
 * meter `bulkman`. Call it after the SDK is set up: without one, nothing is reported.
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
 * @returns stops it; may be called again
 * @throws {TypeError} for anything but a bulkhead or a manager, and for an invalid option
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

/** The instruments of one meter, and the bulkheads that they measure. */
class Collector {
  readonly #meter: Meter;
  readonly #calls: Counter;
  readonly #rejections: Counter;
  readonly #executionDuration: Histogram;
  readonly #waitDuration: Histogram;
  readonly #gauges: ReadonlyArray<{ metric: GaugeMetric; instrument: ObservableGauge }>;
  readonly #observer = new BulkheadObserver((name) => this.#sinkOf(name), {
    boundsNames: true,
  });
  /** Of every name ever seen: their series never end in an SDK, and go on when the name comes back. */
  readonly #sinks = new Map<string, MetricsSink>();
  /** Names without a bulkhead whose gauges have not been set to 0 yet. */
  readonly #removed = new Set<string>();
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
    return this.#observer.add(source);
  }

  get #instruments(): ObservableGauge[] {
    return this.#gauges.map(({ instrument }) => instrument);
  }

  #sinkOf(name: string): MetricsSink {
    this.#removed.delete(name);
    let sink = this.#sinks.get(name);
    if (sink === undefined) {
      sink = this.#createSink(name);
      this.#sinks.set(name, sink);
    }
    return sink;
  }

  #createSink(name: string): MetricsSink {
    const ofBulkhead = attributes(name);
    const ofOutcome = byOutcome((outcome) => attributes(name, CALLS.label, outcome));
    const ofReason = byReason((labelValue) => attributes(name, REJECTIONS.label, labelValue));
    return {
      countEnded: (outcome, calls) => this.#calls.add(calls, ofOutcome[outcome]),
      countRejected: (reason, calls) => this.#rejections.add(calls, ofReason[reason]),
      recordDurations: (outcome, { executionTime, queuedTime }) => {
        this.#executionDuration.record(executionTime, ofOutcome[outcome]);
        this.#waitDuration.record(queuedTime, ofBulkhead);
      },
      remove: () => this.#removed.add(name),
    };
  }

  #observeGauges(result: BatchObservableResult): void {
    const statistics = this.#observer.read();
    // The SDK repeats the last value of a gauge that is not observed any more for ever, unless its reader has delta
    // temporality.
    for (const name of this.#removed) statistics.set(name, []);
    this.#removed.clear();
    for (const { metric, instrument } of this.#gauges) {
      for (const [name, bulkheads] of statistics) {
        for (const [labelValue, value] of readGauge(metric, bulkheads)) {
          result.observe(instrument, value, attributes(name, metric.label, labelValue));
        }
      }
    }
    // Later: the SDK is iterating over its callbacks.
    if (this.#observer.isIdle) queueMicrotask(() => this.#stop());
  }

  /** Nothing is observed any more, and the gauges are 0. */
  #stop(): void {
    if (!this.#observer.isIdle) return;
    this.#meter.removeBatchObservableCallback(this.#observe, this.#instruments);
  }
}

function nameOf({ name }: Metric): string {
  return `bulkman.bulkhead.${name}`;
}

function optionsOf({ unit, description }: Metric): MetricOptions {
  return { unit, description };
}

function attributes(name: string, label?: Label, labelValue?: string): Attributes {
  return labelsOf("attribute", name, label, labelValue);
}
