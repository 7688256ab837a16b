import { createServer, get, type Server } from "node:http";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { Registry } from "prom-client";
import type { Bulkhead, BulkheadManager, BulkheadStats } from "../../src/index.js";
import { instrumentBulkheads } from "../../src/metrics/opentelemetry.js";
import { collectBulkheads } from "../../src/metrics/prometheus.js";
import { type Page, readPage } from "./exposition.js";

/**
 * Values by metric, bulkhead and label, as `calls{api,success}`, with the names of OpenTelemetry. Of a
 * histogram it is the count, and none when it is 0.
 */
export type Figures = Record<string, number>;

/** One way in which figures leave the process, with everything real that they pass on their way. */
export interface Reporter {
  add(source: Bulkhead | BulkheadManager): () => void;
  read(): Promise<Figures>;
  stop(): Promise<void>;
}

/**
 * What a metric has to show of a bulkhead that was never reset, and that has emitted none of the events of which
 * `getStats()` knows nothing: then {@link countEvents} has the rest.
 */
export function expectedOf(...all: readonly BulkheadStats[]): Figures {
  const figures: Figures = {};
  for (const stats of all) {
    const { name, failedExecutions, rejections } = stats;
    const { timedOutExecutions, abortedExecutions, ignoredExecutions } = stats;
    const failures = failedExecutions - timedOutExecutions - abortedExecutions - ignoredExecutions;
    const add = (metric: string, value: number, label?: string) => {
      figures[keyOf(metric, name, label)] = value;
    };
    for (const metric of ["calls", "execution.duration"]) {
      add(metric, stats.successfulExecutions, "success");
      add(metric, failures, "failure");
      add(metric, timedOutExecutions, "timeout");
      add(metric, abortedExecutions, "aborted");
      add(metric, ignoredExecutions, "ignored");
    }
    add("wait.duration", stats.successfulExecutions + failedExecutions);
    for (const [metric, counts] of [
      ["rejections", rejections],
      ["would_be_rejections", stats.wouldReject],
    ] as const) {
      for (const [reason, count] of Object.entries(counts)) {
        add(metric, count, reason === "circuitOpen" ? "circuit_open" : reason);
      }
    }
    add("circuit.transitions", stats.openings, "open");
    add("circuit.transitions", 0, "half_open");
    add("circuit.transitions", 0, "closed");
    add("reclaimed_permits", 0);
    add("storage.errors", 0);
    add("health_checks", 0, "passed");
    add("health_checks", 0, "failed");
    add("active_calls", stats.activeTasks);
    add("waiting_calls", stats.queuedTasks);
    add("abandoned_calls", stats.abandonedTasks);
    add("concurrency.limit", stats.maxConcurrentCalls);
    add("queue.limit", stats.maxQueueSize);
    add("fleet.limit", stats.fleet?.limit ?? 0);
    add("fleet.permits", stats.fleet?.permits ?? 0);
    for (const state of ["healthy", "degraded", "isolated", "failed"]) {
      add("state", Number(stats.state === state), state);
    }
    for (const state of ["CLOSED", "OPEN", "HALF_OPEN"]) {
      add("circuit.state", Number(stats.circuitStatus === state), state.toLowerCase());
    }
    add("circuit.opened_timestamp", (stats.openedAt?.getTime() ?? 0) / 1000);
    add("retry_after", stats.retryAfterSeconds);
  }
  return comparable(figures);
}

/** Counts the events of a bulkhead of which `getStats()` knows nothing. */
export function countEvents(bulkhead: Bulkhead): Figures {
  const { name } = bulkhead;
  const figures: Figures = {};
  const count = (metric: string, label?: string) => {
    const key = keyOf(metric, name, label);
    figures[key] = (figures[key] ?? 0) + 1;
  };
  bulkhead.on("stateChange", ({ to }) => count("circuit.transitions", to.toLowerCase()));
  bulkhead.on("reclaimed", ({ settled }) => {
    if (!settled) count("reclaimed_permits");
  });
  bulkhead.on("storageError", () => count("storage.errors"));
  bulkhead.on("healthCheck", ({ healthy }) =>
    count("health_checks", healthy ? "passed" : "failed"),
  );
  return figures;
}

