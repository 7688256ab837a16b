type OnAbort = () => void;

/** Those that a signal may abort: it gets one listener, however many they are. */
class Watchers extends Map<object, OnAbort> {
  readonly onAbort = () => {
    for (const onAbort of [...this.values()]) onAbort();
  };
}

const watchersOf = new WeakMap<AbortSignal, Watchers>();

/** Calls back once for `owner` when the signal is aborted, until {@link unwatchSignal}. */
export function watchSignal(signal: AbortSignal, owner: object, onAbort: OnAbort): void {
  let watchers = watchersOf.get(signal);
  if (watchers === undefined) {
    watchers = new Watchers();
    watchersOf.set(signal, watchers);
    signal.addEventListener("abort", watchers.onAbort);
  }
  watchers.set(owner, onAbort);
}

export function unwatchSignal(signal: AbortSignal, owner: object): void {
  const watchers = watchersOf.get(signal);
  if (!watchers?.delete(owner) || watchers.size > 0) return;
  watchersOf.delete(signal);
  signal.removeEventListener("abort", watchers.onAbort);
}
