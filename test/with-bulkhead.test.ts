import { afterEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  BulkheadError,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadManager,
  BulkheadShutdownError,
  BulkheadTimeoutError,
  withBulkhead,
} from "../src/index.js";
import { failCalls } from "./helpers/failing.js";
import { gate } from "./helpers/gate.js";

function untyped<T>(value: unknown): T {
  return value as T;
}

/** Name and length, as frameworks read them. */
function shapeOf({ name, length }: { readonly name: string; readonly length: number }) {
  return { name, length };
}

function api(): Bulkhead {
  return new Bulkhead({ name: "api" });
}

describe("a wrapped function", () => {
  it("resolves with the value of a sync function", async () => {
    const add = withBulkhead(api())((a: number, b: number) => a + b);
    expect(await add(1, 2)).toBe(3);
  });

  it("resolves with the value of an async function", async () => {
    const get = withBulkhead(api())(async (id: string) => ({ id }));
    expect(await get("7")).toEqual({ id: "7" });
  });

  it("resolves with the value of a thenable", async () => {
    const get = withBulkhead(api())(() => ({ then: (resolve: (n: number) => void) => resolve(7) }));
    expect(await get()).toBe(7);
  });

  it.each([undefined, null, false, 0, ""])("resolves with %o", async (value) => {
    expect(await withBulkhead(api())(() => value)()).toBe(value);
  });

  it("returns a native promise", () => {
    expect(withBulkhead(api())(() => 1)()).toBeInstanceOf(Promise);
  });

  it("gets all parameters, as they are", async () => {
    const fn = vi.fn((..._args: unknown[]) => {});
    const given = [{}, undefined, null, () => 1, Symbol("s")];
    await withBulkhead(api())(fn)(...given);
    expect(fn).toHaveBeenCalledTimes(1);
    expect(fn.mock.calls[0]).toHaveLength(given.length);
    for (const [index, value] of given.entries()) expect(fn.mock.calls[0]?.[index]).toBe(value);
  });

  it("gets no parameter more than its caller passed", async () => {
    const count = withBulkhead(api())((...args: unknown[]) => args.length);
    expect(await count()).toBe(0);
    expect(await count(undefined)).toBe(1);
  });

  it("keeps its own default parameters", async () => {
    const greet = withBulkhead(api())((name = "you") => `hello ${name}`);
    expect(await greet()).toBe("hello you");
  });

  it("gets the `this` of each call", async () => {
    const whoAmI = withBulkhead(api())(function (this: unknown) {
      return this;
    });
    const [one, other] = [{ whoAmI }, { whoAmI }];
    expect(await one.whoAmI()).toBe(one);
    expect(await other.whoAmI()).toBe(other);
    expect(await whoAmI.call(7)).toBe(7);
    expect(await whoAmI.call(undefined)).toBeUndefined();
  });

  it("leaves the `this` of an arrow function alone", async () => {
    const outer = {
      make() {
        return withBulkhead(api())(() => this);
      },
    };
    expect(await outer.make().call(untyped({}))).toBe(outer);
  });

  it("keeps `this` and parameters while it waits", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const told = withBulkhead(bulkhead)(function (this: string, n: number) {
      return `${this} ${n}`;
    });
    const calls = [told.call("a", 1), told.call("b", 2)];
    busy.open();
    await running;
    expect(await Promise.all(calls)).toEqual(["a 1", "b 2"]);
  });

  it("has the name and the length of the function", () => {
    const wrap = withBulkhead(api());
    function query(_sql: string, _values: unknown[]) {}
    expect(shapeOf(wrap(query))).toEqual({ name: "query", length: 2 });
    const nameless = wrap((_a: number, _b = 1, ..._rest: number[]) => {});
    expect(shapeOf(nameless)).toEqual({ name: "", length: 1 });
    for (const key of ["name", "length"]) {
      const descriptor = Object.getOwnPropertyDescriptor(wrap(query), key);
      expect(descriptor).toEqual(Object.getOwnPropertyDescriptor(query, key));
    }
    expect(Object.keys(wrap(query))).toEqual([]);
  });

  it("leaves the function as it was", async () => {
    const fn = Object.freeze(() => 1);
    expect(await withBulkhead(api())(fn)()).toBe(1);
    expect(fn()).toBe(1);
  });

  it("may be a Proxy, and one whose own bind and call say something else", async () => {
    const wrap = withBulkhead(api());
    expect(await wrap(new Proxy(() => 1, {}))()).toBe(1);
    const odd = Object.assign(() => 2, { bind: () => () => "bind", call: () => "call" });
    expect(await wrap(odd)()).toBe(2);
    const bare = Object.setPrototypeOf(() => 3, null);
    expect(await wrap(untyped<() => number>(bare))()).toBe(3);
  });

  it("shares the bulkhead's permits with all that it wraps", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, maxQueueSize: 0 });
    const wrap = withBulkhead(bulkhead);
    const busy = gate();
    const running = wrap(() => busy.promise)();
    await expect(wrap(() => 1)()).rejects.toBeInstanceOf(BulkheadFullError);
    busy.open();
    await running;
    expect(bulkhead.getStats()).toMatchObject({ successfulExecutions: 1, rejections: { full: 1 } });
  });

  it("may be wrapped by a callback's arguments: the index is not taken for a context", async () => {
    const wrap = untyped<(fn: () => number, index: number) => () => Promise<number>>(
      withBulkhead(api()),
    );
    const wrapped = [() => 1, () => 2].map(wrap);
    expect(await Promise.all(wrapped.map((fn) => fn()))).toEqual([1, 2]);
  });
});

