import { describeThrown } from "./common/describe.js";

/** What every error of this library accepts besides its message. */
export interface BulkheadErrorOptions {
  /** What led to the error, such as the value that a function threw. Default: none. */
  cause?: unknown;
  /** Name of the bulkhead that rejected, cut or wrapped the call. Default: `""`. */
  bulkheadName?: string;
  /** Stable identifier for programs. Default: the one of the class. */
  code?: string;
}

/** Options of a {@link BulkheadTimeoutError}. */
export interface BulkheadTimeoutErrorOptions extends BulkheadErrorOptions {
  /** Whether the call waited for a permit or its function ran. Default: `"running"`. */
  phase?: "waiting" | "running";
  /** Seconds that the call waited for a permit, at least 0. Default: 0. */
  queuedSeconds?: number;
}

/** Options of a {@link BulkheadFullError}. */
export interface BulkheadFullErrorOptions extends BulkheadErrorOptions {
  /** Seconds until a call has probably room, at least 0. Default: 0. */
  retryAfterSeconds?: number;
}

/** Options of a {@link BulkheadCircuitOpenError}. */
export interface BulkheadCircuitOpenErrorOptions extends BulkheadErrorOptions {
  /** Seconds until the circuit lets a probe through, at least 0. Default: 0. */
  retryAfterSeconds?: number;
}

/**
 * Base of every error that this library makes. By itself it wraps what a protected function threw:
 * the message starts with `Execution failed: ` and `cause` is the thrown value, untouched.
 * Those that a bulkhead makes for calls have no stack frames, except with `NODE_DEBUG=bulkman` in the environment;
 * what was thrown keeps its own, in `cause`.
 */
export class BulkheadError extends Error {
  /** The `code` of errors of this class. */
  static readonly code: string = "ERR_BULKHEAD";
  /** Stable identifier for programs: `ERR_BULKHEAD`, `ERR_BULKHEAD_FULL`, … */
  readonly code: string;
  /** Name of the bulkhead that rejected, cut or wrapped the call. */
  readonly bulkheadName: string;

  constructor(message: string, options: BulkheadErrorOptions = {}) {
    super(message, options);
    this.bulkheadName = options.bulkheadName ?? "";
    this.code = options.code ?? new.target.code;
  }
}

/** The bulkhead was isolated with `isolate()`; calls are rejected until `release()`. */
export class BulkheadIsolationError extends BulkheadError {
  static override readonly code = "ERR_BULKHEAD_ISOLATION";
}

/** The call's `timeoutSeconds` passed, while it waited for a permit or while its function ran. */
export class BulkheadTimeoutError extends BulkheadError {
  static override readonly code = "ERR_BULKHEAD_TIMEOUT";
  /** Whether the call waited for a permit or its function ran. A function that waited was never called. */
  readonly phase: "waiting" | "running";
  /** Seconds that the call waited for a permit, at least 0. */
  readonly queuedSeconds: number;

  constructor(message: string, options: BulkheadTimeoutErrorOptions = {}) {
    super(message, options);
    this.phase = options.phase ?? "running";
    this.queuedSeconds = options.queuedSeconds ?? 0;
  }
}

/**
 * Every permit and every place in the queue is taken, or the call has waited for longer than
 * `queueTargetSeconds` allow.
 */
export class BulkheadFullError extends BulkheadError {
  static override readonly code = "ERR_BULKHEAD_FULL";
  /**
   * Seconds until the calls that are queued now have probably started, at least 0: the length of the queue times the
   * typical run time, over the permits. 0 until ten calls have succeeded.
   */
  readonly retryAfterSeconds: number;

  constructor(message: string, options: BulkheadFullErrorOptions = {}) {
    super(message, options);
    this.retryAfterSeconds = options.retryAfterSeconds ?? 0;
  }
}

/**
 * The circuit is open, or half-open with every probe under way. Its `cause` is the failure that opened the
 * circuit in this process; it has none when another process, a person or the storage opened it.
 */
export class BulkheadCircuitOpenError extends BulkheadError {
  static override readonly code = "ERR_BULKHEAD_CIRCUIT_OPEN";
  /**
   * Seconds after which a call may be admitted, at least 0: the rest of the isolation, or of the lease of
   * the probes that are under way.
   */
  readonly retryAfterSeconds: number;

  constructor(message: string, options: BulkheadCircuitOpenErrorOptions = {}) {
    super(message, options);
    this.retryAfterSeconds = options.retryAfterSeconds ?? 0;
  }
}

/** The bulkhead was shut down before the call could start, or while it was being drained. */
export class BulkheadShutdownError extends BulkheadError {
  static override readonly code = "ERR_BULKHEAD_SHUTDOWN";
}

