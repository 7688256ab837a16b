import { BulkheadState } from "../state.js";
import type { BulkheadStats, FailureOutcome, RejectionReason } from "../stats.js";
import type { CircuitStatus } from "../storage/circuit-storage.js";

/** How a started call ended: each has one outcome. */
export type Outcome = "success" | FailureOutcome;

const OUTCOMES: readonly Outcome[] = ["success", "failure", "timeout", "aborted", "ignored"];

/** The label values of the keys of `BulkheadStats.rejections`. */
export const REASONS: Readonly<Record<RejectionReason, string>> = {
  full: "full",
  circuitOpen: "circuit_open",
  timeout: "timeout",
  aborted: "aborted",
  isolated: "isolated",
  shutdown: "shutdown",
};

/** The label values of the statuses of a circuit. */
export const CIRCUIT_STATES: Readonly<Record<CircuitStatus, string>> = {
  CLOSED: "closed",
  OPEN: "open",
  HALF_OPEN: "half_open",
};

/** Distinguishes the series of one bulkhead. The values are all that there can ever be. */
export interface Label<V extends string = string> {
  /** For Prometheus. */
  readonly name: string;
  /** For OpenTelemetry. */
  readonly attribute: string;
  readonly values: readonly V[];
}

export const BULKHEAD = { name: "bulkhead", attribute: "bulkman.bulkhead.name" };

const OUTCOME: Label<Outcome> = {
  name: "outcome",
  attribute: "bulkman.call.outcome",
  values: OUTCOMES,
};

/** One value for each outcome. */
export function byOutcome<T>(create: (outcome: Outcome) => T): Record<Outcome, T> {
  return {
    success: create("success"),
    failure: create("failure"),
    timeout: create("timeout"),
    aborted: create("aborted"),
    ignored: create("ignored"),
  };
}

/**
 * The labels of a series.
 * @param key what the backend calls a label: its `name` for Prometheus, its `attribute` for OpenTelemetry
 */
export function labelsOf(
  key: "name" | "attribute",
  bulkhead: string,
  label?: Label,
  labelValue: string = NO_LABEL,
): Record<string, string> {
  const labels = { [BULKHEAD[key]]: bulkhead };
  if (label !== undefined) labels[label[key]] = labelValue;
  return labels;
}

export interface Metric {
  /** What follows `bulkman.bulkhead.`. */
  readonly name: string;
  /** In the notation of UCUM, for OpenTelemetry. */
  readonly unit: string;
  readonly description: string;
  readonly label?: Label;
}

const REASON = {
  name: "reason",
  attribute: "bulkman.rejection.reason",
  values: Object.values(REASONS),
};

/** Counted while a bulkhead is observed; each has all its series from the start, at 0. */
export const COUNTERS = {
  calls: {
    name: "calls",
    unit: "{call}",
    description: "Calls that were started and have ended, by outcome.",
    label: OUTCOME,
  },
  rejections: {
    name: "rejections",
    unit: "{call}",
    description: "Calls that never started, by reason.",
    label: REASON,
  },
  wouldBeRejections: {
    name: "would_be_rejections",
    unit: "{call}",
    description: "Calls that ran because enforce is false and would have been rejected, by reason.",
    label: REASON,
  },
  transitions: {
    name: "circuit.transitions",
    unit: "{transition}",
    description: "Changes of the circuit, by the state that it changed to.",
    label: {
      name: "to",
      attribute: "bulkman.circuit.transition.to",
      values: Object.values(CIRCUIT_STATES),
    },
  },
  reclaimedPermits: {
    name: "reclaimed_permits",
    unit: "{permit}",
    description: "Permits that were taken back from functions that did not settle.",
  },
  storageErrors: {
    name: "storage.errors",
    unit: "{error}",
    description: "How many times the storage of the circuit began to fail.",
  },
  healthChecks: {
    name: "health_checks",
    unit: "{check}",
    description: "Health checks that ended, by result.",
    label: {
      name: "result",
      attribute: "bulkman.health_check.result",
      values: ["passed", "failed"],
    },
  },
} satisfies Record<string, Metric>;

export type CounterName = keyof typeof COUNTERS;

export const COUNTER_NAMES = Object.keys(COUNTERS) as readonly CounterName[];

/** One value for each counter. */
export function byCounter<T>(create: (name: CounterName) => T): Record<CounterName, T> {
  return {
    calls: create("calls"),
    rejections: create("rejections"),
    wouldBeRejections: create("wouldBeRejections"),
    transitions: create("transitions"),
    reclaimedPermits: create("reclaimedPermits"),
    storageErrors: create("storageErrors"),
    healthChecks: create("healthChecks"),
  };
}

