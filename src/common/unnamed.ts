/**
 * Where a manager has the names of bulkheads that get no series of their own: a guard of HTTP requests makes bulkheads for
 * origins that are not listed, and OpenTelemetry never forgets a name. The same in both builds of this library.
 */
const UNNAMED: unique symbol = Symbol.for("bulkman.unnamed");

/** The names of a manager, which are made for the first that asks. */
export function unnamedOf(manager: object): Set<string> {
  const known: unknown = Reflect.get(manager, UNNAMED);
  if (known instanceof Set) return known;
  const names = new Set<string>();
  Object.defineProperty(manager, UNNAMED, { value: names });
  return names;
}

/** Whether the bulkhead of that name gets no series of its own. */
export function isUnnamed(manager: object, name: string): boolean {
  const known: unknown = Reflect.get(manager, UNNAMED);
  return known instanceof Set && known.has(name);
}
