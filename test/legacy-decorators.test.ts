import "reflect-metadata";
import { applyDecorators } from "@nestjs/common";
import { transformSync } from "esbuild";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { Bulkhead, BulkheadError, withBulkhead } from "../src/index.js";

// Decorators as TypeScript's `experimentalDecorators` calls them: (prototype, key, descriptor). The tests are
// compiled with standard decorators, so these classes are compiled here, by both compilers that are in use.

const COMPILERS = {
  TypeScript: (code: string) =>
    ts.transpileModule(code, {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.CommonJS,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
      },
    }).outputText,
  esbuild: (code: string) =>
    transformSync(code, {
      loader: "ts",
      format: "cjs",
      target: "es2022",
      tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
    }).code,
};

const DEFINITIONS = Object.entries(COMPILERS).map(([compiler, compile]) => {
  /** Runs the code with these names in scope, and returns what it exports. */
  const define = <T>(code: string, scope: Record<string, unknown> = {}): T => {
    const names = { withBulkhead, ...scope };
    const module = { exports: {} };
    new Function("module", "exports", ...Object.keys(names), compile(code))(
      module,
      module.exports,
      ...Object.values(names),
    );
    return module.exports as T;
  };
  return { compiler, define };
});

interface Users {
  get(id: string): Promise<string>;
}

function api(): Bulkhead {
  return new Bulkhead({ name: "api" });
}

/** A decorator of another library: keeps a value on the method's function, as those of Nest do. */
const keep = (key: string, value: unknown) => (_: object, _name: string, given: unknown) => {
  Reflect.defineMetadata(key, value, (given as PropertyDescriptor).value);
};

