// The package has no types of its own.
declare module "opossum-prometheus" {
  class PrometheusMetrics {
    constructor(options: { circuits: unknown[] });
    readonly metrics: Promise<string> | string;
    clear(): void;
  }
  export = PrometheusMetrics;
}
