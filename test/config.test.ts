import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { resolveConfig } from "../src/config.js";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadManager,
  type BulkheadOptions,
  InMemoryStorage,
  type RunOptions,
  type ShutdownOptions,
} from "../src/index.js";

/** What JavaScript, or a configuration file, may give in the place of a typed object. */
function untyped<T>(value: unknown): T {
  return value as T;
}

function configWith(field: string, value: unknown): BulkheadConfig {
  return untyped({ name: "api", [field]: value });
}

/** What a function throws, or what the promise that it returns rejects with. */
async function errorOf(action: () => unknown): Promise<Error> {
  try {
    await action();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("Nothing was thrown");
}

/** One case for each value, arrays among them, for `it.each`. */
function each<T>(values: readonly T[]): Array<[shown: string, value: T]> {
  return values.map((value) => [inspect(value), value]);
}

/** Longest delay of a timer, 2^31-1 ms, in seconds. */
const LONGEST = 2_147_483.647;
const TOO_LONG = 2_147_483.648;
const NOT_NUMBERS = ["1", "", true, false, 1n, {}, [], [1], () => 1, Symbol("1"), new Number(1)];
const NEVER_IN_RANGE = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1];

function integerFrom(least: number) {
  return {
    good: [least, least + 1, 1e6, Number.MAX_SAFE_INTEGER],
    wrongType: [...NOT_NUMBERS, null],
    outOfRange: [...NEVER_IN_RANGE, least - 1, least + 0.5, 2 ** 53, Number.MAX_VALUE],
    rule: `an integer of at least ${least}`,
  };
}

const POSITIVE_SECONDS = {
  good: [Number.MIN_VALUE, 0.001, 1, LONGEST],
  wrongType: NOT_NUMBERS,
  outOfRange: [...NEVER_IN_RANGE, 0, -0, -0.001, TOO_LONG, 2 ** 31, Number.MAX_VALUE],
  rule: `a number of seconds over 0 and up to ${LONGEST}`,
};
const SECONDS = {
  good: [0, -0, Number.MIN_VALUE, 0.5, LONGEST],
  wrongType: NOT_NUMBERS,
  outOfRange: [...NEVER_IN_RANGE, -Number.MIN_VALUE, TOO_LONG, 2 ** 31, Number.MAX_VALUE],
  rule: `a number of seconds from 0 to ${LONGEST}`,
};
const FUNCTION = {
  good: [() => true, async () => {}, class {}, new Proxy(() => true, {})],
  wrongType: [null, true, 1, "check", {}, [], Symbol("f")],
  outOfRange: [],
  rule: "a function",
};

interface FieldRules {
  readonly byDefault: unknown;
  readonly good: readonly unknown[];
  readonly wrongType: readonly unknown[];
  readonly outOfRange: readonly unknown[];
  /** What the message says of it. */
  readonly rule: string;
}

/** The design's table. `name` is apart: it has no default. */
const TABLE: Record<Exclude<keyof BulkheadConfig, "name">, FieldRules> = {
  maxConcurrentCalls: { byDefault: 10, ...integerFrom(1) },
  maxQueueSize: { byDefault: 100, ...integerFrom(0) },
  timeoutSeconds: {
    byDefault: null,
    ...POSITIVE_SECONDS,
    good: [null, ...POSITIVE_SECONDS.good],
    rule: `${POSITIVE_SECONDS.rule}, or null`,
  },
  failureThreshold: {
    byDefault: 5,
    ...integerFrom(1),
    wrongType: NOT_NUMBERS,
    rule: "an integer of at least 1, or null",
  },
  successThreshold: { byDefault: 3, ...integerFrom(1) },
  isolationDuration: { byDefault: 30, ...SECONDS, wrongType: [...NOT_NUMBERS, null] },
  circuitBreakerEnabled: {
    byDefault: true,
    good: [true, false],
    wrongType: [null, 0, 1, "", "true", "false", {}, [], () => true, new Boolean(false)],
    outOfRange: [],
    rule: "true or false",
  },
  reclaimAfterSeconds: {
    byDefault: 30,
    ...SECONDS,
    good: [null, ...SECONDS.good],
    rule: `${SECONDS.rule}, or null`,
  },
  healthCheck: { byDefault: undefined, ...FUNCTION },
  healthCheckInterval: {
    byDefault: 5,
    ...POSITIVE_SECONDS,
    wrongType: [...NOT_NUMBERS, null],
  },
  errorFilter: { byDefault: undefined, ...FUNCTION },
  failureRateThreshold: {
    byDefault: null,
    good: [null, Number.MIN_VALUE, 0.5, 50, 100],
    wrongType: NOT_NUMBERS,
    outOfRange: [...NEVER_IN_RANGE, 0, -0, 100.000_001, 101],
    rule: "a percentage over 0 and up to 100, or null",
  },
  minimumCalls: { byDefault: 10, ...integerFrom(1) },
  windowSeconds: { byDefault: 10, ...POSITIVE_SECONDS, wrongType: [...NOT_NUMBERS, null] },
};

