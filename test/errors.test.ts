import { inspect } from "node:util";
import { runInNewContext } from "node:vm";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  BulkheadError,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadManager,
  BulkheadShutdownError,
  BulkheadTimeoutError,
} from "../src/index.js";
import { failCalls } from "./helpers/failing.js";
import { gate, turn } from "./helpers/gate.js";

const CLASSES = [
  ["BulkheadError", BulkheadError, "ERR_BULKHEAD"],
  ["BulkheadIsolationError", BulkheadIsolationError, "ERR_BULKHEAD_ISOLATION"],
  ["BulkheadTimeoutError", BulkheadTimeoutError, "ERR_BULKHEAD_TIMEOUT"],
  ["BulkheadFullError", BulkheadFullError, "ERR_BULKHEAD_FULL"],
  ["BulkheadCircuitOpenError", BulkheadCircuitOpenError, "ERR_BULKHEAD_CIRCUIT_OPEN"],
  ["BulkheadShutdownError", BulkheadShutdownError, "ERR_BULKHEAD_SHUTDOWN"],
] as const;

describe("every error class", () => {
  it("is a BulkheadError, an Error, and no other of the classes", () => {
    for (const [name, ErrorClass] of CLASSES) {
      const error = new ErrorClass("why");
      expect(error, name).toBeInstanceOf(Error);
      expect(classesOf(error)).toEqual(name === "BulkheadError" ? [name] : ["BulkheadError", name]);
    }
  });

  it("has a message, a code and the bulkhead's name", () => {
    for (const [name, ErrorClass, code] of CLASSES) {
      const error = new ErrorClass("why", { bulkheadName: "api" });
      expect(error, name).toMatchObject({ message: "why", code, bulkheadName: "api" });
    }
  });

  it("has the empty name and no cause when neither is given", () => {
    for (const [name, ErrorClass] of CLASSES) {
      const error = new ErrorClass("why");
      expect(error.bulkheadName, name).toBe("");
      expect("cause" in error, name).toBe(false);
    }
  });

  it("has the code of its class when no code, or undefined, is given", () => {
    const options = { code: undefined } as unknown as { code: string };
    for (const [name, ErrorClass, code] of CLASSES) {
      expect(ErrorClass.code, name).toBe(code);
      expect(new ErrorClass("why").code, name).toBe(code);
      expect(new ErrorClass("why", options).code, name).toBe(code);
    }
  });

  it("has the user's code when one is given", () => {
    for (const [name, ErrorClass] of CLASSES) {
      expect(new ErrorClass("why", { code: "ERR_MINE" }).code, name).toBe("ERR_MINE");
    }
  });

  it("has its class's name as its name, in its text and in its stack", () => {
    for (const [name, ErrorClass] of CLASSES) {
      const error = new ErrorClass("why");
      expect(error.name).toBe(name);
      expect(ErrorClass.name).toBe(name);
      expect(String(error)).toBe(`${name}: why`);
      expect(error.stack?.startsWith(`${name}: why\n`)).toBe(true);
      expect(error.stack).toContain("errors.test.ts");
    }
  });

  it("is printed with its name once, its code and its bulkhead", () => {
    for (const [name, ErrorClass, code] of CLASSES) {
      const printed = inspect(new ErrorClass("why", { bulkheadName: "api" }));
      expect(printed).toMatch(new RegExp(`^${name}: why\n`));
      expect(printed).toContain(`code: '${code}'`);
      expect(printed).toContain("bulkheadName: 'api'");
      expect(printed).not.toMatch(/\bname: /);
    }
  });

  it("keeps a given cause, also undefined", () => {
    const cause = new Error("deeper");
    for (const [name, ErrorClass] of CLASSES) {
      expect(new ErrorClass("why", { cause }).cause, name).toBe(cause);
      const error = new ErrorClass("why", { cause: undefined });
      expect(Object.hasOwn(error, "cause"), name).toBe(true);
      expect(error.cause, name).toBeUndefined();
    }
  });

  it("can be extended", () => {
    for (const [name, ErrorClass, code] of CLASSES) {
      const Base: typeof BulkheadError = ErrorClass;
      class MyError extends Base {}
      const error = new MyError("why");
      expect(error, name).toBeInstanceOf(ErrorClass);
      expect(error.code, name).toBe(code);
    }
  });
});