describe("a wrapped function rejects", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("with a BulkheadError whose cause is what the function threw", async () => {
    const cause = new TypeError("bad url");
    const sync = withBulkhead(api())(() => {
      throw cause;
    });
    const async = withBulkhead(api())(() => Promise.reject(cause));
    for (const fn of [sync, async]) {
      const failed = fn();
      await expect(failed).rejects.toBeInstanceOf(BulkheadError);
      await expect(failed).rejects.toMatchObject({
        message: "Execution failed: bad url",
        code: "ERR_BULKHEAD",
        bulkheadName: "api",
      });
      await expect(failed).rejects.toSatisfy((error) => error.cause === cause);
    }
  });

  it.each([undefined, null, "down", Symbol("down")])("also when %o was thrown", async (thrown) => {
    const failed = withBulkhead(api())(() => Promise.reject(thrown))();
    await expect(failed).rejects.toBeInstanceOf(BulkheadError);
    await expect(failed).rejects.toSatisfy((error) => "cause" in error && error.cause === thrown);
  });

  it("with the BulkheadError that the function threw, unwrapped", async () => {
    const thrown = new BulkheadError("mine");
    await expect(withBulkhead(api())(() => Promise.reject(thrown))()).rejects.toBe(thrown);
  });

  it("never by throwing: what is wrong comes in the promise", async () => {
    const bulkhead = api();
    await bulkhead.shutdown();
    const failed = withBulkhead(bulkhead)(() => 1)();
    expect(failed).toBeInstanceOf(Promise);
    await expect(failed).rejects.toBeInstanceOf(BulkheadShutdownError);
  });

  it("when the bulkhead rejects the call, without calling the function", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      maxConcurrentCalls: 1,
      maxQueueSize: 0,
      failureThreshold: 1,
    });
    const fn = vi.fn();
    const call = withBulkhead(bulkhead)(fn);
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    await expect(call()).rejects.toBeInstanceOf(BulkheadFullError);
    busy.open();
    await running;
    await failCalls(bulkhead, 1);
    await expect(call()).rejects.toBeInstanceOf(BulkheadCircuitOpenError);
    bulkhead.isolate();
    await expect(call()).rejects.toBeInstanceOf(BulkheadIsolationError);
    await bulkhead.shutdown();
    await expect(call()).rejects.toBeInstanceOf(BulkheadShutdownError);
    expect(fn).not.toHaveBeenCalled();
  });

  it("when its time is over", async () => {
    vi.useFakeTimers();
    const bulkhead = new Bulkhead({ name: "api", timeoutSeconds: 1 });
    const busy = gate();
    const call = withBulkhead(bulkhead)(() => busy.promise)();
    const told = expect(call).rejects.toBeInstanceOf(BulkheadTimeoutError);
    await vi.advanceTimersByTimeAsync(1000);
    await told;
    expect(bulkhead.getStats().abandonedTasks).toBe(1);
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(bulkhead.getStats().abandonedTasks).toBe(0);
  });

  it("and the failure moves the circuit", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 2 });
    const sick = withBulkhead(bulkhead)(() => Promise.reject(new Error("down")));
    await expect(sick()).rejects.toThrow("Execution failed: down");
    await expect(sick()).rejects.toThrow("Execution failed: down");
    await expect(sick()).rejects.toBeInstanceOf(BulkheadCircuitOpenError);
  });

  it("and gives the errorFilter the error and the parameters", async () => {
    const errorFilter = vi.fn(() => true);
    const bulkhead = new Bulkhead({ name: "api", errorFilter });
    const thrown = new Error("not found");
    const get = withBulkhead(bulkhead)((_id: string, _n: number) => Promise.reject(thrown));
    await expect(get("7", 1)).rejects.toBeInstanceOf(BulkheadError);
    expect(errorFilter.mock.calls).toEqual([[thrown, "7", 1]]);
  });
});