type Case = [field: string, shown: string, value: unknown, rule: string];

/** One case for each value that `pick` finds in the table. */
function cases(pick: (rules: FieldRules) => readonly unknown[]): Case[] {
  return Object.entries(TABLE).flatMap(([field, rules]) =>
    pick(rules).map((value): Case => [field, inspect(value), value, rules.rule]),
  );
}

describe("each field of a configuration", () => {
  it("has its default when only the name is given", () => {
    const defaults = Object.entries(TABLE).map(([field, { byDefault }]) => [field, byDefault]);
    const { config } = new Bulkhead({ name: "api" });
    expect({ ...config }).toStrictEqual({ name: "api", ...Object.fromEntries(defaults) });
  });

  it.each(Object.entries(TABLE))("%s: undefined means the default", (field, { byDefault }) => {
    const config = { ...resolveConfig(configWith(field, undefined)) };
    expect(Object.entries(config)).toContainEqual([field, byDefault]);
  });

  it.each(cases(({ good }) => good))("%s may be %s", (field, _, value) => {
    const config = { ...resolveConfig(configWith(field, value)) };
    expect(Object.entries(config).find(([name]) => name === field)?.[1]).toBe(value);
  });

  it.each(cases(({ wrongType }) => wrongType))(
    "%s throws TypeError for %s",
    async (field, shown, value, rule) => {
      const error = await errorOf(() => new Bulkhead(configWith(field, value)));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(`${field} must be ${rule}; got ${shown}`);
    },
  );

  it.each(cases(({ outOfRange }) => outOfRange))(
    "%s throws RangeError for %s",
    async (field, shown, value, rule) => {
      const error = await errorOf(() => new Bulkhead(configWith(field, value)));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toBe(`${field} must be ${rule}; got ${shown}`);
    },
  );
});

describe("failureThreshold: null", () => {
  it.each([
    { failureRateThreshold: 50 },
    { healthCheck: () => true },
    { failureRateThreshold: 50, healthCheck: () => true },
    { circuitBreakerEnabled: false },
  ])("may be given with %o", (rest) => {
    expect(resolveConfig({ name: "api", failureThreshold: null, ...rest })).toMatchObject({
      failureThreshold: null,
      ...rest,
    });
  });

  it.each([{}, { failureRateThreshold: null }, { circuitBreakerEnabled: true }])(
    "throws RangeError when nothing else could open the circuit: with %o",
    async (rest) => {
      const config = { name: "api", failureThreshold: null, ...rest };
      const error = await errorOf(() => new Bulkhead(config));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toBe(
        "Nothing could open the circuit: failureThreshold and failureRateThreshold are null and there is no " +
          "healthCheck; set one of them, or circuitBreakerEnabled: false",
      );
    },
  );
});