function classesOf(error: unknown): string[] {
  return CLASSES.filter(([, Class]) => error instanceof Class).map(([name]) => name);
}

describe("instanceof", () => {
  type Errors = typeof import("../src/errors.js");
  let copy: Errors;
  beforeAll(async () => {
    // As in a program that has loaded both builds.
    vi.resetModules();
    copy = await import("../src/errors.js");
    expect(copy.BulkheadError).not.toBe(BulkheadError);
  });
  const ofCopy = (name: string) => Reflect.get(copy, name) as typeof BulkheadError;

  it("holds across two copies of a class, and for no other class", () => {
    for (const [name] of CLASSES) {
      const error = new (ofCopy(name))("why");
      expect(classesOf(error)).toEqual(name === "BulkheadError" ? [name] : ["BulkheadError", name]);
    }
  });

  it("holds across two copies for a class of the user's own, but only for its bases", () => {
    class QuotaError extends copy.BulkheadFullError {}
    class OtherError extends BulkheadFullError {}
    const error = new QuotaError("no credit");
    expect(error).toBeInstanceOf(QuotaError);
    expect(error).toBeInstanceOf(BulkheadFullError);
    expect(error).toBeInstanceOf(BulkheadError);
    expect(error).not.toBeInstanceOf(BulkheadTimeoutError);
    expect(error).not.toBeInstanceOf(OtherError);
    expect(new BulkheadFullError("full")).not.toBeInstanceOf(OtherError);
    expect(new OtherError("full")).not.toBeInstanceOf(QuotaError);
  });

  it.each([
    ["undefined", undefined],
    ["null", null],
    ["a string", "BulkheadError"],
    ["an Error", new Error("why")],
    ["an object of the same shape", { name: "BulkheadError", code: "ERR_BULKHEAD" }],
    ["a mock that has every property", new Proxy({}, { get: () => () => {} })],
    ["a Proxy that refuses everything", new Proxy({}, { get: throwing, has: throwing })],
    ["a function", BulkheadError],
  ])("does not hold for %s", (_, value) => {
    for (const [, Class] of CLASSES) expect(value instanceof Class).toBe(false);
  });

  it("finds the error of another copy, so that it is not wrapped", async () => {
    const thrown = new copy.BulkheadTimeoutError("inner", { phase: "waiting" });
    const outcome = await new Bulkhead({ name: "api" }).execute(() => Promise.reject(thrown));
    expect(outcome.error).toBe(thrown);
  });

  it("leaves no mark that is seen when an error is printed or its keys are listed", () => {
    const error = new BulkheadFullError("why");
    expect(Reflect.ownKeys(error).filter((key) => typeof key === "symbol")).toEqual([]);
    expect(inspect(error)).not.toContain("Symbol(");
  });
});

describe("BulkheadTimeoutError", () => {
  it("says whether the call waited or ran, and how long it waited", () => {
    const error = new BulkheadTimeoutError("why", { phase: "waiting", queuedSeconds: 1.5 });
    expect(error).toMatchObject({ phase: "waiting", queuedSeconds: 1.5 });
    expect(new BulkheadTimeoutError("why")).toMatchObject({ phase: "running", queuedSeconds: 0 });
  });
});

describe("BulkheadCircuitOpenError", () => {
  it("says in how many seconds a call is worth a try", () => {
    const error = new BulkheadCircuitOpenError("why", {
      retryAfterSeconds: 1.5,
      bulkheadName: "api",
    });
    expect(error).toMatchObject({ retryAfterSeconds: 1.5, bulkheadName: "api" });
    expect(new BulkheadCircuitOpenError("why").retryAfterSeconds).toBe(0);
  });
});

function throwing(): never {
  throw new Error("unprintable");
}

