import { format } from "../common/validation.js";
import { BulkheadManager } from "../manager.js";
import { callerOf } from "./caller.js";
import { Exchange } from "./exchange.js";
import { IdleBodies } from "./idle-bodies.js";
import { Origin, Origins } from "./origins.js";
import type { Base, DispatchOptions } from "./protocol.js";
import { Relay } from "./relay.js";
import { type GuardInterceptorOptions, type GuardSettings, originOf } from "./settings.js";

/** What `guardDispatcher` and `guardInterceptor` share: it dispatches requests over any base, each with its permit. */
export class Guard {
  /** Made here, and to be shut down here; `undefined` when the user gave one. */
  readonly ownManager: BulkheadManager | undefined;
  readonly #settings: GuardSettings;
  readonly #origins: Origins;
  readonly #key: GuardInterceptorOptions["key"];

  constructor(options: GuardInterceptorOptions) {
    const { key, isFailure, releaseAt, bodyIdleSeconds = 60 } = options;
    const manager = options.manager ?? new BulkheadManager();
    this.ownManager = options.manager === undefined ? manager : undefined;
    this.#origins = new Origins(manager, options);
    this.#key = key;
    this.#settings = {
      isFailure,
      releaseAt: releaseAt ?? "end",
      retryAfterMaxSeconds: options.retryAfterMaxSeconds ?? 60,
      idleBodies: bodyIdleSeconds === null ? undefined : new IdleBodies(bodyIdleSeconds * 1000),
    };
  }

  /** Dispatches a request over the base. */
  dispatch(base: Base, options: DispatchOptions, handler: object): boolean {
    const caller = isObject(handler) ? callerOf(handler) : undefined;
    // The base says what is wrong with them.
    if (caller === undefined || !isObject(options)) return base.dispatch(options, handler);
    let origin: Origin | Promise<unknown> | undefined;
    try {
      origin = this.#originOf(options, base.origin);
      if (handler instanceof Exchange && origin instanceof Origin) refuseTwice(handler, origin);
    } catch (error) {
      caller.error(error);
      return true;
    }
    if (origin === undefined) return base.dispatch(options, new Relay(caller, base));
    if (origin instanceof Origin) {
      new Exchange(caller, origin, options, base, this.#settings).begin();
    } else {
      origin.catch((error: unknown) => caller.error(error));
    }
    return true;
  }

  /** @returns `undefined` for a request that is not guarded */
  #originOf(options: DispatchOptions, baseOrigin: unknown): Origin | Promise<unknown> | undefined {
    const { origin } = options;
    // Nearly always it is one that fetch or request has parsed.
    const text = typeof origin === "string" ? origin : undefined;
    if (this.#key === undefined) {
      const known = text === undefined ? undefined : this.#origins.find(text);
      return known ?? this.#origins.get(requireOrigin(origin, baseOrigin));
    }
    const { path = "", method = "GET" } = options;
    const key: unknown = this.#key({ origin: requireOrigin(origin, baseOrigin), path, method });
    if (key === null) return undefined;
    if (typeof key !== "string") {
      throw new TypeError(`key must return a string or null; it returned ${format(key)}`);
    }
    return this.#origins.get(key);
  }
}

/** A client of one origin takes any text for it, such as a host: that is its name then. */
function requireOrigin(given: unknown, baseOrigin: unknown): string {
  for (const origin of [given, baseOrigin]) {
    const parsed =
      typeof origin === "string" || origin instanceof URL ? originOf(origin) : undefined;
    if (parsed !== undefined) return parsed;
  }
  if (typeof given === "string" && given !== "") return given;
  throw new TypeError(
    `origin of a request must be one such as "https://api.example.com"; got ${format(given)}`,
  );
}

function refuseTwice(outer: Exchange, { bulkhead }: Origin): void {
  if (outer.bulkhead !== bulkhead) return;
  throw new TypeError(
    `A request of bulkhead ${format(bulkhead.name)} is guarded twice; it would wait for its own permit`,
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