describe("the name", () => {
  const RULE = "name must be a string of 1 to 255 characters; got ";

  it.each([
    ["one character", "a"],
    ["a space", " "],
    ["255 characters", "x".repeat(255)],
    ["one character of two code units", "\u{1F6A2}"],
    ["255 characters of two code units each", "\u{1F6A2}".repeat(255)],
    ["a name of Object.prototype", "__proto__"],
  ])("may be %s", (_, name) => {
    expect(new Bulkhead({ name }).name).toBe(name);
  });

  it.each([
    ["empty", ""],
    ["256 characters long", "x".repeat(256)],
    ["256 characters of two code units each", "\u{1F6A2}".repeat(256)],
    ["255 characters of two code units and one more", `${"\u{1F6A2}".repeat(255)}x`],
    ["10 million characters long", "x".repeat(1e7)],
  ])("throws RangeError when it is %s", async (_, name) => {
    const error = await errorOf(() => new Bulkhead({ name }));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message.startsWith(RULE)).toBe(true);
    expect(error.message.length).toBeLessThan(300);
  });

  it.each(
    each([undefined, null, 1, true, {}, ["api"], Symbol("api"), () => "api", new String("api")]),
  )("throws TypeError when it is %s", async (_, name) => {
    const error = await errorOf(() => new Bulkhead(untyped({ name })));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`${RULE}${inspect(name)}`);
  });

  it("throws TypeError when it is missing", async () => {
    const error = await errorOf(() => new Bulkhead(untyped({})));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`${RULE}undefined`);
  });
});