function revokedProxy(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

class NamelessError extends Error {
  override get message(): string {
    return throwing();
  }
}

/** What a function may throw, and how the message ends where that is certain. */
const THROWN: ReadonlyArray<[what: string, thrown: unknown, text: string | RegExp]> = [
  ["an Error", new Error("down"), "down"],
  ["an error of another class", new TypeError("x is not a function"), "x is not a function"],
  ["an Error without a message", new RangeError(), "RangeError"],
  ["one with a code", withCode(new Error(""), "ECONNRESET"), "Error ECONNRESET"],
  ["one with a numeric code", withCode(new Error(""), 14), "Error 14"],
  ["one with a code that is no code", withCode(new Error(""), { a: 1 }), "Error"],
  ["one without a name either", withName(new Error(""), ""), "Error"],
  ["one of an unnamed class", new (class extends TypeError {})(), "TypeError"],
  [
    "one with a cause",
    new Error("", { cause: new Error("socket hang up") }),
    "Error: socket hang up",
  ],
  ["one with a cause that is no error", new Error("", { cause: { status: 500 } }), "Error"],
  [
    "one with a cause without a message",
    new Error("", { cause: withCode(new TypeError(""), "EPIPE") }),
    "Error: TypeError EPIPE",
  ],
  [
    "an AggregateError without a message",
    refused(2),
    `AggregateError ECONNREFUSED: ${refusedMessages(2)}`,
  ],
  [
    "one of many errors",
    refused(9),
    `AggregateError ECONNREFUSED: ${refusedMessages(3)}; and 6 more`,
  ],
  ["an AggregateError of nothing", new AggregateError([], ""), "AggregateError"],
  ["an AggregateError that is within itself", aroundItself(), /^AggregateError: AggregateError/],
  ["an AggregateError whose errors throw", withErrors(throwing), "AggregateError"],
  ["an Error of many lines", new Error("a\n    at b\r\nc\u2028d"), "a at b c d"],
  ["a string of many lines", "a\nb\n", "a b"],
  ["an array that is printed in many lines", Array.from({ length: 9 }, (_, n) => n), /^\[.*\]$/],
  ["an object with an error in it", { error: new Error("down") }, "{ error: Error: down }"],
  ["an error of another realm", runInNewContext("new TypeError('')"), "TypeError"],
  ["an AggregateError", new AggregateError([new Error("a")], "all down"), "all down"],
  ["a DOMException", new DOMException("gone", "AbortError"), "gone"],
  ["a frozen Error", Object.freeze(new Error("frozen")), "frozen"],
  ["an Error whose message getter throws", new NamelessError(), /./],
  ["an Error whose message is a symbol", withMessage(Symbol("m")), "Symbol(m)"],
  ["an Error whose message is an object", withMessage({ toString: throwing }), /./],
  ["an Error with itself as its cause", withItselfAsCause(), "round"],
  ["a string", "down", "down"],
  ["an empty string", "", ""],
  ["undefined", undefined, "undefined"],
  ["null", null, "null"],
  ["a number", 42, "42"],
  ["NaN", Number.NaN, "NaN"],
  ["-0", -0, "-0"],
  ["a bigint", 10n, "10n"],
  ["false", false, "false"],
  ["a symbol", Symbol("down"), "Symbol(down)"],
  ["a function", function sick() {}, "[Function: sick]"],
  ["a plain object", { status: 500 }, "{ status: 500 }"],
  ["an object without prototype", Object.create(null), "[Object: null prototype] {}"],
  ["an object whose toString throws", { toString: throwing }, /toString/],
  ["an object whose inspect throws", { [inspect.custom]: throwing }, /./],
  [
    "an object with a throwing toStringTag",
    {
      get [Symbol.toStringTag]() {
        return throwing();
      },
    },
    /./,
  ],
  ["a thenable", { then: 1 }, "{ then: 1 }"],
  ["a Proxy that refuses everything", new Proxy({}, { get: throwing, ownKeys: throwing }), /./],
  ["a Proxy that hides its prototype", new Proxy({}, { getPrototypeOf: throwing }), /./],
  ["a revoked Proxy", revokedProxy(), /./],
];

function withCode(error: Error, code: unknown): Error {
  return Object.assign(error, { code });
}

function withName(error: Error, name: string): Error {
  return Object.assign(error, { name });
}

/** What Node gives when no address of a host takes the connection. */
function refused(addresses: number): Error {
  const errors = Array.from(
    { length: addresses },
    (_, n) => new Error(`connect ECONNREFUSED ::${n}:1`),
  );
  return withCode(new AggregateError(errors, ""), "ECONNREFUSED");
}

function refusedMessages(addresses: number): string {
  return Array.from({ length: addresses }, (_, n) => `connect ECONNREFUSED ::${n}:1`).join("; ");
}

function aroundItself(): Error {
  const error = new AggregateError([], "");
  error.errors.push(error, error);
  return error;
}

function withErrors(get: () => unknown): Error {
  return Object.defineProperty(new AggregateError([], ""), "errors", { get });
}

function withMessage(message: unknown): Error {
  return Object.defineProperty(new Error("x"), "message", { value: message });
}

function withItselfAsCause(): Error {
  const error = new Error("round");
  error.cause = error;
  return error;
}

describe("what a protected function throws", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** The error of the only result; fails when a call stays without an answer. */
  async function wrapped(fn: () => unknown): Promise<BulkheadError | null> {
    const bulkhead = new Bulkhead({ name: "api" });
    const answered: Array<BulkheadError | null> = [];
    bulkhead.execute(fn).then(
      ({ error }) => answered.push(error),
      () => {},
    );
    await turn();
    expect(answered).toHaveLength(1);
    expect(bulkhead.getStats()).toMatchObject({ failedExecutions: 1, activeTasks: 0 });
    return answered[0] ?? null;
  }

  const PREFIX = "Execution failed: ";
  const expectWrapped = (
    error: BulkheadError | null,
    [what, thrown, text]: (typeof THROWN)[number],
  ) => {
    expect(error, what).toBeInstanceOf(BulkheadError);
    expect(error, what).toMatchObject({
      name: "BulkheadError",
      code: "ERR_BULKHEAD",
      bulkheadName: "api",
    });
    expect(Object.hasOwn(error ?? {}, "cause"), what).toBe(true);
    expect(Object.is(error?.cause, thrown), what).toBe(true);
    expect(error?.message.slice(0, PREFIX.length), what).toBe(PREFIX);
    const rest = error?.message.slice(PREFIX.length);
    expect(rest, what).not.toMatch(/[\n\r\u2028\u2029]/);
    expect(rest, what).not.toContain("errors.test.ts");
    if (typeof text === "string") expect(rest, what).toBe(text);
    else expect(rest, what).toMatch(text);
  };

  it("is the cause of a BulkheadError when a function throws it", async () => {
    for (const row of THROWN) {
      const error = await wrapped(() => {
        throw row[1];
      });
      expectWrapped(error, row);
    }
  });

  it("is the cause of a BulkheadError when a promise rejects with it", async () => {
    for (const row of THROWN) {
      expectWrapped(await wrapped(() => Promise.reject(row[1])), row);
    }
  });

  it("is not changed, though it is an Error that could be", async () => {
    const thrown = new Error("down");
    const before = Reflect.ownKeys(thrown);
    await wrapped(() => Promise.reject(thrown));
    expect(Reflect.ownKeys(thrown)).toEqual(before);
    expect(thrown.message).toBe("down");
  });

  it("is not wrapped when it is a BulkheadError", async () => {
    for (const [name, ErrorClass] of CLASSES) {
      const thrown = new ErrorClass("from another bulkhead", { bulkheadName: "inner" });
      const error = await wrapped(() => {
        throw thrown;
      });
      expect(error, name).toBe(thrown);
      expect(error?.bulkheadName, name).toBe("inner");
    }
  });

  it("is not wrapped when its class extends BulkheadError", async () => {
    class QuotaError extends BulkheadError {}
    const thrown = new QuotaError("no credit");
    expect(await wrapped(() => Promise.reject(thrown))).toBe(thrown);
  });

  it("frees its permit whatever it is: the next call runs", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, failureThreshold: 1000 });
    for (const [, thrown] of THROWN) {
      const call = bulkhead.execute(() => {
        throw thrown;
      });
      call.catch(() => {});
    }
    await turn();
    expect(bulkhead.getStats()).toMatchObject({
      activeTasks: 0,
      queuedTasks: 0,
      failedExecutions: THROWN.length,
    });
  });
});

