import type { Bulkhead } from "./bulkhead.js";
import type { AnyFunction, ArgsOf, ResultOf, ThisOf } from "./common/function-types.js";
import { format, readFields } from "./common/validation.js";
import { notAFunction } from "./rejections.js";

/** What {@link withBulkhead} returns: wraps a function, or decorates a method. */
export interface BulkheadWrapper {
  <This, A extends unknown[], R>(
    fn: (this: This, ...args: A) => R,
  ): (this: This, ...args: A) => Promise<Awaited<R>>;
  <This, A extends unknown[], R>(
    method: (this: This, ...args: A) => R,
    context: ClassMethodDecoratorContext<This>,
  ): (this: This, ...args: A) => Promise<Awaited<R>>;
  /** Takes a function whose type is a union, too. */
  <F extends AnyFunction>(fn: F): (this: ThisOf<F>, ...args: ArgsOf<F>) => Promise<ResultOf<F>>;
}

/** Options of {@link withBulkhead}. */
export interface WithBulkheadOptions {
  /**
   * What the functions reject with when the wrapped one throws:
   * - `"wrapped"`: a {@link BulkheadError} whose `cause` is what was thrown
   * - `"original"`: what was thrown, as with `bulkhead.call()`, so that code that looks at `error.code` goes on working
   * @default "wrapped"
   */
  errors?: "wrapped" | "original" | undefined;
}

const RULES = {
  errors: {
    description: '"wrapped" or "original"',
    hasType: (value: unknown) => typeof value === "string",
    inRange: (value: string) => value === "wrapped" || value === "original",
  },
};

/**
 * Wraps functions so that they run in the bulkhead: with the same parameters and `this`, resolving with the
 * function's value and rejecting with a {@link BulkheadError} on any failure.
 *
 * Also a standard (TC39) method decorator.
 * @example
 * const query = withBulkhead(bulkhead)(async (sql: string) => pool.query(sql));
 * class Api { @withBulkhead(bulkhead) async get(id: string) { … } }
 * @throws {TypeError} for something that is not a function, or a class member that is not a method
 * @throws {RangeError} for an unknown value of an option
 */
export function withBulkhead(
  bulkhead: Pick<Bulkhead, "execute">,
  options?: { errors?: "wrapped" | undefined },
): BulkheadWrapper;
/** Rejects with what the function threw when `errors` is `"original"`. */
export function withBulkhead(
  bulkhead: Pick<Bulkhead, "execute" | "call">,
  options: WithBulkheadOptions,
): BulkheadWrapper;
export function withBulkhead(
  bulkhead: Pick<Bulkhead, "execute"> & Partial<Pick<Bulkhead, "call">>,
  options: WithBulkheadOptions = {},
): BulkheadWrapper {
  const { errors } = readFields("options", options, RULES);
  // By its shape and not by its class, since a program can have both builds of this library loaded.
  const method = errors === "original" ? "call" : "execute";
  if (typeof bulkhead !== "object" || typeof bulkhead?.[method] !== "function") {
    throw new TypeError(`withBulkhead takes a Bulkhead; got ${format(bulkhead)}`);
  }
  return <This, A extends unknown[], R>(
    fn: (this: This, ...args: A) => R,
    context?: ClassMethodDecoratorContext<This>,
  ) => {
    if (typeof context === "string" || typeof context === "symbol") {
      throw new TypeError("withBulkhead is a standard decorator; got a call in the legacy form");
    }
    if (typeof fn !== "function") throw notAFunction("The function of withBulkhead", fn);
    if (typeof context === "object" && context !== null && context.kind !== "method") {
      throw new TypeError(`withBulkhead decorates methods only; got a ${context.kind}`);
    }
    return namedLike(fn, async function (this: This, ...args: A): Promise<Awaited<R>> {
      const bound = (...given: A): R => Reflect.apply(fn, this, given);
      if (method === "call" && bulkhead.call !== undefined) return bulkhead.call(bound, ...args);
      const outcome = await bulkhead.execute(bound, ...args);
      if (outcome.success) return outcome.result;
      throw outcome.error;
    });
  };
}

/** `wrapper` with the name and length of `fn`, so that stack traces and frameworks still know it. */
function namedLike<F extends AnyFunction>(fn: AnyFunction, wrapper: F): F {
  const { name, length } = fn;
  return Object.defineProperties(wrapper, {
    name: { value: name, configurable: true },
    length: { value: length, configurable: true },
  });
}