describe.each(DEFINITIONS)("a legacy decorator compiled by $compiler", ({ define }) => {
  const classOf = (code: string, scope: Record<string, unknown>) =>
    define<{ Api: new (base: string) => Users }>(
      `export class Api { constructor(base) { this.base = base; } ${code} }`,
      scope,
    ).Api;

  it("runs the method in the bulkhead, with its parameters and its object", async () => {
    const bulkhead = api();
    const code = `@withBulkhead(bulkhead) async get(id: string) { return this.base + id; }`;
    const Api = classOf(code, { bulkhead });
    const [one, other] = [new Api("/a/"), new Api("/b/")];
    expect(await Promise.all([one.get("1"), other.get("2")])).toEqual(["/a/1", "/b/2"]);
    expect(bulkhead.getStats().successfulExecutions).toBe(2);
  });

  it("keeps name and length of the method, and leaves it on the prototype, not enumerable", () => {
    const code = `@withBulkhead(bulkhead) async get(id: string, depth = 1) { return id; }`;
    const { prototype } = classOf(code, { bulkhead: api() });
    const descriptor = Object.getOwnPropertyDescriptor(prototype, "get");
    expect(descriptor).toMatchObject({ enumerable: false, writable: true, configurable: true });
    const { name, length } = descriptor?.value ?? {};
    expect({ name, length }).toEqual({ name: "get", length: 1 });
  });

  it("decorates static methods", async () => {
    const bulkhead = api();
    const { Api } = define<{ Api: { count(n: number): Promise<number> } }>(
      `export class Api { static by = 2; @withBulkhead(bulkhead) static async count(n: number) { return n * this.by; } }`,
      { bulkhead },
    );
    expect(await Api.count(2)).toBe(4);
    expect(bulkhead.getStats().successfulExecutions).toBe(1);
  });

  it("decorates methods whose name is a symbol", async () => {
    const bulkhead = api();
    const find = Symbol("find");
    const { Api } = define<{ Api: new () => { [find](): Promise<string> } }>(
      `export class Api { @withBulkhead(bulkhead) async [find]() { return "found"; } }`,
      { bulkhead, find },
    );
    expect(await new Api()[find]()).toBe("found");
    expect(bulkhead.getStats().successfulExecutions).toBe(1);
  });

  it("keeps inheritance and super", async () => {
    const { Admins } = define<{ Admins: new () => Users }>(
      `class Api { @withBulkhead(bulkhead) async get(id) { return "user " + id; } }
       export class Admins extends Api { async get(id) { return (await super.get(id)) + "!"; } }`,
      { bulkhead: api() },
    );
    expect(await new Admins().get("1")).toBe("user 1!");
  });

  it("rejects with a BulkheadError, or with what the method threw", async () => {
    const thrown = Object.assign(new Error("duplicate key"), { code: "23505" });
    const scope = { bulkhead: api(), thrown };
    const Wrapped = classOf(`@withBulkhead(bulkhead) async get() { throw thrown; }`, scope);
    await expect(new Wrapped("").get("1")).rejects.toBeInstanceOf(BulkheadError);
    const Original = classOf(
      `@withBulkhead(bulkhead, { errors: "original" }) async get() { throw thrown; }`,
      scope,
    );
    await expect(new Original("").get("1")).rejects.toBe(thrown);
  });

  it("runs the method in several bulkheads, the uppermost first", async () => {
    const [outer, inner] = [new Bulkhead({ name: "outer" }), new Bulkhead({ name: "inner" })];
    const code = `@withBulkhead(outer) @withBulkhead(inner) async get(id: string) { return id; }`;
    const { get } = classOf(code, { outer, inner }).prototype;
    expect(await get("1")).toBe("1");
    outer.isolate();
    await expect(get("1")).rejects.toMatchObject({ bulkheadName: "outer" });
    expect([outer, inner].map((b) => b.getStats().totalExecutions)).toEqual([1, 1]);
  });

  it.each([
    ["below", `@withBulkhead(bulkhead) @keep("path", "/users")`],
    ["above", `@keep("path", "/users") @withBulkhead(bulkhead)`],
    ["on both sides", `@keep("path", "/users") @withBulkhead(bulkhead) @keep("path", "/old")`],
  ])("keeps the metadata of decorators %s", (_where, decorators) => {
    const { prototype } = classOf(`${decorators} async get(id: string) { return id; }`, {
      bulkhead: api(),
      keep,
    });
    const get = Object.getOwnPropertyDescriptor(prototype, "get")?.value;
    expect(Reflect.getOwnMetadata("path", get)).toBe("/users");
  });

  it("decorates also as a part of another decorator, which drops what it returns, as that of Nest does", async () => {
    const bulkhead = api();
    const code = `@applyDecorators(withBulkhead(bulkhead), keep("path", "/users")) async get(id) { return id; }`;
    const Api = classOf(code, { bulkhead, keep, applyDecorators });
    expect(await new Api("").get("1")).toBe("1");
    expect(bulkhead.getStats().successfulExecutions).toBe(1);
    expect(Reflect.getMetadata("path", Api.prototype.get)).toBe("/users");
  });

  it.each([
    [`@withBulkhead(bulkhead) get = async () => 1;`, "the property 'get'"],
    [`@withBulkhead(bulkhead) static get = async () => 1;`, "the property 'get'"],
    [`@withBulkhead(bulkhead) get user() { return 1; }`, "the accessor 'user'"],
    [`@withBulkhead(bulkhead) set user(_) {}`, "the accessor 'user'"],
    [`get(@withBulkhead(bulkhead) id) {}`, "a parameter of 'get'"],
    [`@withBulkhead(bulkhead) [find];`, "the property Symbol(find)"],
  ])("throws TypeError for %s", (code, shown) => {
    const decorate = () =>
      define(`class Api { ${code} }`, { bulkhead: api(), find: Symbol("find") });
    expect(decorate).toThrow(new TypeError(`withBulkhead decorates methods only; got ${shown}`));
  });

  it("throws TypeError for a parameter of the constructor", () => {
    const code = `class Api { constructor(@withBulkhead(bulkhead) id) {} }`;
    expect(() => define(code, { bulkhead: api() })).toThrow(
      new TypeError("withBulkhead decorates methods only; got a parameter of the constructor"),
    );
  });
});

it("a legacy decorator without reflect-metadata needs none of it", async () => {
  const { getOwnMetadataKeys } = Reflect;
  Reflect.deleteProperty(Reflect, "getOwnMetadataKeys");
  try {
    const descriptor = { value: async (id: string) => id, configurable: true };
    withBulkhead(api())({}, "get", descriptor);
    expect(await descriptor.value("1")).toBe("1");
  } finally {
    Reflect.getOwnMetadataKeys = getOwnMetadataKeys;
  }
});

it.each([{ value: 1 }, { value: undefined }, {}, null, "value"])(
  "a legacy decorator throws TypeError for the descriptor %o",
  (descriptor) => {
    const decorate: (...legacy: unknown[]) => unknown = withBulkhead(api()) as never;
    expect(() => decorate({}, "get", descriptor)).toThrow(TypeError);
  },
);