describe("the errors of rejections", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const rejectionOf = (bulkhead: Bulkhead) =>
    bulkhead
      .execute(() => 1)
      .then(
        () => "not rejected",
        (error: unknown) => error,
      );

  it("full: says how many permits and places there are", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 2, maxQueueSize: 1 });
    const busy = gate();
    const calls = [1, 2, 3].map(() => bulkhead.execute(() => busy.promise));
    const error = await rejectionOf(bulkhead);
    expect(error).toBeInstanceOf(BulkheadFullError);
    expect(error).toMatchObject({
      code: "ERR_BULKHEAD_FULL",
      bulkheadName: "api",
      message: 'Bulkhead "api" is full: 2 of 2 permits and 1 of 1 queue places are taken',
    });
    busy.open();
    await Promise.all(calls);
  });

  it("circuit open: says in how many seconds to try again in a field, not in the message", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1, isolationDuration: 30 });
    await failCalls(bulkhead, 1);
    const first = await rejectionOf(bulkhead);
    expect(first).toBeInstanceOf(BulkheadCircuitOpenError);
    expect(first).toMatchObject({
      code: "ERR_BULKHEAD_CIRCUIT_OPEN",
      bulkheadName: "api",
      message: 'The circuit of bulkhead "api" is open; try again after retryAfterSeconds',
      retryAfterSeconds: 30,
    });
    await vi.advanceTimersByTimeAsync(29_000);
    expect(await rejectionOf(bulkhead)).toMatchObject({
      message: 'The circuit of bulkhead "api" is open; try again after retryAfterSeconds',
      retryAfterSeconds: 1,
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(await rejectionOf(bulkhead)).toBe("not rejected");
  });

  it("half-open without a probe left: says to try again when the lease of the probes is over", async () => {
    const bulkhead = new Bulkhead({
      name: "api",
      failureThreshold: 1,
      successThreshold: 1,
      isolationDuration: 1,
    });
    await failCalls(bulkhead, 1);
    await vi.advanceTimersByTimeAsync(1000);
    const busy = gate();
    const probe = bulkhead.execute(() => busy.promise);
    await vi.advanceTimersByTimeAsync(10_000);
    const error = await rejectionOf(bulkhead);
    expect(error).toBeInstanceOf(BulkheadCircuitOpenError);
    expect(error).toMatchObject({
      message: 'The circuit of bulkhead "api" is half-open and its probes are under way',
      retryAfterSeconds: 20,
    });
    busy.open();
    await probe;
  });

  it("isolated: says why, when that was given", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.isolate("the provider moves");
    const error = await rejectionOf(bulkhead);
    expect(error).toBeInstanceOf(BulkheadIsolationError);
    expect(error).toMatchObject({
      code: "ERR_BULKHEAD_ISOLATION",
      bulkheadName: "api",
      message: 'Bulkhead "api" is isolated by hand: the provider moves',
    });
    bulkhead.isolate();
    expect(await rejectionOf(bulkhead)).toMatchObject({
      message: 'Bulkhead "api" is isolated by hand',
    });
  });

  it("shut down: names the bulkhead", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    await bulkhead.shutdown();
    const error = await rejectionOf(bulkhead);
    expect(error).toBeInstanceOf(BulkheadShutdownError);
    expect(error).toMatchObject({
      code: "ERR_BULKHEAD_SHUTDOWN",
      bulkheadName: "api",
      message: 'Bulkhead "api" is shut down',
    });
  });

  it("timed out: says the limit, and whether it waited or ran", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, timeoutSeconds: 2 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise).catch((error: unknown) => error);
    const waiting = rejectionOf(bulkhead);
    await vi.advanceTimersByTimeAsync(2000);
    for (const error of [await running, await waiting]) {
      expect(error).toBeInstanceOf(BulkheadTimeoutError);
      expect(error).toMatchObject({ code: "ERR_BULKHEAD_TIMEOUT", bulkheadName: "api" });
    }
    const timedOut = 'A call of bulkhead "api" timed out after 2.000 s: ';
    expect(await running).toMatchObject({
      message: `${timedOut}its function was still running`,
      phase: "running",
      queuedSeconds: 0,
    });
    expect(await waiting).toMatchObject({
      message: `${timedOut}it was still waiting for a permit`,
      phase: "waiting",
      queuedSeconds: 2,
    });
    busy.open();
    await vi.advanceTimersByTimeAsync(0);
  });

  it("timed out: says how long the call had waited in a field, not in the message", async () => {
    const bulkhead = new Bulkhead({ name: "api", maxConcurrentCalls: 1, timeoutSeconds: 2 });
    const [busy, never] = [gate(), gate()];
    const first = bulkhead.execute(() => busy.promise);
    const waited = bulkhead.execute(() => never.promise).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(500);
    busy.open();
    await first;
    await vi.advanceTimersByTimeAsync(1500);
    expect(await waited).toMatchObject({
      message: 'A call of bulkhead "api" timed out after 2.000 s: its function was still running',
      phase: "running",
      queuedSeconds: 0.5,
    });
    never.open();
    await vi.advanceTimersByTimeAsync(0);
  });

  it("are one line, whatever the name and the reason are", async () => {
    const bulkhead = new Bulkhead({ name: "a\nb" });
    bulkhead.isolate("first\r\n  second");
    expect(await rejectionOf(bulkhead)).toMatchObject({
      message: 'Bulkhead "a b" is isolated by hand: first second',
      bulkheadName: "a\nb",
    });
  });

  it("are one line when a manager rejects, whatever the name is", async () => {
    const manager = new BulkheadManager();
    await manager.createBulkhead({ name: "a\nb" });
    await expect(manager.createBulkhead({ name: "a\nb" })).rejects.toMatchObject({
      message: 'Bulkhead "a b" already exists',
      bulkheadName: "a\nb",
    });
    await expect(manager.executeInBulkhead("c\nd", () => 1)).rejects.toMatchObject({
      message: 'Bulkhead "c d" not found',
      bulkheadName: "c\nd",
    });
  });

  it("have a stack that begins with their name, also after waiting", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.isolate();
    const error = await rejectionOf(bulkhead);
    expect(error).toHaveProperty("stack", expect.stringMatching(/^BulkheadIsolationError: /));
  });
});