describe("nested bulkheads", () => {
  it("resolve with the value through both, and both count the call", async () => {
    const [outer, inner] = [new Bulkhead({ name: "outer" }), new Bulkhead({ name: "inner" })];
    const add = withBulkhead(outer)(withBulkhead(inner)((a: number, b: number) => a + b));
    expect(await add(1, 2)).toBe(3);
    for (const bulkhead of [outer, inner]) {
      expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 1, successfulExecutions: 1 });
    }
  });

  it("keep `this`, name and length through both", async () => {
    const wrap = (name: string) => withBulkhead(new Bulkhead({ name }));
    const getUser = wrap("outer")(
      wrap("inner")(function get(this: { base: string }, id: string) {
        return `${this.base}/${id}`;
      }),
    );
    expect(await getUser.call({ base: "/users" }, "7")).toBe("/users/7");
    expect(shapeOf(getUser)).toEqual({ name: "get", length: 1 });
  });

  it("reject with the inner bulkhead's own error, unwrapped", async () => {
    const [outer, inner] = [new Bulkhead({ name: "outer" }), new Bulkhead({ name: "inner" })];
    const cause = new Error("down");
    const sick = withBulkhead(outer)(withBulkhead(inner)(() => Promise.reject(cause)));
    const failed = sick();
    await expect(failed).rejects.toMatchObject({ bulkheadName: "inner" });
    await expect(failed).rejects.toSatisfy((error) => error.cause === cause);
    inner.isolate();
    const refused = sick();
    await expect(refused).rejects.toBeInstanceOf(BulkheadIsolationError);
    await expect(refused).rejects.toMatchObject({ bulkheadName: "inner" });
    expect(outer.getStats()).toMatchObject({ failedExecutions: 2, rejectedExecutions: 0 });
    expect(inner.getStats()).toMatchObject({ failedExecutions: 1, rejections: { isolated: 1 } });
  });

  it("never reach the inner bulkhead when the outer one rejects the call", async () => {
    const [outer, inner] = [new Bulkhead({ name: "outer" }), new Bulkhead({ name: "inner" })];
    outer.isolate();
    const call = withBulkhead(outer)(withBulkhead(inner)(() => 1))();
    await expect(call).rejects.toMatchObject({ bulkheadName: "outer" });
    expect(inner.getStats()).toMatchObject({ totalExecutions: 0, rejectedExecutions: 0 });
  });

  it("of a manager can be one in the other without a deadlock when each has a permit", async () => {
    const manager = new BulkheadManager();
    const outer = await manager.createBulkhead({ name: "outer", maxConcurrentCalls: 1 });
    const inner = await manager.createBulkhead({ name: "inner", maxConcurrentCalls: 1 });
    const call = withBulkhead(outer)(withBulkhead(inner)(async (n: number) => n));
    expect(await Promise.all([1, 2, 3].map((n) => call(n)))).toEqual([1, 2, 3]);
  });
});

describe("a decorated method", () => {
  const bulkhead = new Bulkhead({ name: "decorated" });

  class Users {
    static readonly table = "users";
    readonly #secret = "s";
    readonly base: string;

    constructor(base: string) {
      this.base = base;
    }

    @withBulkhead(bulkhead)
    async get(id: string) {
      return `${this.base}/${id}`;
    }

    @withBulkhead(bulkhead)
    async secret() {
      return this.#secret;
    }

    @withBulkhead(bulkhead)
    static async count(factor: number) {
      return `${Users.table} ${factor}`;
    }

    @withBulkhead(bulkhead)
    async #hidden(id: string) {
      return `${this.base}#${id}`;
    }

    async viaHidden(id: string) {
      return this.#hidden(id);
    }

    @withBulkhead(bulkhead)
    async fail(): Promise<never> {
      throw new Error("down");
    }
  }

  it("is run in the bulkhead with its parameters and its object", async () => {
    const before = bulkhead.getStats().totalExecutions;
    const [one, other] = [new Users("/a"), new Users("/b")];
    expect(await Promise.all([one.get("1"), other.get("2")])).toEqual(["/a/1", "/b/2"]);
    expect(await one.secret()).toBe("s");
    expect(bulkhead.getStats().totalExecutions).toBe(before + 3);
  });

  it("may be static", async () => {
    expect(await Users.count(2)).toBe("users 2");
  });

  it("may be private", async () => {
    const before = bulkhead.getStats().totalExecutions;
    expect(await new Users("/a").viaHidden("1")).toBe("/a#1");
    expect(bulkhead.getStats().totalExecutions).toBe(before + 1);
  });

  it("keeps its name and its length, and stays on the prototype", () => {
    const method = Object.getOwnPropertyDescriptor(Users.prototype, "get");
    expect(shapeOf(method?.value)).toEqual({ name: "get", length: 1 });
    expect(method?.enumerable).toBe(false);
  });

  it("rejects with a BulkheadError when it fails", async () => {
    const failed = new Users("/a").fail();
    await expect(failed).rejects.toBeInstanceOf(BulkheadError);
    await expect(failed).rejects.toMatchObject({ bulkheadName: "decorated" });
  });

  it("is inherited, and can be called by super", async () => {
    class Admins extends Users {
      override async get(id: string) {
        return `${await super.get(id)}!`;
      }
    }
    expect(await new Admins("/a").get("1")).toBe("/a/1!");
  });

  it("is made as the standard says: from the method and its context, without initializers", async () => {
    const addInitializer = vi.fn();
    const decorated = withBulkhead(api())(
      function get(this: { base: string }, id: string) {
        return `${this.base}/${id}`;
      },
      untyped<ClassMethodDecoratorContext<{ base: string }>>({
        kind: "method",
        name: "get",
        static: false,
        private: false,
        metadata: {},
        access: { has: () => true, get: () => decorated },
        addInitializer,
      }),
    );
    expect(await decorated.call({ base: "/a" }, "1")).toBe("/a/1");
    expect(addInitializer).not.toHaveBeenCalled();
  });
});

