import { Buffer } from "node:buffer";
import type { HeaderFields, RawHeaders } from "./protocol.js";

/** The headers of an answer, in the form in which they came and, when it is asked for, in the other one. */
export class Headers {
  readonly #given: unknown;
  #raw: RawHeaders | undefined;
  #fields: HeaderFields | undefined;

  /**
   * @param given names and values in turns; with HTTP/2 an object, which is what undici calls raw there
   * @param fields the same, parsed, if the base has done that
   */
  constructor(given: unknown, fields: HeaderFields | undefined) {
    this.#given = given;
    this.#raw = Array.isArray(given) ? given : undefined;
    this.#fields = fields;
    if (fields === undefined && this.#raw === undefined) this.#fields = Object(given);
  }

  /** What a controller of undici calls raw: as the base gave it. */
  get given(): unknown {
    return this.#given ?? this.raw;
  }

  get raw(): RawHeaders {
    this.#raw ??= toRaw(this.#fields ?? {});
    return this.#raw;
  }

  /** As the caller of a request gets them. */
  get fields(): HeaderFields {
    this.#fields ??= parse(this.#raw ?? []);
    return this.#fields;
  }

  /** By their names in lower case, also when the base parsed them. */
  get byName(): HeaderFields {
    return lowerCase(this.fields);
  }
}

function parse(raw: RawHeaders): HeaderFields {
  const fields: HeaderFields = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = text(raw[i]).toLowerCase();
    const value = raw[i + 1];
    const more = Array.isArray(value) ? value.map(text) : text(value);
    const known = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (known !== undefined) setField(fields, name, [known, more].flat());
    else setField(fields, name, more);
  }
  return fields;
}

/** A header may have any name, also that of a setter of every object. */
function setField(fields: HeaderFields, name: string, value: string | string[]): void {
  if (name !== "__proto__") fields[name] = value;
  else Object.defineProperty(fields, name, { value, ...PLAIN });
}

const PLAIN = { enumerable: true, configurable: true, writable: true };

function toRaw(fields: HeaderFields): RawHeaders {
  const raw: Uint8Array[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    for (const each of Array.isArray(value) ? value : [value]) {
      raw.push(Buffer.from(name, "latin1"), Buffer.from(String(each), "latin1"));
    }
  }
  return raw;
}

/** undici's own fields have names in lower case; those of a mock, or of a base that is not undici's, need not. */
function lowerCase(fields: HeaderFields): HeaderFields {
  if (Object.keys(fields).every((name) => name === name.toLowerCase())) return fields;
  return parse(toRaw(fields));
}

/** HTTP's bytes are latin1: whatever they are, each is one character. */
function text(value: unknown): string {
  if (typeof value === "string") return value;
  if (!(value instanceof Uint8Array)) return String(value);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1");
}
