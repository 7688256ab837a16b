import type { HealthCheckContext } from "./config.js";

export interface HealthCheckOptions {
  readonly check: (context: HealthCheckContext) => unknown;
  readonly intervalMs: number;
  /** A check that takes longer fails. `null`: it may take for ever. */
  readonly timeoutMs: number | null;
  /** `error` is why the check failed; `null` when it passed. Must not throw. */
  readonly onVerdict: (healthy: boolean, error: unknown) => void;
}

/** Runs a check at an interval, never two at a time, on a timer that does not keep the process alive. */
export class HealthCheck {
  readonly #options: HealthCheckOptions;
  readonly #timer: NodeJS.Timeout;
  #running: AbortController | undefined = undefined;
  #timeout: NodeJS.Timeout | undefined = undefined;

  constructor(options: HealthCheckOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      if (this.#running === undefined) void this.#run();
    }, options.intervalMs);
    this.#timer.unref();
  }

  /** No check starts after this, and the verdict of a running one is not told any more. */
  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#timeout);
    this.#running?.abort();
  }

  async #run(): Promise<void> {
    const { check, timeoutMs, onVerdict } = this.#options;
    const controller = new AbortController();
    const { signal } = controller;
    this.#running = controller;
    const tell = (healthy: boolean, error: unknown) => {
      if (!signal.aborted) onVerdict(healthy, error);
    };
    if (timeoutMs !== null) {
      this.#timeout = setTimeout(() => {
        const error = new Error(`The health check took longer than ${timeoutMs / 1000} s`);
        tell(false, error);
        controller.abort(error);
      }, timeoutMs).unref();
    }
    try {
      const returned = await check({ signal });
      if (returned === false) tell(false, new Error("The health check returned false"));
      else tell(true, null);
    } catch (error) {
      tell(false, error);
    } finally {
      clearTimeout(this.#timeout);
      this.#running = undefined;
    }
  }
}