describe("stack frames", () => {
  const frames = (error: unknown) => (error as Error).stack?.split("\n").slice(1);

  it("are left out of what a bulkhead makes for a call, and kept by what the function threw", async () => {
    const bulkhead = new Bulkhead({ name: "api", failureThreshold: 1 });
    const thrown = new Error("down");
    const { error } = await bulkhead.execute(() => Promise.reject(thrown));
    expect(frames(error)).toEqual([]);
    expect(error?.stack).toBe("BulkheadError: Execution failed: down");
    expect(frames(thrown)).not.toEqual([]);
    const rejection = await bulkhead.execute(() => 1).catch((reason: unknown) => reason);
    expect(rejection).toBeInstanceOf(BulkheadCircuitOpenError);
    expect(frames(rejection)).toEqual([]);
    expect(frames(new Error("afterwards"))).not.toEqual([]);
  });

  it("are no trouble where Error cannot be changed", async () => {
    const limit = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit") ?? {};
    Object.defineProperty(Error, "stackTraceLimit", { ...limit, writable: false });
    try {
      const bulkhead = new Bulkhead({ name: "api" });
      bulkhead.isolate();
      await expect(bulkhead.execute(() => 1)).rejects.toMatchObject({
        code: "ERR_BULKHEAD_ISOLATION",
      });
    } finally {
      Object.defineProperty(Error, "stackTraceLimit", { ...limit, writable: true });
    }
  });
});
