import { unref } from "./clock.js";

export interface TimeoutOptions {
  readonly limitMs: number;
  /** Creates what the promise rejects with when the time is over. */
  readonly error: () => Error;
  /** Whether the timer keeps the process alive: without it, a program that awaits the answer may just end. */
  readonly holdsProcess: boolean;
}

/** Resolves to the answer, or rejects when it takes longer than `limitMs`. What was asked goes on. */
export async function withTimeout<T>(
  answer: PromiseLike<T>,
  { limitMs, error, holdsProcess }: TimeoutOptions,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(error()), limitMs);
    if (!holdsProcess) unref(timer);
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