/** OpenTelemetry with its SDK and an exporter that keeps what it is given. */
export function inMemory(temporality = AggregationTemporality.CUMULATIVE): Reporter & {
  collect(): Promise<MetricData[]>;
  readonly meterProvider: MeterProvider;
} {
  const exporter = new InMemoryMetricExporter(temporality);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 30 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  const collect = async () => {
    exporter.reset();
    await reader.forceFlush();
    return exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics));
  };
  return {
    meterProvider,
    collect,
    add: (source) => instrumentBulkheads(source, { meterProvider }),
    read: async () => figuresOf(await collect()),
    stop: () => meterProvider.shutdown(),
  };
}

/** OpenTelemetry with its SDK and its Prometheus exporter, over HTTP. */
async function prometheusExporter(): Promise<Reporter & { scrape(): Promise<string> }> {
  const exporter = new PrometheusExporter({ port: 0, host: "127.0.0.1", preventServerStart: true });
  const server = createServer((request, response) => {
    exporter.getMetricsRequestHandler(request, response);
  });
  const meterProvider = new MeterProvider({ readers: [exporter] });
  const url = await listen(server);
  const scrape = async () => (await request(url)).body;
  return {
    scrape,
    add: (source) => instrumentBulkheads(source, { meterProvider }),
    read: async () => {
      const page = await scrape();
      return page.endsWith("# no registered metrics") ? {} : figuresOn(readPage(page));
    },
    stop: async () => {
      await meterProvider.shutdown();
      await close(server);
    },
  };
}

/** prom-client, over HTTP. */
export async function promClient(
  register: Registry | Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE> = new Registry(),
): Promise<Reporter & { scrape(): Promise<{ type: string; body: string }> }> {
  const server = createServer(async (_, response) => {
    response.setHeader("content-type", register.contentType);
    response.end(await register.metrics());
  });
  const url = await listen(server);
  const scrape = () => request(url);
  return {
    scrape,
    add: (source) => collectBulkheads(source, { register }),
    read: async () => figuresOn(readPage((await scrape()).body)),
    stop: () => close(server),
  };
}

export const REPORTERS: ReadonlyArray<{ name: string; start(): Reporter | Promise<Reporter> }> = [
  { name: "OpenTelemetry, in memory", start: inMemory },
  { name: "OpenTelemetry, Prometheus exporter", start: prometheusExporter },
  { name: "prom-client", start: promClient },
];

function figuresOf(metrics: readonly MetricData[]): Figures {
  const figures: Figures = {};
  for (const { descriptor, dataPointType, dataPoints } of metrics) {
    const metric = descriptor.name.replace("bulkman.bulkhead.", "");
    for (const { attributes, value } of dataPoints) {
      const { "bulkman.bulkhead.name": name, ...others } = attributes;
      const key = keyOf(metric, String(name), ...Object.values(others).map(String));
      if (typeof value === "number") figures[key] = value;
      else if (dataPointType === DataPointType.HISTOGRAM) figures[key] = value.count;
    }
  }
  return comparable(figures);
}

function figuresOn({ families, samples }: Page): Figures {
  const figures: Figures = {};
  for (const { family, name, labels, value } of samples) {
    const isHistogram = families.get(family)?.type === "histogram";
    if (!family.startsWith("bulkman_") || (isHistogram && !name.endsWith("_count"))) continue;
    const metric = family
      .replace(/^bulkman_bulkhead_/, "")
      .replace(/_(total|seconds)$/, "")
      .replace(/(?<!fleet)_(limit|duration)$/, ".$1")
      .replace(/^(circuit|fleet|storage)_/, "$1.");
    const { bulkhead, bulkman_bulkhead_name = bulkhead, otel_scope_name: _, ...others } = labels;
    figures[keyOf(metric, String(bulkman_bulkhead_name), ...Object.values(others))] = value;
  }
  return comparable(figures);
}

function keyOf(metric: string, ...labels: ReadonlyArray<string | undefined>): string {
  return `${metric}{${labels.filter((label) => label !== undefined).join()}}`;
}

/** Without empty histograms, and with whole minutes of what goes down between two readings. */
function comparable(figures: Figures): Figures {
  return Object.fromEntries(
    Object.entries(figures)
      .filter(([key, value]) => value > 0 || !/^\w+\.duration/.test(key))
      .map(([key, value]) => [key, key.startsWith("retry_after") ? Math.ceil(value / 60) : value]),
  );
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return `http://127.0.0.1:${address.port}/metrics`;
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

function request(url: string): Promise<{ type: string; body: string }> {
  return new Promise((resolve, reject) => {
    get(url, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text) => {
        body += text;
      });
      response.on("end", () => resolve({ type: response.headers["content-type"] ?? "", body }));
    }).on("error", reject);
  });
}
