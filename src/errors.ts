import { inspect } from "node:util";

/** What every error of this library accepts besides its message. */
export interface BulkheadErrorOptions extends ErrorOptions {
  /** Name of the bulkhead that refused, cut or wrapped the call. Default: `""`. */
  bulkheadName?: string;
  /** Stable identifier for programs. Default: the one of the class. */
  code?: string;
}

/** Options of a {@link BulkheadCircuitOpenError}. */
export interface BulkheadCircuitOpenErrorOptions extends BulkheadErrorOptions {
  /** Seconds until the circuit lets a probe through, at least 0. Default: 0. */
  retryAfterSeconds?: number;
}

/**
 * Base of every error that this library makes. By itself it wraps what a protected function threw:
 * the message starts with `Execution failed: ` and `cause` is the thrown value, untouched.
 */
export class BulkheadError extends Error {
  /** Stable identifier for programs: `ERR_BULKHEAD`, `ERR_BULKHEAD_FULL`, … */
  readonly code: string;
  /** Name of the bulkhead that refused, cut or wrapped the call. */
  readonly bulkheadName: string;

  constructor(message: string, options: BulkheadErrorOptions = {}) {
    const { bulkheadName = "", code = "ERR_BULKHEAD", ...errorOptions } = options;
    super(message, errorOptions);
    this.bulkheadName = bulkheadName;
    this.code = code;
  }

  static {
    // On the prototype, so that the stack's first line has it.
    BulkheadError.prototype.name = "BulkheadError";
  }
}

/** The bulkhead was isolated by hand with `isolate()`; calls are refused until `release()`. */
export class BulkheadIsolationError extends BulkheadError {
  constructor(message: string, options: BulkheadErrorOptions = {}) {
    super(message, { code: "ERR_BULKHEAD_ISOLATION", ...options });
  }

  static {
    BulkheadIsolationError.prototype.name = "BulkheadIsolationError";
  }
}

/** The call's `timeoutSeconds` passed, while it waited for a permit or while its function ran. */
export class BulkheadTimeoutError extends BulkheadError {
  constructor(message: string, options: BulkheadErrorOptions = {}) {
    super(message, { code: "ERR_BULKHEAD_TIMEOUT", ...options });
  }

  static {
    BulkheadTimeoutError.prototype.name = "BulkheadTimeoutError";
  }
}

/** Every permit is taken and every place in the waiting line too. */
export class BulkheadFullError extends BulkheadError {
  constructor(message: string, options: BulkheadErrorOptions = {}) {
    super(message, { code: "ERR_BULKHEAD_FULL", ...options });
  }

  static {
    BulkheadFullError.prototype.name = "BulkheadFullError";
  }
}

/** The circuit is open, or half-open with every probe under way. */
export class BulkheadCircuitOpenError extends BulkheadError {
  /**
   * Seconds until the circuit lets a probe through, at least 0. It is 0 while probes are under way
   * in this process, because their verdict can come at any moment.
   */
  readonly retryAfterSeconds: number;

  constructor(
    message: string,
    { retryAfterSeconds = 0, ...options }: BulkheadCircuitOpenErrorOptions = {},
  ) {
    super(message, { code: "ERR_BULKHEAD_CIRCUIT_OPEN", ...options });
    this.retryAfterSeconds = retryAfterSeconds;
  }

  static {
    BulkheadCircuitOpenError.prototype.name = "BulkheadCircuitOpenError";
  }
}

/** The bulkhead was shut down before the call could start, or while it was being drained. */
export class BulkheadShutdownError extends BulkheadError {
  constructor(message: string, options: BulkheadErrorOptions = {}) {
    super(message, { code: "ERR_BULKHEAD_SHUTDOWN", ...options });
  }

  static {
    BulkheadShutdownError.prototype.name = "BulkheadShutdownError";
  }
}

/** Wraps what a protected function threw, unless it is a {@link BulkheadError} already. */
export function toBulkheadError(thrown: unknown, bulkheadName: string): BulkheadError {
  if (thrown instanceof BulkheadError) return thrown;
  return new BulkheadError(`Execution failed: ${describeThrown(thrown)}`, {
    bulkheadName,
    cause: thrown,
  });
}

/** A thrown value in words. Whatever was thrown, this does not throw. */
export function describeThrown(thrown: unknown): string {
  try {
    if (thrown instanceof Error && thrown.message !== "") return String(thrown.message);
    if (typeof thrown === "string") return thrown;
    return inspect(thrown, { depth: 0, breakLength: Number.POSITIVE_INFINITY });
  } catch {
    return `a ${typeof thrown} that cannot be printed`;
  }
}
