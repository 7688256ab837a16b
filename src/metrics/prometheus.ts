import {
  Counter,
  Gauge,
  register as globalRegistry,
  Histogram,
  type OpenMetricsContentType,
  type PrometheusContentType,
  type Registry,
} from "prom-client";
import { format, type Rule, readFields } from "../common/validation.js";
import { BulkheadObserver, checkSource, type MetricsSink } from "./bulkhead-observer.js";
import type { MeasuredBulkhead, MeasuredManager } from "./measured.js";
import {
  BULKHEAD,
  byCounter,
  byOutcome,
  COUNTER_NAMES,
  COUNTERS,
  type CounterName,
  DURATION_BUCKETS,
  EXECUTION_DURATION,
  GAUGES,
  type GaugeMetric,
  labelsOf,
  labelValuesOf,
  type Metric,
  readGauge,
  WAIT_DURATION,
} from "./metrics.js";

export type { MeasuredBulkhead, MeasuredManager };

/** A registry of prom-client, whichever of its two formats it writes. */
export type AnyRegistry = Registry<PrometheusContentType> | Registry<OpenMetricsContentType>;

/** Options of {@link collectBulkheads}. */
export interface CollectBulkheadsOptions {
  /** Where the metrics are registered. Default: prom-client's global `register`. */
  register?: AnyRegistry | undefined;
  /**
   * Upper bounds of the two histograms in seconds, ascending, > 0. A registry has the histograms once:
   * a later call with the same registry can only give the same. Default: 0.005 to 10.
   */
  buckets?: readonly number[] | undefined;
}

const OPTIONS_RULES: { readonly [Field in keyof CollectBulkheadsOptions]-?: Rule } = {
  register: {
    description: "a Registry of prom-client",
    hasType: (value) =>
      typeof value === "object" &&
      value !== null &&
      typeof Reflect.get(value, "registerMetric") === "function",
    inRange: () => true,
  },
  buckets: {
    description: "an array of ascending numbers of seconds over 0",
    hasType: (value) => Array.isArray(value) && value.every((bound) => typeof bound === "number"),
    inRange: (bounds: readonly number[]) =>
      bounds.length > 0 &&
      bounds.every((bound, i) => Number.isFinite(bound) && bound > (bounds[i - 1] ?? 0)),
  },
};

const collectors = new WeakMap<AnyRegistry, Collector>();

/**
 * Registers the metrics of a bulkhead, or of every bulkhead of a manager as they come and go, with `prom-client`.
 *
 * Counters, which begin with what `getStats()` shows, and which `resetStats()` does not lower:
 * `bulkman_bulkhead_calls_total` by `outcome` and `bulkman_bulkhead_rejections_total` by `reason`, where each call is in one of
 * them, once; `…_would_be_rejections_total` by `reason`, `…_circuit_transitions_total` by `to`,
 * `…_reclaimed_permits_total`, `…_storage_errors_total`, and `…_health_checks_total` by `result`.
 * Gauges: `bulkman_bulkhead_active_calls`, `…_waiting_calls`, `…_abandoned_calls`,
 * `…_concurrency_limit`, `…_queue_limit`, `…_fleet_limit`, `…_fleet_permits`, `…_state` and `…_circuit_state` by `state`,
 * `…_circuit_opened_timestamp_seconds`, and `…_retry_after_seconds`. Histograms:
 * `bulkman_bulkhead_execution_duration_seconds` by `outcome` and `…_wait_duration_seconds`.
 *
 * Counters and gauges are set when the registry is read; a call costs the two histograms. The only
 * label with values of yours is `bulkhead`, the name; bulkheads of the same name are added up. All
 * series of a bulkhead that was removed disappear.
 * @returns stops it; may be called again
 * @throws {TypeError} for anything but a bulkhead or a manager, and for an invalid option
 * @throws {RangeError} for `buckets` out of range, or other than those that the registry has
 * @throws {Error} when the registry has a metric of such a name that is not of this library
 */
export function collectBulkheads(
  bulkheadOrManager: MeasuredBulkhead | MeasuredManager,
  options: CollectBulkheadsOptions = {},
): () => void {
  checkSource(bulkheadOrManager);
  const { register = globalRegistry, buckets } = readFields("options", options, OPTIONS_RULES);
  let collector = collectors.get(register);
  if (collector === undefined || !collector.isRegistered) {
    collector = new Collector(register, buckets ?? DURATION_BUCKETS);
    collectors.set(register, collector);
  } else if (buckets !== undefined && String(buckets) !== String(collector.buckets)) {
    throw new RangeError(
      `buckets must be those that the registry has, ${format(collector.buckets)}; got ${format(buckets)}`,
    );
  }
  return collector.add(bulkheadOrManager);
}

/** The counts of the bulkheads of one name: of each counter by the values of its label. */
type Tally = Readonly<Record<CounterName, Record<string, number>>>;

