/** How deep the error with the code may lie, such as the `ECONNREFUSED` within what `fetch` rejects with. */
const MAX_DEPTH = 4;
/** Code points. */
const MAX_LENGTH = 255;
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu;

/** Name and code of a failure. */
export interface FailureName {
  /** Its `name`; its type when it is no object; `null` for `undefined`. */
  readonly failure: string | null;
  /** Its `code`, or else that of the error that caused it; `null` without one. */
  readonly code: string | null;
}

/**
 * Names a failure without its message, which can hold secrets: each text is one line of up to 255 characters. Never
 * throws, whatever was thrown.
 */
export function nameFailure(thrown: unknown): FailureName {
  if (thrown === undefined) return { failure: null, code: null };
  if (!isObject(thrown)) return { failure: typeof thrown, code: null };
  return { failure: oneLine(read(thrown, "name")) ?? "Error", code: codeOf(thrown) };
}

function codeOf(thrown: object): string | null {
  let error: unknown = thrown;
  for (let depth = 0; depth < MAX_DEPTH && isObject(error); depth++) {
    const code = oneLine(read(error, "code"));
    if (code !== null) return code;
    error = read(error, "cause");
  }
  return null;
}

function oneLine(text: unknown): string | null {
  if (typeof text !== "string" && typeof text !== "number") return null;
  // First cut by units: a text of any length costs the same.
  const line = String(text)
    .slice(0, 4 * MAX_LENGTH)
    .replace(UNPRINTABLE, " ")
    .trim();
  return line === "" ? null : [...line].slice(0, MAX_LENGTH).join("");
}

function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

/** A property; `undefined` when its getter throws. */
function read(object: object, key: string): unknown {
  try {
    return Reflect.get(object, key);
  } catch {
    return undefined;
  }
}
