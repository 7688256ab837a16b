import { globalDispatcher } from "./global-dispatcher.js";
import { Guard } from "./guard.js";
import { type AnyDispatch, type AnyDispatcher, Base, type Dispatch } from "./protocol.js";
import {
  type GuardDispatcherOptions,
  type GuardInterceptorOptions,
  readDispatcherOptions,
  readInterceptorOptions,
} from "./settings.js";

export type { AnyDispatch, AnyDispatcher, Dispatch, HeaderFields } from "./protocol.js";
export type {
  GuardDispatcherOptions,
  GuardInterceptorOptions,
  KeyedRequest,
  ListedOrigin,
  OriginConfig,
  ResponseHead,
} from "./settings.js";

/** What `fetch` of the program takes as its `dispatcher`. */
export type FetchDispatcher = RequestInit extends {
  /** As the types of Node.js have it. */
  dispatcher?: infer D;
}
  ? NonNullable<D> & AnyDispatcher
  : AnyDispatcher;

/** An interceptor for `compose` of a dispatcher. */
export type GuardInterceptor = (dispatch: AnyDispatch, origin?: unknown) => Dispatch;

/** Has a dispatcher that is a guard, also under the proxies that `compose` puts around it. */
const IS_GUARD = Symbol.for("bulkman.isGuard");

/**
 * A dispatcher around another one, for `fetch`, `setGlobalDispatcher` and all else that takes a dispatcher of undici: each
 * origin gets a bulkhead. A request holds its permit from before its connection until the body of its response has ended.
 *
 * It has everything else that the other dispatcher has. `close()` waits for the requests that are under way, and
 * `destroy()` aborts them, when the guard has a manager of its own; the other dispatcher is left open.
 *
 * A rejected request fails with the `BulkheadError`: `fetch` has it as the `cause` of its `TypeError`.
 * @throws {TypeError} for a wrong type, an unknown field, and a dispatcher that is a guard
 * @throws {RangeError} for a value out of range
 * @example await fetch(url, { dispatcher: guardDispatcher({ defaults: { maxConcurrentCalls: 20 } }) });
 */
export function guardDispatcher<D extends AnyDispatcher = FetchDispatcher>(
  options: GuardDispatcherOptions<D> = {},
): D {
  const read = readDispatcherOptions(options);
  const base = read.dispatcher ?? globalDispatcher();
  if (Reflect.get(base, IS_GUARD) === true) {
    throw new TypeError(
      "dispatcher must not be a guard itself: its requests would need two permits",
    );
  }
  const guard = new Guard(read);
  const target: { dispatch(options: object, handler: object): unknown } = base;
  const over = new Base((request, handler) => target.dispatch(request, handler) !== false);
  const own: Readonly<Record<string | symbol, unknown>> = {
    dispatch: (request: object, handler: object) => guard.dispatch(over, request, handler),
    close: (callback?: unknown) =>
      callBack(guard.ownManager?.shutdown({ drainSeconds: FOREVER }), callback),
    destroy: (error?: unknown, callback: unknown = error) =>
      callBack(guard.ownManager?.shutdown({ drainSeconds: 0 }), callback),
    [IS_GUARD]: true,
  };
  // As `compose` of undici does it: whatever else a dispatcher has, this one has, too.
  return new Proxy(base, {
    get: (target, key) => (Object.hasOwn(own, key) ? own[key] : Reflect.get(target, key)),
  }) as D;
}

/**
 * An interceptor that does what {@link guardDispatcher} does, for `compose` of undici 6, 7 and 8. Interceptors that are
 * composed after it are outside: a retry needs a permit for each try, and what a cache has needs none.
 * @throws the errors of {@link guardDispatcher}
 * @example const agent = new Agent().compose(guardInterceptor({ manager }), interceptors.retry());
 */
export function guardInterceptor(options: GuardInterceptorOptions = {}): GuardInterceptor {
  const guard = new Guard(readInterceptorOptions(options));
  const guarded = new WeakSet<object>();
  return (dispatch: AnyDispatch, origin?: unknown): Dispatch => {
    if (guarded.has(dispatch)) throw new TypeError("A guard must not be composed with itself");
    const base: { dispatch(options: object, handler: object): unknown } = { dispatch };
    const over = new Base((request, handler) => base.dispatch(request, handler) !== false, origin);
    // undici looks at how many parameters it has.
    const guardedDispatch: Dispatch = (request, handler) => guard.dispatch(over, request, handler);
    guarded.add(guardedDispatch);
    return guardedDispatch;
  };
}

/** The longest drain that a timer holds: 24 days. */
const FOREVER = 2_147_483;

/** `close` and `destroy` of undici return a promise, or call back. */
function callBack(
  done: Promise<void> = Promise.resolve(),
  callback: unknown,
): Promise<void> | void {
  if (typeof callback !== "function") return done;
  void done.then(() => callback(null, null));
}