describe("an unknown field", () => {
  it.each([
    ["max_concurrent_calls", "maxConcurrentCalls"],
    ["max_queue_size", "maxQueueSize"],
    ["timeout_seconds", "timeoutSeconds"],
    ["failure_threshold", "failureThreshold"],
    ["success_threshold", "successThreshold"],
    ["isolation_duration", "isolationDuration"],
    ["circuit_breaker_enabled", "circuitBreakerEnabled"],
    ["health_check_interval", "healthCheckInterval"],
    ["maxConcurrentCall", "maxConcurrentCalls"],
    ["maxConcurentCalls", "maxConcurrentCalls"],
    ["MaxQueueSize", "maxQueueSize"],
    ["healthcheck", "healthCheck"],
    ["windowSecond", "windowSeconds"],
    ["Name", "name"],
  ])("%s throws TypeError and suggests %s", async (field, suggestion) => {
    const error = await errorOf(() => new Bulkhead(configWith(field, 1)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`config has no field "${field}"; did you mean "${suggestion}"?`);
  });

  it.each([
    ["timeout", '"timeoutSeconds", in seconds'],
    ["timeoutMs", '"timeoutSeconds", in seconds'],
    ["timeoutMillis", '"timeoutSeconds", in seconds'],
    ["timeout_ms", '"timeoutSeconds", in seconds'],
    ["healthCheckIntervalMs", '"healthCheckInterval", in seconds'],
    ["isolationDurationMs", '"isolationDuration", in seconds'],
    ["isolation", '"isolationDuration", in seconds'],
    ["window", '"windowSeconds", in seconds'],
    // opossum
    ["resetTimeout", '"isolationDuration", in seconds'],
    ["rollingCountTimeout", '"windowSeconds", in seconds'],
    ["errorThresholdPercentage", '"failureRateThreshold"'],
    ["volumeThreshold", '"minimumCalls"'],
    ["capacity", '"maxConcurrentCalls"'],
    ["maxFailures", '"failureThreshold"'],
    ["enabled", '"circuitBreakerEnabled"'],
    // cockatiel
    ["halfOpenAfter", '"isolationDuration", in seconds'],
    ["threshold", '"failureRateThreshold", in percent'],
    ["duration", '"windowSeconds", in seconds'],
    ["minimumRps", '"minimumCalls"'],
    // p-limit and p-queue
    ["concurrency", '"maxConcurrentCalls"'],
    // Polly, resilience4j and others
    ["breakDuration", '"isolationDuration", in seconds'],
    ["failureRatio", '"failureRateThreshold", in percent'],
    ["queueLimit", '"maxQueueSize"'],
  ])("%s, as elsewhere, throws TypeError and suggests %s", async (field, suggestion) => {
    const error = await errorOf(() => new Bulkhead(configWith(field, 5000)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`config has no field "${field}"; did you mean ${suggestion}?`);
  });

  it("is shown on one line", async () => {
    const error = await errorOf(() => new Bulkhead(configWith("max\nqueue", 1)));
    expect(error.message).toBe('config has no field "max queue"; did you mean "maxQueueSize"?');
  });

  /** Every way to get one letter of a name wrong. */
  function typosOf(name: string): string[] {
    return Array.from(name, (letter, at) => {
      const [head, tail] = [name.slice(0, at), name.slice(at + 1)];
      const following = tail.slice(0, 1);
      const swapped = `${head}${following}${letter}${tail.slice(1)}`;
      return [`${head}${tail}`, `${head}qz${tail}`, `${head}q${letter}${tail}`, swapped];
    }).flat();
  }

  it.each(["name", ...Object.keys(TABLE)])("suggests %s for every typo in it", async (name) => {
    const names = new Set(["name", ...Object.keys(TABLE)]);
    for (const typo of typosOf(name).filter((typo) => !names.has(typo))) {
      const error = await errorOf(() => new Bulkhead(configWith(typo, 1)));
      expect(error.message).toBe(`config has no field "${typo}"; did you mean "${name}"?`);
    }
  });

  it("throws whatever its value is", () => {
    expect(() => new Bulkhead(configWith("maxQueue", undefined))).toThrow(TypeError);
  });

  it.each(["constructor", "toString", "hasOwnProperty", "valueOf"])(
    "throws when it is %s, which every object inherits",
    (field) => {
      expect(() => new Bulkhead(configWith(field, 1))).toThrow(`config has no field "${field}"`);
    },
  );

  it("throws when it is an own __proto__, as JSON.parse makes it", () => {
    const config = untyped<BulkheadConfig>(
      JSON.parse('{ "name": "api", "__proto__": { "maxConcurrentCalls": 1 } }'),
    );
    expect(() => new Bulkhead(config)).toThrow('config has no field "__proto__"');
  });

  it("is named in full sentences even when it is very long", async () => {
    const error = await errorOf(() => new Bulkhead(configWith("x".repeat(1e6), 1)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^config has no field /);
  });
});

describe("a configuration", () => {
  it.each(each([undefined, null, "api", 1, true, [], ["api"], () => ({ name: "api" })]))(
    "throws TypeError when it is %s",
    async (_, config) => {
      const error = await errorOf(() => new Bulkhead(untyped(config)));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^config must be an object; got /);
    },
  );

  it("may have no prototype", () => {
    const config: BulkheadConfig = Object.assign(Object.create(null), { name: "api" });
    expect(new Bulkhead(config).name).toBe("api");
  });

  it("may be frozen", () => {
    expect(new Bulkhead(Object.freeze({ name: "api" })).name).toBe("api");
  });

  it("is copied: changing the given object later changes nothing", () => {
    const given = { name: "api", maxQueueSize: 1 };
    const bulkhead = new Bulkhead(given);
    given.name = "other";
    given.maxQueueSize = 2;
    expect(bulkhead.name).toBe("api");
    expect(bulkhead.config.maxQueueSize).toBe(1);
  });

  it("is frozen", () => {
    const { config } = new Bulkhead({ name: "api" });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Reflect.set(config, "maxQueueSize", 1)).toBe(false);
  });

  it("leaves the given object as it was", () => {
    const given = { name: "api" };
    new Bulkhead(given);
    expect(given).toStrictEqual({ name: "api" });
    expect(Object.isFrozen(given)).toBe(false);
  });

  it("may be a Proxy", () => {
    const config = new Proxy<BulkheadConfig>({ name: "api", maxQueueSize: 7 }, {});
    expect(new Bulkhead(config).config).toMatchObject({ name: "api", maxQueueSize: 7 });
  });

  it("is used as it was checked, also when a getter gives another value each time", () => {
    let reads = 0;
    const config: BulkheadConfig = {
      name: "api",
      get maxQueueSize() {
        return reads++ === 0 ? 7 : Number.NaN;
      },
    };
    expect(new Bulkhead(config).config.maxQueueSize).toBe(7);
  });

  it("is used as it was checked, also when a Proxy hides a field from the check", () => {
    const config = new Proxy(untyped<BulkheadConfig>({ name: "api", maxQueueSize: Number.NaN }), {
      ownKeys: () => ["name"],
    });
    expect(sizeOfLine(config)).not.toBeNaN();
  });

  it("has no unchecked values from its prototype", () => {
    const config = Object.create({ maxQueueSize: Number.NaN }, { name: field("api") });
    expect(sizeOfLine(config)).not.toBeNaN();
  });

  it("has no unchecked values from getters of its class", () => {
    class Config {
      readonly name = "api";
      get maxQueueSize() {
        return Number.NaN;
      }
    }
    expect(sizeOfLine(new Config())).not.toBeNaN();
  });

  it("has no unchecked values from fields that are not enumerable", () => {
    const config = Object.create(Object.prototype, {
      name: field("api"),
      maxQueueSize: { value: Number.NaN, enumerable: false },
    });
    expect(sizeOfLine(config)).not.toBeNaN();
  });

  it("passes on what a getter throws", () => {
    const thrown = new Error("no such secret");
    const config: BulkheadConfig = {
      get name(): string {
        throw thrown;
      },
    };
    expect(() => new Bulkhead(config)).toThrow(thrown);
  });

  it("names field and rule when the value cannot be printed", async () => {
    const value = {
      [inspect.custom]() {
        throw new Error("unprintable");
      },
    };
    const error = await errorOf(() => new Bulkhead(configWith("maxQueueSize", value)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^maxQueueSize must be an integer of at least 0; got /);
  });

  it.each([
    ["an error", new TypeError("down"), "[TypeError: down]"],
    ["an error without a message", new TypeError(""), "[TypeError]"],
    ["an array", Array.from("abcdefg"), "[ 'a', 'b', 'c', 'd', 'e', 'f', 'g' ]"],
  ])("is shown on one line, without a stack: %s", async (_, value, shown) => {
    const error = await errorOf(() => resolveConfig(configWith("maxQueueSize", value)));
    expect(error.message.replaceAll(/ +/g, " ")).toMatch(`; got ${shown}`);
    expect(error.message).not.toMatch(/[\n\r]/);
  });

  it("cuts a long value short in the message", async () => {
    const value = "x".repeat(1e6);
    const error = await errorOf(() => new Bulkhead(configWith("maxQueueSize", value)));
    expect(error.message).toMatch(/^maxQueueSize must be an integer of at least 0; got 'xxx/);
    expect(error.message.length).toBeLessThan(300);
  });

  /** The size that the bulkhead would use; "refused" when it takes no such configuration. */
  function sizeOfLine(config: BulkheadConfig): unknown {
    try {
      return new Bulkhead(config).config.maxQueueSize;
    } catch {
      return "refused";
    }
  }

  function field(value: unknown): PropertyDescriptor {
    return { value, enumerable: true };
  }
});

const NOT_OBJECTS = [null, "options", 1, true, [], () => ({})];
const STORAGE_RULE =
  "circuitStorage must be a CircuitStorage, with the methods getState, load, change, subscribe and close";

describe.each([
  ["Bulkhead", (options: BulkheadOptions) => new Bulkhead({ name: "api" }, options)],
  ["BulkheadManager", (options: BulkheadOptions) => new BulkheadManager(options)],
])("the options of %s", (_, make) => {
  it("may be undefined, empty, or have an undefined storage", () => {
    expect(() => make(untyped(undefined))).not.toThrow();
    expect(() => make({})).not.toThrow();
    expect(() => make({ circuitStorage: undefined })).not.toThrow();
  });

  it("may have a storage", () => {
    expect(() => make({ circuitStorage: new InMemoryStorage() })).not.toThrow();
  });

  it.each(each(NOT_OBJECTS))("throw TypeError when they are %s", (_, options) => {
    expect(() => make(untyped(options))).toThrow(TypeError);
    expect(() => make(untyped(options))).toThrow(/^options must be an object; got /);
  });

  it.each(each([null, "postgres", 1, true, {}, [], () => {}, new Map()]))(
    "throw TypeError for the storage %s",
    (_, circuitStorage) => {
      expect(() => make(untyped({ circuitStorage }))).toThrow(TypeError);
      expect(() => make(untyped({ circuitStorage }))).toThrow(STORAGE_RULE);
    },
  );

  it.each(["getState", "load", "change", "subscribe", "close"])(
    "throw TypeError for a storage without %s",
    (method) => {
      const circuitStorage = Object.assign(new InMemoryStorage(), { [method]: undefined });
      expect(() => make({ circuitStorage })).toThrow(STORAGE_RULE);
    },
  );

  it.each([
    ["5", TypeError],
    [null, TypeError],
    [0, RangeError],
    [Number.NaN, RangeError],
    [Number.POSITIVE_INFINITY, RangeError],
    [2_147_484, RangeError],
  ])("throw for a storage whose queryTimeoutSeconds is %s", (queryTimeoutSeconds, kind) => {
    const circuitStorage = Object.assign(new InMemoryStorage(), { queryTimeoutSeconds });
    expect(() => make(untyped({ circuitStorage }))).toThrow(kind);
    expect(() => make(untyped({ circuitStorage }))).toThrow(
      /^circuitStorage.queryTimeoutSeconds must be a number of seconds over 0 and up to .*; got /,
    );
  });

  it.each([
    ["30", TypeError],
    [0, RangeError],
    [Number.POSITIVE_INFINITY, RangeError],
  ])("throw for a storage whose probeLeaseSeconds is %s", (probeLeaseSeconds, kind) => {
    const circuitStorage = Object.assign(new InMemoryStorage(), { probeLeaseSeconds });
    expect(() => make(untyped({ circuitStorage }))).toThrow(kind);
    expect(() => make(untyped({ circuitStorage }))).toThrow(
      /^circuitStorage.probeLeaseSeconds must be a number of seconds over 0 and up to .*; got /,
    );
  });

  it.each([undefined, 0.001, 2_147_483])(
    "may have a storage whose queryTimeoutSeconds is %s",
    (queryTimeoutSeconds) => {
      const circuitStorage = Object.assign(new InMemoryStorage(), { queryTimeoutSeconds });
      expect(() => make(untyped({ circuitStorage }))).not.toThrow();
    },
  );

  it("throw TypeError for an unknown field and suggest the nearest", () => {
    expect(() => make(untyped({ circuit_storage: 1 }))).toThrow(TypeError);
    expect(() => make(untyped({ circuit_storage: 1 }))).toThrow(
      'options has no field "circuit_storage"; did you mean "circuitStorage"?',
    );
  });
});

describe("the options of run", () => {
  const run = (options: unknown) =>
    errorOf(() => new Bulkhead({ name: "api" }).run(() => 1, untyped<RunOptions>(options)));

  it("may be empty, and undefined means the default in each field", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    for (const options of [undefined, {}, { signal: undefined, timeoutSeconds: undefined }]) {
      expect((await bulkhead.run(() => 1, options)).result).toBe(1);
    }
  });

  it.each(each(TABLE.timeoutSeconds.good))(
    "may have %s as timeoutSeconds",
    async (_, timeoutSeconds) => {
      const options = untyped<RunOptions>({ timeoutSeconds });
      expect((await new Bulkhead({ name: "api" }).run(() => 1, options)).result).toBe(1);
    },
  );

  it.each(each(NOT_OBJECTS))("reject with TypeError when they are %s", async (_, options) => {
    const error = await run(options);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^options must be an object; got /);
  });

  it.each(each(NOT_NUMBERS))(
    "reject with TypeError for timeoutSeconds %s",
    async (_, timeoutSeconds) => {
      const error = await run({ timeoutSeconds });
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^timeoutSeconds must be .*, or null; got /);
    },
  );

  it.each(each(POSITIVE_SECONDS.outOfRange))(
    "reject with RangeError for timeoutSeconds %s",
    async (_, timeoutSeconds) => {
      const error = await run({ timeoutSeconds });
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toMatch(/^timeoutSeconds must be .*, or null; got /);
    },
  );

  it.each(
    each([null, 1, "abort", {}, { aborted: false }, new AbortController(), new EventTarget()]),
  )("reject with TypeError for the signal %s", async (_, signal) => {
    const error = await run({ signal });
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^signal must be an AbortSignal; got /);
  });

  it("reject with TypeError for an unknown field and suggest the nearest", async () => {
    const error = await run({ timeout_seconds: 1 });
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      'options has no field "timeout_seconds"; did you mean "timeoutSeconds"?',
    );
  });

  it("reject with TypeError for a time in another unit and suggest seconds", async () => {
    const error = await run({ timeoutMs: 5000 });
    expect(error.message).toBe(
      'options has no field "timeoutMs"; did you mean "timeoutSeconds", in seconds?',
    );
  });

  it("have no unchecked values from their prototype", async () => {
    const reason = new Error("unchecked");
    const options = Object.create({ signal: { aborted: true, reason } });
    const outcome = new Bulkhead({ name: "api" }).run(() => 1, options).catch((error) => error);
    expect(await outcome).not.toBe(reason);
  });

  it("are checked before the call: the task is not started and nothing is counted", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    let calls = 0;
    await expect(bulkhead.run(() => calls++, { timeoutSeconds: 0 })).rejects.toThrow(RangeError);
    expect(calls).toBe(0);
    expect(bulkhead.getStats()).toMatchObject({ totalExecutions: 0, rejectedExecutions: 0 });
  });
});

