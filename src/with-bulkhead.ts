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
  /** A legacy decorator, of `experimentalDecorators`: the method has to return a promise, as the decorated one does. */
  <F extends AnyFunction>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<F>,
  ): TypedPropertyDescriptor<
    Promise<ResultOf<F>> extends ReturnType<F> ? F : (...args: never) => Promise<ResultOf<F>>
  >;
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
 * Also a method decorator: a standard (TC39) one, and a legacy one (`experimentalDecorators`, as NestJS has it), which
 * keeps the metadata that `reflect-metadata` has for the method's function.
 * @example
 * const query = withBulkhead(bulkhead)(async (sql: string) => pool.query(sql));
 * class Api { @withBulkhead(bulkhead) async get(id: string) { … } }
 * @throws {TypeError} for something that is not a function, or for a class member that is not a method
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
  const wrap: Wrap = (fn) => {
    if (typeof fn !== "function") throw notAFunction("The function of withBulkhead", fn);
    return namedLike(fn, async function (this: unknown, ...args: unknown[]): Promise<unknown> {
      const bound = (...given: unknown[]): unknown => Reflect.apply(fn, this, given);
      if (method === "call" && bulkhead.call !== undefined) return bulkhead.call(bound, ...args);
      const outcome = await bulkhead.execute(bound, ...args);
      if (outcome.success) return outcome.result;
      throw outcome.error;
    });
  };
  // The cast: a signature for three forms has no return type that suits each of them.
  return ((
    target: AnyFunction,
    context?: unknown,
    descriptor?: PropertyDescriptor | number,
  ): unknown => {
    if (typeof context === "string" || typeof context === "symbol") {
      return decorateLegacy(wrap, context, descriptor);
    }
    rejectOtherMembers(context, descriptor);
    return wrap(target);
  }) as BulkheadWrapper;
}

type Wrap = (fn: AnyFunction) => AnyFunction;

function rejectOtherMembers(context: unknown, descriptor: unknown): void {
  // A legacy decorator of a constructor's parameter gets its index, and no key.
  if (context === undefined && typeof descriptor === "number") {
    throw notAMethod("a parameter of the constructor");
  }
  // The index that `functions.map(wrapper)` passes is no context.
  if (typeof context === "object" && context !== null && "kind" in context) {
    if (context.kind !== "method") throw notAMethod(`a member of the kind ${format(context.kind)}`);
  }
}

/** Changes the descriptor, too: what combines decorators, such as Nest's `applyDecorators`, drops what they return. */
function decorateLegacy(
  wrap: Wrap,
  key: string | symbol,
  descriptor: PropertyDescriptor | number | undefined,
): PropertyDescriptor {
  if (descriptor === undefined) throw notAMethod(`the property ${format(key)}`);
  if (typeof descriptor === "number") throw notAMethod(`a parameter of ${format(key)}`);
  if (descriptor?.get || descriptor?.set) throw notAMethod(`the accessor ${format(key)}`);
  const method: unknown = descriptor?.value;
  if (!isFunction(method)) throw notAFunction(`The member ${format(key)}`, method);
  const wrapper = wrap(method);
  copyMetadata(method, wrapper);
  descriptor.value = wrapper;
  return descriptor;
}

/** What `reflect-metadata` adds to `Reflect`. */
interface MetadataOfReflect {
  getOwnMetadataKeys(target: object): unknown[];
  getOwnMetadata(key: unknown, target: object): unknown;
  defineMetadata(key: unknown, value: unknown, target: object): void;
}

/** Nest, for one, keeps there what the decorators below this one have said of the method, and finds a route by it. */
function copyMetadata(from: object, to: object): void {
  const reflect: object & Partial<MetadataOfReflect> = Reflect;
  for (const key of reflect.getOwnMetadataKeys?.(from) ?? []) {
    reflect.defineMetadata?.(key, reflect.getOwnMetadata?.(key, from), to);
  }
}

function notAMethod(member: string): TypeError {
  return new TypeError(`withBulkhead decorates methods only; got ${member}`);
}

function isFunction(value: unknown): value is AnyFunction {
  return typeof value === "function";
}

/** `wrapper` with the name and length of `fn`, so that stack traces and frameworks still know it. */
function namedLike<F extends AnyFunction>(fn: AnyFunction, wrapper: F): F {
  const { name, length } = fn;
  return Object.defineProperties(wrapper, {
    name: { value: name, configurable: true },
    length: { value: length, configurable: true },
  });
}
