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

const CIRCUIT_STATES: Readonly<Record<CircuitStatus, string>> = {
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

/** One value for each reason of a rejection. */
export function byReason<T>(create: (labelValue: string) => T): Record<RejectionReason, T> {
  return {
    full: create(REASONS.full),
    circuitOpen: create(REASONS.circuitOpen),
    timeout: create(REASONS.timeout),
    aborted: create(REASONS.aborted),
    isolated: create(REASONS.isolated),
    shutdown: create(REASONS.shutdown),
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
  labelValue?: string,
): Record<string, string> {
  const labels = { [BULKHEAD[key]]: bulkhead };
  if (label !== undefined && labelValue !== undefined) labels[label[key]] = labelValue;
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

export const CALLS = {
  name: "calls",
  unit: "{call}",
  description: "Calls that were started and have ended, by outcome.",
  label: OUTCOME,
} satisfies Metric;

export const REJECTIONS = {
  name: "rejections",
  unit: "{call}",
  description: "Calls that never started, by reason.",
  label: {
    name: "reason",
    attribute: "bulkman.rejection.reason",
    values: Object.values(REASONS),
  },
} satisfies Metric;

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
  /** The value of a bulkhead. Values of bulkheads of the same name are added up. */
  read(stats: BulkheadStats, labelValue: string | undefined): number;
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
];

/** The values of a gauge for bulkheads of one name, by the values of its label. */
export function* readGauge(
  gauge: GaugeMetric,
  bulkheads: readonly BulkheadStats[],
): Iterable<[labelValue: string | undefined, value: number]> {
  for (const labelValue of gauge.label?.values ?? [undefined]) {
    let sum = 0;
    for (const stats of bulkheads) sum += gauge.read(stats, labelValue);
    yield [labelValue, sum];
  }
}