describe.each([
  ["a bulkhead", () => new Bulkhead({ name: "api" })],
  ["a manager without bulkheads", () => new BulkheadManager()],
  ["a manager with a bulkhead", managerWithOne],
])("the options of shutdown of %s", (_, make) => {
  it.each(each<ShutdownOptions | undefined>([undefined, {}, { drainSeconds: undefined }]))(
    "may be %s",
    async (_, options) => {
      await expect((await make()).shutdown(options)).resolves.toBeUndefined();
    },
  );

  it.each(each(SECONDS.good))("may have %s as drainSeconds", async (_, drainSeconds) => {
    const options = untyped<ShutdownOptions>({ drainSeconds });
    await expect((await make()).shutdown(options)).resolves.toBeUndefined();
  });

  it.each(each(NOT_OBJECTS))("reject with TypeError when they are %s", async (_, options) => {
    const shutting = errorOf(async () => (await make()).shutdown(untyped(options)));
    expect(await shutting).toBeInstanceOf(TypeError);
  });

  it.each(each([...NOT_NUMBERS, null]))(
    "reject with TypeError for drainSeconds %s",
    async (_, drainSeconds) => {
      const error = await errorOf(async () => (await make()).shutdown(untyped({ drainSeconds })));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^drainSeconds must be a number of seconds from 0 to /);
    },
  );

  it.each(each(SECONDS.outOfRange))(
    "reject with RangeError for drainSeconds %s",
    async (_, value) => {
      const error = await errorOf(async () =>
        (await make()).shutdown(untyped({ drainSeconds: value })),
      );
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toMatch(/^drainSeconds must be a number of seconds from 0 to /);
    },
  );

  it("reject with TypeError for an unknown field and suggest the nearest", async () => {
    const error = await errorOf(async () => (await make()).shutdown(untyped({ drain_seconds: 1 })));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain('did you mean "drainSeconds"?');
  });
});

describe("wrong options of shutdown", () => {
  it("shut nothing down", async () => {
    const bulkhead = new Bulkhead({ name: "api" });
    await expect(bulkhead.shutdown({ drainSeconds: -1 })).rejects.toThrow(RangeError);
    expect(bulkhead.isHealthy()).toBe(true);
    expect((await bulkhead.execute(() => 1)).result).toBe(1);
  });
});

async function managerWithOne(): Promise<BulkheadManager> {
  const manager = new BulkheadManager();
  await manager.createBulkhead({ name: "api" });
  return manager;
}
