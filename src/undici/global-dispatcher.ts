import type { AnyDispatcher } from "./protocol.js";

/** Where the `fetch` of Node.js 20 to 24 finds its dispatcher, and where that of 26 does, which has undici 8. */
const KEYS = {
  old: Symbol.for("undici.globalDispatcher.1"),
  new: Symbol.for("undici.globalDispatcher.2"),
};

/**
 * The dispatcher that `fetch` uses now.
 * @throws {TypeError} this runtime has none
 */
export function globalDispatcher(): AnyDispatcher {
  // Node.js loads its undici, which makes the dispatcher, when this is read for the first time.
  void globalThis.Response;
  const major = Number.parseInt(process.versions["undici"] ?? "", 10);
  const dispatcher: unknown = Reflect.get(globalThis, major >= 8 ? KEYS.new : KEYS.old);
  if (isDispatcher(dispatcher)) return dispatcher;
  throw new TypeError(
    "dispatcher must be given, such as an Agent of undici: this runtime has no global one",
  );
}

export function isDispatcher(value: unknown): value is AnyDispatcher {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof Reflect.get(value, "dispatch") === "function"
  );
}
