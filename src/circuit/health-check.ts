import { now, unref } from "../common/clock.js";
import type { Deadline } from "../common/deadline.js";
import { Deadlines } from "../common/deadlines.js";
import type { HealthCheckContext, ResolvedBulkheadConfig } from "../config.js";

export interface HealthCheckOptions {
  readonly check: (context: HealthCheckContext) => unknown;
  readonly intervalMs: number;
  /** A check that takes longer fails. `null`: it may take for ever. */
  readonly timeoutMs: number | null;
  /** `error` is why the check failed; `null` when it passed. Must not throw. */
  readonly onVerdict: (healthy: boolean, error: unknown) => void;
}

const FIELDS = ["healthCheck", "healthCheckInterval", "timeoutSeconds"] as const;

/** Whether a health check that was started with one configuration serves the other. */
export function hasSameHealthCheck(
  one: ResolvedBulkheadConfig,
  other: ResolvedBulkheadConfig,
): boolean {
  return FIELDS.every((field) => one[field] === other[field]);
}

/** Starts the health check that is configured, if one is. */
export function startHealthCheck(
  { healthCheck: check, healthCheckInterval, timeoutSeconds }: ResolvedBulkheadConfig,
  onVerdict: HealthCheckOptions["onVerdict"],
): HealthCheck | undefined {
  if (check === undefined) return undefined;
  return new HealthCheck({
    check,
    intervalMs: healthCheckInterval * 1000,
    timeoutMs: timeoutSeconds === null ? null : timeoutSeconds * 1000,
    onVerdict,
  });
}

/** One run of a check. */
interface Run {
  readonly controller: AbortController;
  deadline: Deadline<Run> | undefined;
  /** How many intervals have begun since it started. */
  intervals: number;
}

/** Runs a check at an interval, never two at a time, on a timer that does not keep the process alive. */
export class HealthCheck {
  readonly #options: HealthCheckOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #deadlines = new Deadlines<Run>((run) => this.#expire(run), { holdsProcess: false });
  #running: Run | undefined = undefined;

  constructor(options: HealthCheckOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#onInterval(), options.intervalMs);
    unref(this.#timer);
  }

  /** No check starts after this, and a running one reports no verdict. */
  stop(): void {
    clearInterval(this.#timer);
    if (this.#running === undefined) return;
    this.#endLimit(this.#running);
    this.#running.controller.abort();
  }

  #onInterval(): void {
    const run = this.#running;
    if (run === undefined) {
      void this.#run();
      return;
    }
    run.intervals++;
    // The deadline is lost when a test faked timers while the check started, and has ended since.
    const { intervalMs, timeoutMs } = this.#options;
    if (timeoutMs !== null && (run.intervals - 1) * intervalMs > timeoutMs) this.#expire(run);
  }

  async #run(): Promise<void> {
    const { check, timeoutMs } = this.#options;
    const controller = new AbortController();
    const run: Run = { controller, deadline: undefined, intervals: 0 };
    this.#running = run;
    if (timeoutMs !== null) run.deadline = this.#deadlines.set(run, now(), timeoutMs);
    try {
      const returned = await check({ signal: controller.signal });
      if (returned === false)
        this.#report(run, false, new Error("The health check returned false"));
      else this.#report(run, true, null);
    } catch (error) {
      this.#report(run, false, error);
    } finally {
      this.#endLimit(run);
      this.#running = undefined;
    }
  }

  #expire(run: Run): void {
    const seconds = Number(this.#options.timeoutMs) / 1000;
    const error = new Error(`The health check took longer than ${seconds} s`);
    this.#report(run, false, error);
    run.controller.abort(error);
  }

  /** Reports the verdict, at most once. */
  #report({ controller }: Run, healthy: boolean, error: unknown): void {
    if (!controller.signal.aborted) this.#options.onVerdict(healthy, error);
  }

  #endLimit({ deadline }: Run): void {
    if (deadline !== undefined) this.#deadlines.clear(deadline);
  }
}