/** The label values of a metric; one that is empty for a metric without a label. */
export function labelValuesOf({ label }: Metric): readonly string[] {
  return label?.values ?? [NO_LABEL];
}

/** Instead of a label value, for the only series of a metric without a label. */
export const NO_LABEL = "";

export const EXECUTION_DURATION = {
  name: "execution.duration",
  unit: "s",
  description: "How long functions of ended calls ran, until their callers were told; by outcome.",
  label: OUTCOME,
} satisfies Metric;

export const WAIT_DURATION = {
  name: "wait.duration",
  unit: "s",
  description: "How long started calls had waited for their permit.",
} satisfies Metric;

/** Upper bounds of the histograms in seconds: those of OpenTelemetry for the duration of requests. */
export const DURATION_BUCKETS: readonly number[] = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];

export interface GaugeMetric extends Metric {
  /** The value of a bulkhead. */
  read(stats: BulkheadStats, labelValue: string): number;
  /** The value for bulkheads of the same name. Default: the sum. */
  readonly combine?: (one: number, other: number) => number;
}

export const GAUGES: readonly GaugeMetric[] = [
  {
    name: "active_calls",
    unit: "{call}",
    description: "Calls that run now and whose caller still waits for them.",
    read: ({ activeTasks }) => activeTasks,
  },
  {
    name: "waiting_calls",
    unit: "{call}",
    description: "Calls that wait for a permit now.",
    read: ({ queuedTasks }) => queuedTasks,
  },
  {
    name: "abandoned_calls",
    unit: "{call}",
    description: "Functions that run on, and hold a permit, after their caller was told the end.",
    read: ({ abandonedTasks }) => abandonedTasks,
  },
  {
    name: "concurrency.limit",
    unit: "{call}",
    description: "How many functions may run at once.",
    read: ({ maxConcurrentCalls }) => maxConcurrentCalls,
  },
  {
    name: "queue.limit",
    unit: "{call}",
    description: "How many calls may wait for a permit.",
    read: ({ maxQueueSize }) => maxQueueSize,
  },
  {
    name: "fleet.limit",
    unit: "{call}",
    description: "How many functions may run at once in the whole fleet; 0 without such a limit.",
    read: ({ fleet }) => fleet?.limit ?? 0,
    combine: Math.max,
  },
  {
    name: "fleet.permits",
    unit: "{call}",
    description: "How many permits of the fleet's limit are held here; 0 without such a limit.",
    read: ({ fleet }) => fleet?.permits ?? 0,
  },
  {
    name: "state",
    unit: "{bulkhead}",
    description: "1 for the state that the bulkhead is in, 0 for the others.",
    label: {
      name: "state",
      attribute: "bulkman.bulkhead.state",
      values: Object.values(BulkheadState),
    },
    read: ({ state }, value) => Number(state === value),
  },
  {
    name: "circuit.state",
    unit: "{circuit}",
    description:
      "1 for the state that the circuit is in, 0 for the others, and for all when it is switched off.",
    label: {
      name: "state",
      attribute: "bulkman.circuit.state",
      values: Object.values(CIRCUIT_STATES),
    },
    read: ({ circuitStatus }, value) =>
      Number(circuitStatus !== undefined && CIRCUIT_STATES[circuitStatus] === value),
  },
  {
    name: "circuit.opened_timestamp",
    unit: "s",
    description: "When the circuit opened last, in seconds of the Unix epoch; 0 when it never did.",
    read: ({ openedAt }) => (openedAt?.getTime() ?? 0) / 1000,
    combine: Math.max,
  },
  {
    name: "retry_after",
    unit: "s",
    description: "Seconds until the circuit admits a call at the latest; 0 while it is closed.",
    read: ({ retryAfterSeconds }) => retryAfterSeconds,
    combine: Math.max,
  },
];

/** The values of a gauge for bulkheads of one name, by the values of its label; 0 without a bulkhead. */
export function* readGauge(
  gauge: GaugeMetric,
  bulkheads: readonly BulkheadStats[],
): Iterable<[labelValue: string, value: number]> {
  const { combine = (one, other) => one + other } = gauge;
  for (const labelValue of labelValuesOf(gauge)) {
    let value = 0;
    for (const stats of bulkheads) value = combine(value, gauge.read(stats, labelValue));
    yield [labelValue, value];
  }
}
