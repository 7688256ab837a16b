import { isNativeError } from "node:util/types";

/** How many errors within an error are described, and how deep they may lie. */
const MAX_INNER = 3;
const MAX_DEPTH = 3;

const LINE_BREAK = /[\n\r\u2028\u2029]/;
/** A line of a stack, like that of an error within an object. */
const FRAME = /\n {4,}at [^\n]*/g;

/** Describes a thrown value on one line. Never throws, whatever was thrown. */
export function describeThrown(thrown: unknown): string {
  return typeof thrown === "string" ? oneLine(thrown) : describe(thrown, 0);
}

/** Formats any value on one line, as in code. Never throws. */
export function describeValue(value: unknown): string {
  if (isError(value)) return describeError(value);
  try {
    const options = { depth: 0, maxStringLength: 1000, breakLength: Number.POSITIVE_INFINITY };
    // Not imported: on Node 24 that takes as long as the rest of the library.
    const { inspect } = process.getBuiltinModule("node:util");
    return oneLine(inspect(value, options).replaceAll(FRAME, ""));
  } catch {
    return `a value of type ${typeof value} that cannot be printed`;
  }
}

/** The kind of a value, for messages that must not show it. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** The name of an error, on one line; the type of what was thrown when it is no error. Never throws. */
export function typeName(thrown: unknown): string {
  return isError(thrown) ? nameOf(thrown) : typeof thrown;
}

/** The `code` of what was thrown, on one line, if it is a text or a number. Never throws. */
export function codeOf(thrown: unknown): string | number | null {
  const code = typeof thrown === "object" && thrown !== null ? read(thrown, "code") : undefined;
  if (typeof code === "string") return oneLine(code);
  return typeof code === "number" ? code : null;
}

function describeError(error: object): string {
  const name = nameOf(error);
  const described = describe(error, 0);
  return described.startsWith(name) ? `[${described}]` : `[${name}: ${described}]`;
}

/** The text without line breaks, and without the white space around them. */
export function oneLine(text: string): string {
  if (!LINE_BREAK.test(text)) return text;
  return text
    .split(LINE_BREAK)
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join(" ");
}

/** By its message; without one by its name, its code and the errors within. Never by its stack. */
function describe(thrown: unknown, depth: number): string {
  if (!isError(thrown)) return describeValue(thrown);
  const message = oneLine(textOf(thrown, "message"));
  if (message !== "") return message;
  const name = nameOf(thrown);
  const code = oneLine(textOf(thrown, "code"));
  const inner = depth < MAX_DEPTH ? describeInner(thrown, depth + 1) : "";
  return `${name}${code && ` ${code}`}${inner && `: ${inner}`}`;
}

function nameOf(error: object): string {
  return oneLine(textOf(error, "name")) || "Error";
}

function describeInner(error: object, depth: number): string {
  const errors = read(error, "errors");
  const cause = read(error, "cause");
  if (Array.isArray(errors) && errors.length > 0) {
    const described = errors.slice(0, MAX_INNER).map((each) => describe(each, depth));
    const more = errors.length - described.length;
    return [...described, ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
  }
  return isError(cause) ? describe(cause, depth) : "";
}

/** Also for an error of another realm, such as Jest's, and for a Proxy that does not say its prototype. */
function isError(value: unknown): value is object {
  try {
    return value instanceof Error || isNativeError(value);
  } catch {
    return false;
  }
}

/** A property if it is text, else `""`. */
function textOf(error: object, key: "message" | "name" | "code"): string {
  const value = read(error, key);
  if (key === "code" && typeof value !== "string" && typeof value !== "number") return "";
  try {
    return value === undefined || value === null ? "" : String(value);
  } catch {
    return "";
  }
}

/** A property; `undefined` when its getter throws. */
function read(error: object, key: string): unknown {
  try {
    return Reflect.get(error, key);
  } catch {
    return undefined;
  }
}
