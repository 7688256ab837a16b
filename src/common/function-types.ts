/** A function, whatever its parameters are. */
// biome-ignore lint/suspicious/noExplicitAny: arguments are the function's own business
export type AnyFunction = (...args: any[]) => unknown;

// For functions whose type is a union of functions, from which TypeScript infers no result, such as
// `((id: string) => Promise<string>) | ((id: string) => string)`.

/** The arguments that suit each of the functions. */
export type ArgsOf<F extends AnyFunction> = [CommonArgs<F>] extends [never]
  ? CommonArgs<Padded<F>> & { length: Parameters<F>["length"] }
  : CommonArgs<F>;

/** `never` when they take different numbers of arguments. */
type CommonArgs<F extends AnyFunction> = [F] extends [
  (...args: infer A extends unknown[]) => unknown,
]
  ? A
  : never;

/** The functions as they are when they are called with more arguments than they take. */
type Padded<F extends AnyFunction> = F extends (...args: infer A) => unknown
  ? (...args: [...A, ...unknown[]]) => unknown
  : never;

/** The `this` that suits each of the functions. */
export type ThisOf<F extends AnyFunction> = [F] extends [
  // biome-ignore lint/suspicious/noExplicitAny: whatever the arguments are
  (this: infer This, ...args: any[]) => unknown,
]
  ? This
  : never;

/** What one of the functions returns, or its promise resolves with. */
export type ResultOf<F extends AnyFunction> = Awaited<ReturnType<F>>;