/** The metrics of one registry, and the bulkheads that they measure. */
class Collector {
  readonly buckets: readonly number[];
  readonly #register: AnyRegistry;
  readonly #executionDuration: Histogram;
  readonly #waitDuration: Histogram;
  /** By their names in the registry: prom-client shortens a counter's own name for OpenMetrics. */
  readonly #metrics = new Map<string, Counter | Gauge | Histogram>();
  readonly #tallies = new Map<string, Tally>();
  readonly #observer = new BulkheadObserver((name) => this.#createSink(name));

  constructor(register: AnyRegistry, buckets: readonly number[]) {
    this.buckets = [...buckets];
    this.#register = register;
    for (const name of COUNTER_NAMES) this.#addCounter(name);
    for (const metric of GAUGES) this.#addGauge(metric);
    this.#executionDuration = this.#addHistogram(EXECUTION_DURATION);
    this.#waitDuration = this.#addHistogram(WAIT_DURATION);
    for (const name of this.#metrics.keys()) {
      if (register.getSingleMetric(name) === undefined) continue;
      throw new Error(`The metric "${name}" already exists in the registry`);
    }
    for (const metric of this.#metrics.values()) register.registerMetric(metric);
  }

  /** Whether the registry still has metrics of this collector: it can be cleared. */
  get isRegistered(): boolean {
    return Array.from(this.#metrics).some(([name, metric]) => this.#has(name, metric));
  }

  add(source: MeasuredBulkhead | MeasuredManager): () => void {
    const undo = this.#observer.add(source);
    return () => {
      undo();
      if (this.#observer.isIdle) this.#unregister();
    };
  }

  #has(name: string, metric: Counter | Gauge | Histogram): boolean {
    const registered: unknown = this.#register.getSingleMetric(name);
    return registered === metric;
  }

  #unregister(): void {
    for (const [name, metric] of this.#metrics) {
      if (this.#has(name, metric)) this.#register.removeSingleMetric(name);
    }
  }

  #createSink(name: string): MetricsSink {
    const tally: Tally = byCounter(() => ({}));
    this.#tallies.set(name, tally);
    const executions = byOutcome((outcome) =>
      series(this.#executionDuration, labels(name, EXECUTION_DURATION, outcome)),
    );
    const waits = series(this.#waitDuration, labels(name));
    return {
      counts: tally,
      count: (counter, labelValue, by) => {
        const counts = tally[counter];
        counts[labelValue] = (counts[labelValue] ?? 0) + by;
      },
      recordDurations: (outcome, { executionTime, queuedTime }) => {
        executions[outcome].observe(executionTime);
        waits.observe(queuedTime);
      },
      remove: () => {
        this.#tallies.delete(name);
        this.#waitDuration.remove(labels(name));
        for (const outcome of labelValuesOf(EXECUTION_DURATION)) {
          this.#executionDuration.remove(labels(name, EXECUTION_DURATION, outcome));
        }
      },
    };
  }

  #addCounter(name: CounterName): void {
    const tallies = this.#tallies;
    const metric: Metric = COUNTERS[name];
    const config = configOf(metric, "_total");
    const counter = new Counter({
      ...config,
      // A counter of prom-client can only be raised: it is reset and counted again at each read.
      collect() {
        this.reset();
        for (const [bulkhead, tally] of tallies) {
          for (const [labelValue, count] of Object.entries(tally[name])) {
            this.inc(labels(bulkhead, metric, labelValue), count);
          }
        }
      },
    });
    this.#metrics.set(config.name, counter);
  }

  #addGauge(metric: GaugeMetric): void {
    const observer = this.#observer;
    const config = configOf(metric, metric.unit === "s" ? "_seconds" : "");
    const gauge = new Gauge({
      ...config,
      collect() {
        this.reset();
        for (const [name, bulkheads] of observer.read()) {
          for (const [labelValue, value] of readGauge(metric, bulkheads)) {
            this.set(labels(name, metric, labelValue), value);
          }
        }
      },
    });
    this.#metrics.set(config.name, gauge);
  }

  #addHistogram(metric: Metric): Histogram {
    const config = configOf(metric, "_seconds");
    const histogram = new Histogram({ ...config, buckets: [...this.buckets] });
    this.#metrics.set(config.name, histogram);
    return histogram;
  }
}

/** Of a metric that is in no registry yet. */
function configOf({ name, description, label }: Metric, suffix: string) {
  return {
    name: `bulkman_bulkhead_${name.replaceAll(".", "_")}${suffix}`,
    help: description,
    labelNames: label === undefined ? [BULKHEAD.name] : [BULKHEAD.name, label.name],
    registers: [],
  };
}

function labels(name: string, metric?: Metric, labelValue?: string): Record<string, string> {
  return labelsOf("name", name, metric?.label, labelValue);
}

/** A histogram's series, which the registry shows from now on, also while it is empty. */
function series(histogram: Histogram, of: Record<string, string>): Histogram.Internal<string> {
  histogram.zero(of);
  return histogram.labels(of);
}
