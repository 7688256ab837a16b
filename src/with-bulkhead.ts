import type { Bulkhead } from "./bulkhead.js";
import type { AnyFunction, ArgsOf, ResultOf, ThisOf } from "./common/function-types.js";
import { show } from "./config.js";
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

/**
 * Makes functions that run in the bulkhead: with the same parameters and `this`, resolving with the
 * function's value and rejecting with a {@link BulkheadError} on any failure.
 *
 * Also a standard (TC39) method decorator.
 * @example
 * const query = withBulkhead(bulkhead)(async (sql: string) => pool.query(sql));
 * class Api { @withBulkhead(bulkhead) async get(id: string) { … } }
 * @throws {TypeError} for something that is not a function, or a class member that is not a method
 */
export function withBulkhead(bulkhead: Pick<Bulkhead, "execute">): BulkheadWrapper {
  // By its shape and not by its class, since a program can have both builds of this library loaded.
  if (typeof bulkhead !== "object" || typeof bulkhead?.execute !== "function") {
    throw new TypeError(`withBulkhead takes a Bulkhead; got ${show(bulkhead)}`);
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
