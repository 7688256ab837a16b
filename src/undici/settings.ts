import { Bulkhead } from "../bulkhead.js";
import {
  FUNCTION,
  format,
  integerFrom,
  orNull,
  POSITIVE_SECONDS,
  type Rule,
  readFields,
  SECONDS,
} from "../common/validation.js";
import type { BulkheadConfig } from "../config.js";
import type { BulkheadManager } from "../manager.js";
import { isDispatcher } from "./global-dispatcher.js";
import type { IdleBodies } from "./idle-bodies.js";
import type { AnyDispatcher, HeaderFields } from "./protocol.js";

/**
 * How the bulkhead of an origin behaves. `timeoutSeconds` covers waiting, connecting, the upload and the wait for the
 * final headers. How responses are judged is the guard's `isFailure`, so there is no `classify` and no `errorFilter`.
 */
export type OriginConfig = Omit<BulkheadConfig, "name" | "classify" | "errorFilter">;

/** An origin that is listed: with a name of its own, if it is to have one. */
export interface ListedOrigin extends OriginConfig {
  /** Name of its bulkhead. 1 to 255 characters. @default the origin */
  name?: string | undefined;
}

/** The request that a `key` is asked for. */
export interface KeyedRequest {
  /** Such as `https://payments.internal`. */
  readonly origin: string;
  /** With the query. */
  readonly path: string;
  /** Such as `GET`. */
  readonly method: string;
}

/** The head of a response, to be judged. */
export interface ResponseHead {
  /** 200 to 599. */
  readonly statusCode: number;
  /** Names in lower case; a list when a header came more than once. */
  readonly headers: HeaderFields;
}

/** How requests are guarded. */
export interface GuardInterceptorOptions {
  /** Has the bulkheads. @default one of the guard's own */
  manager?: BulkheadManager | undefined;
  /** Of every bulkhead that the guard makes. @default the defaults of a bulkhead */
  defaults?: OriginConfig | undefined;
  /**
   * Origins with a configuration of their own, over `defaults`. Their bulkheads use the storage of the manager; those of
   * other origins never do.
   * @example { "https://payments.internal": { name: "payments", maxConcurrentCalls: 8 } }
   */
  origins?: Readonly<Record<string, ListedOrigin>> | undefined;
  /**
   * What has a bulkhead of its own: the origin, unless this returns something else. `null`: the request is not guarded.
   * It is synchronous.
   * @default ({ origin }) => origin
   */
  key?: ((request: KeyedRequest) => string | null) | undefined;
  /**
   * Whether a final response is a failure of its origin; it is one for its circuit only, and the caller gets the
   * response. Synchronous; a fault in it is reported once, and the default holds.
   * @default ({ statusCode }) => statusCode >= 500
   */
  isFailure?: ((response: ResponseHead) => boolean) | undefined;
  /** When the permit is returned: with the end of the body, or with the final headers. @default "end" */
  releaseAt?: "end" | "headers" | undefined;
  /**
   * Seconds that a body may stall, by its server or its reader, before its request is aborted. > 0, or `null`: never.
   * @default 60
   */
  bodyIdleSeconds?: number | null | undefined;
  /**
   * The longest `Retry-After` of a response of status 429 or 503 that opens the circuit for as long. Seconds, ≥ 0; 0:
   * the header is ignored. A circuit takes an hour at most.
   * @default 60
   */
  retryAfterMaxSeconds?: number | undefined;
  /**
   * How many bulkheads of origins that are not listed there may be. At this number those are removed at which nothing
   * runs or waits, whose circuit is closed, and which are not isolated. Integer ≥ 1.
   * @default 1000
   */
  maxOrigins?: number | undefined;
}

/** Options of `guardDispatcher`. */
export interface GuardDispatcherOptions<D extends AnyDispatcher = AnyDispatcher>
  extends GuardInterceptorOptions {
  /** What sends the requests, such as an `Agent` of undici. @default the one that `fetch` of Node.js uses now */
  dispatcher?: D | undefined;
}

/** What one dispatch has to know of its guard. */
export interface GuardSettings {
  readonly isFailure: GuardInterceptorOptions["isFailure"];
  readonly releaseAt: "end" | "headers";
  readonly retryAfterMaxSeconds: number;
  /** `undefined`: bodies may stall. */
  readonly idleBodies: IdleBodies | undefined;
}

