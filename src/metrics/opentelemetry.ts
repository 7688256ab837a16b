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
import { type TraceBulkheadsOptions, traceBulkheads } from "./call-spans.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import {
  byCounter,
  byOutcome,
  COUNTERS,
  type CounterName,
  DURATION_BUCKETS,
  EXECUTION_DURATION,
  GAUGES,
  type GaugeMetric,
  type Label,
  labelsOf,
  labelValuesOf,
  type Metric,
  readGauge,
  WAIT_DURATION,
} from "./metrics.js";

export type { MeasuredBulkhead, MeasuredManager };
export { type TraceBulkheadsOptions, traceBulkheads };

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
 * Counters, which begin with what `getStats()` shows, and which `resetStats()` does not lower:
 * `bulkman.bulkhead.calls` by `bulkman.call.outcome` and `bulkman.bulkhead.rejections` by `bulkman.rejection.reason`, where each
 * call is in one of them, once; `would_be_rejections` by the same, `circuit.transitions` by
 * `bulkman.circuit.transition.to`, `reclaimed_permits`, `storage.errors`, and `health_checks` by
 * `bulkman.health_check.result`.
 * Gauges: `active_calls`, `waiting_calls`, `abandoned_calls`, `concurrency.limit`, `queue.limit`,
 * `fleet.limit`, `fleet.permits`, `state`, `circuit.state`, and in seconds `circuit.opened_timestamp` and `retry_after`, read when metrics are
 * collected. Histograms in seconds: `execution.duration` and `wait.duration`.
 *
 * The only attribute with values of yours is `bulkman.bulkhead.name`; bulkheads of the same name are
 * added up. Gauges of a bulkhead that was removed are 0 at the next collection, and not observed after
 * it. What an SDK keeps of its series is the SDK's: see the reference of the metrics.
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
  readonly #counters: Readonly<Record<CounterName, Counter>>;
  readonly #executionDuration: Histogram;
  readonly #waitDuration: Histogram;
  readonly #gauges: ReadonlyArray<{ metric: GaugeMetric; instrument: ObservableGauge }>;
  readonly #observer = new BulkheadObserver((name) => this.#createSink(name), {
    boundsNames: true,
  });
  /** The names whose gauges were observed by the newest collection. */
  #observed = new Set<string>();
  readonly #observe = (result: BatchObservableResult) => this.#observeGauges(result);

  constructor(meter: Meter) {
    this.#meter = meter;
    this.#counters = byCounter((name) => {
      const metric: Metric = COUNTERS[name];
      return meter.createCounter(nameOf(metric), optionsOf(metric));
    });
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

  /** Keeps nothing of a name that is not observed any more: with `bulkman/undici` origins come and go. */
  #createSink(name: string): MetricsSink {
    const ofBulkhead = attributes(name);
    const ofOutcome = byOutcome((outcome) => attributes(name, EXECUTION_DURATION.label, outcome));
    const ofCounter = byCounter((counter) => attributesByValue(name, COUNTERS[counter]));
    return {
      counts: this,
      count: (counter, labelValue, by) => {
        this.#counters[counter].add(by, ofCounter[counter].get(labelValue));
      },
      recordDurations: (outcome, { executionTime, queuedTime }) => {
        this.#executionDuration.record(executionTime, ofOutcome[outcome]);
        this.#waitDuration.record(queuedTime, ofBulkhead);
      },
      remove: () => {},
    };
  }

  #observeGauges(result: BatchObservableResult): void {
    const statistics = this.#observer.read();
    const names = new Set(statistics.keys());
    // The SDK repeats the last value of a gauge that is not observed any more for ever, unless its reader has delta
    // temporality.
    for (const name of this.#observed) if (!names.has(name)) statistics.set(name, []);
    this.#observed = names;
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

function attributesByValue(name: string, metric: Metric): ReadonlyMap<string, Attributes> {
  return new Map(
    labelValuesOf(metric).map((value) => [value, attributes(name, metric.label, value)]),
  );
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
