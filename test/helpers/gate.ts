/** A promise that a test settles when it likes. */
export interface Gate<T> {
  readonly promise: Promise<T>;
  readonly open: (value: T) => void;
  readonly fail: (error: unknown) => void;
}

export function gate<T = void>(): Gate<T> {
  let open: (value: T) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const promise = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

/**
 * Lets every call start that finds a permit free: p-limit opens its lane within a few microtasks. Works
 * under fake timers too.
 */
export async function started(): Promise<void> {
  for (let n = 0; n < 100; n++) await undefined;
}

/** Lets everything run that is ready to run: all microtasks and one turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