describe("withBulkhead throws TypeError", () => {
  it.each([
    [undefined, "undefined"],
    [null, "null"],
    ["fn", "'fn'"],
    [1, "1"],
    [{}, "{}"],
    [Promise.resolve(1), "Promise { 1 }"],
  ])("at once for %o, which is not a function", (fn, shown) => {
    const wrap = () => withBulkhead(api())(untyped<() => void>(fn));
    expect(wrap).toThrow(TypeError);
    expect(wrap).toThrow(`must be a function; got ${shown}`);
  });

  it.each(["class", "field", "getter", "setter", "accessor"])("when it decorates a %s", (kind) => {
    const decorate = () =>
      withBulkhead(api())(
        () => 1,
        untyped<ClassMethodDecoratorContext<unknown>>({ kind, name: "x", metadata: {} }),
      );
    expect(decorate).toThrow(TypeError);
    expect(decorate).toThrow(kind);
  });

  it("when it decorates a field, which is undefined at that time", () => {
    const decorate = () =>
      withBulkhead(api())(
        untyped<() => void>(undefined),
        untyped<ClassMethodDecoratorContext<unknown>>({ kind: "field", name: "x" }),
      );
    expect(decorate).toThrow(TypeError);
  });

  it.each([undefined, null, {}, "api", () => 1])(
    "for %o instead of a bulkhead, before anything is called",
    (bulkhead) => {
      const fn = vi.fn();
      expect(() => withBulkhead(untyped<Bulkhead>(bulkhead))(fn)).toThrow(TypeError);
      expect(fn).not.toHaveBeenCalled();
    },
  );
});

describe("withBulkhead with the original errors", () => {
  it("rejects with what the function threw, the very value", async () => {
    const error = Object.assign(new Error("duplicate key"), { code: "23505" });
    const insert = withBulkhead(api(), { errors: "original" })(async () => Promise.reject(error));
    await expect(insert()).rejects.toBe(error);
  });

  it("passes parameters and `this`, and resolves with the value", async () => {
    const wrap = withBulkhead(api(), { errors: "original" });
    const plus = wrap(function (this: number, n: number) {
      return this + n;
    });
    expect(await plus.call(3, 4)).toBe(7);
    expect(shapeOf(plus)).toEqual({ name: "", length: 1 });
  });

  it("rejects with a BulkheadError when the bulkhead rejects the call", async () => {
    const bulkhead = api();
    bulkhead.isolate();
    const fn = withBulkhead(bulkhead, { errors: "original" })(() => 1);
    await expect(fn()).rejects.toBeInstanceOf(BulkheadIsolationError);
  });

  it("wraps them when the option says so, and by default", async () => {
    const fail = () => Promise.reject(new Error("down"));
    for (const options of [{}, { errors: undefined }, { errors: "wrapped" as const }]) {
      await expect(withBulkhead(api(), options)(fail)()).rejects.toBeInstanceOf(BulkheadError);
    }
  });

  it.each([
    [{ errors: "none" }, RangeError, 'errors must be "wrapped" or "original"; got \'none\''],
    [{ errors: 1 }, TypeError, 'errors must be "wrapped" or "original"; got 1'],
    [{ error: "original" }, TypeError, 'options has no field "error"; did you mean "errors"?'],
  ])("throws for %o", (options, type, message) => {
    expect(() => withBulkhead(api(), untyped(options))).toThrow(new type(message));
  });
});