/** What the errors of a class have in every copy of this library. A subclass of the user's own has no mark. */
const marks = new WeakMap<typeof BulkheadError, symbol>();

// On the prototypes, so that the first line of a stack has the name; spelled out for minifiers.
for (const [name, type] of Object.entries({
  BulkheadError,
  BulkheadIsolationError,
  BulkheadTimeoutError,
  BulkheadFullError,
  BulkheadCircuitOpenError,
  BulkheadShutdownError,
})) {
  type.prototype.name = name;
  const mark = Symbol.for(`bulkman.${name}`);
  marks.set(type, mark);
  Object.defineProperty(type.prototype, mark, { value: true });
}

Object.defineProperty(BulkheadError, Symbol.hasInstance, {
  /** `instanceof`, also for the errors of another copy of this library, such as its CommonJS build. */
  value(this: typeof BulkheadError, value: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this, value)) return true;
    const mark = marks.get(this);
    return mark !== undefined && hasMark(value, mark);
  },
});

function hasMark(value: unknown, mark: symbol): boolean {
  if (typeof value !== "object" || value === null) return false;
  try {
    return Reflect.get(value, mark) === true;
  } catch {
    // A Proxy whose trap throws.
    return false;
  }
}

/** With `NODE_DEBUG=bulkman` in the environment when the program starts, errors keep their stack frames. */
export const KEEPS_FRAMES =
  process.env["NODE_DEBUG"] !== undefined &&
  process.getBuiltinModule("node:util").debuglog("bulkman").enabled;

/**
 * Makes an error without stack frames, unless they are asked for. Those of a rejection, a timeout or a wrapped failure lie within this
 * library, and collecting them is most of what a rejection costs, when rejections come by the thousand.
 */
export function withoutFrames<T>(make: () => T): T {
  if (KEEPS_FRAMES) return make();
  const { stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = 0;
  } catch {
    // Frozen intrinsics: then with frames.
    return make();
  }
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/**
 * Adds to an error with which a call is rejected later, by a timer or another call, where the call was made: its own
 * frames do not lead there.
 * @returns `reject` that does so
 */
export function withOrigin(reject: (error: unknown) => void): (error: unknown) => void {
  const { stack = "" } = new Error();
  return (error) => {
    if (isInstance(error, BulkheadError)) {
      // Not by assignment: a program can have frozen an error of its own bulkhead.
      Reflect.set(
        error,
        "stack",
        `${error.stack}\nThe call was made${stack.slice(stack.indexOf("\n"))}`,
      );
    }
    reject(error);
  };
}

const REJECTIONS: ReadonlySet<unknown> = new Set([
  BulkheadFullError.code,
  BulkheadCircuitOpenError.code,
  BulkheadIsolationError.code,
  BulkheadShutdownError.code,
]);

/** How many errors around a rejection are looked through. */
const MAX_DEPTH = 3;

/**
 * Whether a function threw the rejection of a bulkhead that it called, or an error with one as its `cause`, such as the
 * `TypeError` of a `fetch` whose dispatcher is guarded, or an `AggregateError` of nothing but these, such as that of
 * `Promise.any`: then the dependency was never asked.
 * By its code, since a program can have both builds of this library loaded.
 */
export function isRejection(thrown: unknown): boolean {
  try {
    return containsRejection(thrown, MAX_DEPTH);
  } catch {
    // A Proxy whose trap throws, or a field that cannot be read.
    return false;
  }
}

function containsRejection(thrown: unknown, maxDepth: number): boolean {
  let error = thrown;
  for (let depth = maxDepth; depth >= 0 && error instanceof Error; depth--) {
    const { code, phase } = error as { code?: unknown; phase?: unknown };
    if (REJECTIONS.has(code)) return true;
    if (code === BulkheadTimeoutError.code && phase === "waiting") return true;
    if (error instanceof AggregateError && areRejections(error.errors, depth - 1)) return true;
    error = error.cause;
  }
  return false;
}

function areRejections(errors: unknown, maxDepth: number): boolean {
  if (!Array.isArray(errors) || errors.length === 0) return false;
  return errors.every((error) => containsRejection(error, maxDepth));
}

/** Wraps what a protected function threw, unless it is a {@link BulkheadError} already. */
export function toBulkheadError(thrown: unknown, bulkheadName: string): BulkheadError {
  if (isInstance(thrown, BulkheadError)) return thrown;
  const message = `Execution failed: ${describeThrown(thrown)}`;
  return withoutFrames(() => new BulkheadError(message, { bulkheadName, cause: thrown }));
}

/** `instanceof`, also for a Proxy whose trap throws. */
function isInstance<T>(value: unknown, type: abstract new (...args: never) => T): value is T {
  try {
    return value instanceof type;
  } catch {
    return false;
  }
}