const OBJECT: Rule = {
  description: "an object",
  hasType: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  inRange: () => true,
};

const INTERCEPTOR_RULES: { readonly [Field in keyof GuardInterceptorOptions]-?: Rule } = {
  manager: {
    description: "a BulkheadManager",
    hasType: isManager,
    inRange: () => true,
  },
  defaults: OBJECT,
  origins: OBJECT,
  key: FUNCTION,
  isFailure: FUNCTION,
  releaseAt: {
    description: '"end" or "headers"',
    hasType: (value) => typeof value === "string",
    inRange: (value: string) => value === "end" || value === "headers",
  },
  bodyIdleSeconds: orNull(POSITIVE_SECONDS),
  retryAfterMaxSeconds: SECONDS,
  maxOrigins: integerFrom(1),
};

const DISPATCHER_RULES: { readonly [Field in keyof GuardDispatcherOptions]-?: Rule } = {
  ...INTERCEPTOR_RULES,
  dispatcher: {
    description: "a dispatcher, with the method dispatch",
    hasType: isDispatcher,
    inRange: () => true,
  },
};

/** @throws {TypeError | RangeError} for a wrong value or an unknown field */
export function readInterceptorOptions(options: GuardInterceptorOptions): GuardInterceptorOptions {
  return checkConfigs(readFields("options", options, INTERCEPTOR_RULES));
}

/** @throws {TypeError | RangeError} for a wrong value or an unknown field */
export function readDispatcherOptions(options: GuardDispatcherOptions): GuardDispatcherOptions {
  return checkConfigs(readFields("options", options, DISPATCHER_RULES));
}

function checkConfigs<T extends GuardInterceptorOptions>(options: T): T {
  const { defaults = {}, origins = {} } = options;
  if (Object.hasOwn(defaults, "name")) {
    throw new TypeError("defaults must have no name: each origin has its own");
  }
  checkConfig("defaults", "defaults", defaults);
  const keys = new Map<string, string>();
  for (const [key, config] of Object.entries(origins)) {
    const what = `origins[${format(key)}]`;
    if (!OBJECT.hasType(config))
      throw new TypeError(`${what} must be an object; got ${format(config)}`);
    if (options.key === undefined) checkOrigin(key);
    const { name = key, ...own } = config;
    checkConfig(what, name, { ...defaults, ...own });
    const other = keys.get(name);
    if (other !== undefined) {
      throw new TypeError(
        `${what} must have a name of its own; ${format(name)} is that of ${other}, too`,
      );
    }
    keys.set(name, what);
  }
  return options;
}

/** Without a `key` what is listed must be an origin, or its configuration would never be used. */
function checkOrigin(key: string): void {
  const origin = originOf(key);
  const url = URL.canParse(key) ? new URL(key) : undefined;
  if (origin !== undefined && url?.href === `${origin}/`) return;
  const hint = origin === undefined ? "" : `; did you mean ${format(origin)}?`;
  throw new TypeError(
    `origins must have origins as keys, such as "https://api.example.com"; got ${format(key)}${hint}`,
  );
}

/** The origin of a URL, as `fetch` has it; `undefined` when it has none. */
export function originOf(url: string | URL): string | undefined {
  if (typeof url === "string" && !URL.canParse(url)) return undefined;
  const { origin } = new URL(url);
  return origin === "null" ? undefined : origin;
}

/** By making a bulkhead of it, which is shut down before it does anything. */
function checkConfig(what: string, name: string, config: OriginConfig): void {
  for (const field of ["classify", "errorFilter"]) {
    if (Reflect.get(config, field) === undefined) continue;
    throw new TypeError(`${what} must have no ${field}: the guard's isFailure judges responses`);
  }
  // One that only watches asks for no permits of a fleet, and needs no storage for them.
  const { enforce = true } = config;
  try {
    void new Bulkhead({ ...config, name, enforce: enforce === true ? false : enforce }).shutdown();
  } catch (error) {
    if (error instanceof Error) error.message = `${what}: ${error.message}`;
    throw error;
  }
}

/** By its shape, because a program can have both builds of this library loaded. */
function isManager(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return ["createBulkhead", "getBulkhead", "removeBulkhead", "shutdown"].every(
    (method) => typeof Reflect.get(value, method) === "function",
  );
}
