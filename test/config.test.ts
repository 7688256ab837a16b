import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  Bulkhead,
  type BulkheadConfig,
  BulkheadManager,
  type BulkheadOptions,
  InMemoryStorage,
  type RunOptions,
  type ShutdownOptions,
} from "../src/index.js";
import { resolveConfig } from "../src/resolve-config.js";

/** What JavaScript, or a configuration file, may pass instead of a typed object. */
function untyped<T>(value: unknown): T {
  return value as T;
}

function configWith(field: string, value: unknown): BulkheadConfig {
  return untyped({ name: "api", [field]: value });
}

/** The error that a function throws, or that the promise that it returns rejects with. */
async function errorOf(action: () => unknown): Promise<Error> {
  try {
    await action();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("Nothing was thrown");
}

/** What comes of each value, by the value as it is printed: `"accepted"`, or the error with its type. */
type Outcomes = Record<string, string>;

/** One object for all values: a failing test shows every value with another outcome. */
async function outcomesOf(
  values: readonly unknown[],
  action: (value: unknown) => unknown,
): Promise<Outcomes> {
  const outcomes: Outcomes = {};
  for (const value of values) {
    try {
      await action(value);
      outcomes[inspect(value)] = "accepted";
    } catch (error) {
      outcomes[inspect(value)] = String(error);
    }
  }
  return outcomes;
}

/** The same outcome for each value; `%s` in it is the value as it is printed. */
function all(values: readonly unknown[], outcome: string): Outcomes {
  return Object.fromEntries(
    values.map((value) => [inspect(value), outcome.replace("%s", () => inspect(value))]),
  );
}

/** Longest delay of a timer, 2^31-1 ms, in seconds. */
const LONGEST = 2_147_483.647;
const TOO_LONG = 2_147_483.648;
const NOT_NUMBERS = ["1", "", true, false, 1n, {}, [], [1], () => 1, Symbol("1"), new Number(1)];
const NEVER_IN_RANGE = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1];
const NOT_OBJECTS = [null, "options", 1, true, [], () => ({})];

interface Rule {
  readonly good: readonly unknown[];
  readonly wrongType: readonly unknown[];
  readonly outOfRange: readonly unknown[];
  /** The rule in the message. */
  readonly text: string;
}

function integerFrom(least: number): Rule {
  return {
    good: [least, least + 1, 1e6, Number.MAX_SAFE_INTEGER],
    wrongType: [...NOT_NUMBERS, null],
    outOfRange: [...NEVER_IN_RANGE, least - 1, least + 0.5, 2 ** 53, Number.MAX_VALUE],
    text: `an integer of at least ${least}`,
  };
}

const POSITIVE_SECONDS: Rule = {
  good: [Number.MIN_VALUE, 0.001, 1, LONGEST],
  wrongType: [...NOT_NUMBERS, null],
  outOfRange: [...NEVER_IN_RANGE, 0, -0, -0.001, TOO_LONG, 2 ** 31, Number.MAX_VALUE],
  text: `a number of seconds over 0 and up to ${LONGEST}`,
};
const SECONDS: Rule = {
  good: [0, -0, Number.MIN_VALUE, 0.5, LONGEST],
  wrongType: [...NOT_NUMBERS, null],
  outOfRange: [...NEVER_IN_RANGE, -Number.MIN_VALUE, TOO_LONG, 2 ** 31, Number.MAX_VALUE],
  text: `a number of seconds from 0 to ${LONGEST}`,
};
const PERCENTAGE: Rule = {
  good: [Number.MIN_VALUE, 0.5, 50, 100],
  wrongType: [...NOT_NUMBERS, null],
  outOfRange: [...NEVER_IN_RANGE, 0, -0, 100.000_001, 101],
  text: "a percentage over 0 and up to 100",
};
const BOOLEAN: Rule = {
  good: [true, false],
  wrongType: [null, 0, 1, "", "true", "false", {}, [], () => true, new Boolean(false)],
  outOfRange: [],
  text: "true or false",
};
const FUNCTION: Rule = {
  good: [() => true, async () => {}, class {}, new Proxy(() => true, {})],
  wrongType: [null, true, 1, "check", {}, [], Symbol("f")],
  outOfRange: [],
  text: "a function",
};

function orNull({ good, wrongType, outOfRange, text }: Rule): Rule {
  return {
    good: [null, ...good],
    wrongType: wrongType.filter((value) => value !== null),
    outOfRange,
    text: `${text}, or null`,
  };
}

interface Field {
  readonly byDefault: unknown;
  readonly rule: Rule;
}

/** The design's table. `name` is apart: it has no default. */
const TABLE: Record<Exclude<keyof BulkheadConfig, "name">, Field> = {
  enforce: { byDefault: true, rule: BOOLEAN },
  fleetMaxConcurrentCalls: { byDefault: null, rule: orNull(integerFrom(1)) },
  fleetFallback: {
    byDefault: "share",
    rule: {
      good: ["share", "local", "reject"],
      wrongType: [null, 0, true, {}, []],
      outOfRange: ["", "Share", "none"],
      text: '"share", "local" or "reject"',
    },
  },
  maxConcurrentCalls: { byDefault: 10, rule: integerFrom(1) },
  maxQueueSize: { byDefault: 100, rule: integerFrom(0) },
  timeoutSeconds: { byDefault: null, rule: orNull(POSITIVE_SECONDS) },
  maxWaitSeconds: { byDefault: null, rule: orNull(POSITIVE_SECONDS) },
  queueTargetSeconds: { byDefault: null, rule: orNull(POSITIVE_SECONDS) },
  failureWindowSeconds: { byDefault: null, rule: orNull(POSITIVE_SECONDS) },
  failureThreshold: { byDefault: 5, rule: orNull(integerFrom(1)) },
  successThreshold: { byDefault: 3, rule: integerFrom(1) },
  isolationDuration: {
    byDefault: 30,
    rule: {
      ...SECONDS,
      // The fields of an object have tests of their own.
      wrongType: SECONDS.wrongType.filter(
        (value) => Array.isArray(value) || Object(value) !== value,
      ),
      text: `${SECONDS.text}, or { min, max, factor }`,
    },
  },
  openQuorum: { byDefault: 1, rule: integerFrom(1) },
  circuitBreakerEnabled: { byDefault: true, rule: BOOLEAN },
  reclaimAfterSeconds: { byDefault: 30, rule: orNull(SECONDS) },
  healthCheck: { byDefault: undefined, rule: FUNCTION },
  healthCheckInterval: { byDefault: 5, rule: POSITIVE_SECONDS },
  errorFilter: { byDefault: undefined, rule: FUNCTION },
  classify: { byDefault: undefined, rule: FUNCTION },
  failureRateThreshold: { byDefault: null, rule: orNull(PERCENTAGE) },
  slowCallSeconds: { byDefault: null, rule: orNull(POSITIVE_SECONDS) },
  slowCallRateThreshold: { byDefault: 100, rule: PERCENTAGE },
  minimumCalls: { byDefault: 10, rule: integerFrom(1) },
  windowSeconds: { byDefault: 10, rule: POSITIVE_SECONDS },
};
const FIELDS = Object.entries(TABLE).map(([field, { byDefault, rule }]) => ({
  field,
  byDefault,
  rule,
  text: rule.text,
}));
/** With a circuit that a rate can open: `failureThreshold` may then be null. */
const CAN_OPEN = { name: "api", failureRateThreshold: 50 };

describe("a field of a configuration", () => {
  const defaults = Object.fromEntries(FIELDS.map(({ field, byDefault }) => [field, byDefault]));

  it("has its default when only the name is given", () => {
    const { config } = new Bulkhead({ name: "api" });
    expect({ ...config }).toStrictEqual({ name: "api", ...defaults });
  });

  it("has its default when it is undefined", () => {
    const given = Object.fromEntries(FIELDS.map(({ field }) => [field, undefined]));
    const { config } = new Bulkhead({ name: "api", ...given });
    expect({ ...config }).toStrictEqual({ name: "api", ...defaults });
  });

  it.each(FIELDS)("$field must be $text", async ({ field, rule }) => {
    const outcomes = await outcomesOf(
      [...rule.good, ...rule.wrongType, ...rule.outOfRange],
      (value) => {
        const { config } = new Bulkhead(untyped({ ...CAN_OPEN, [field]: value }));
        expect(Reflect.get(config, field)).toBe(value);
      },
    );
    expect(outcomes).toEqual({
      ...all(rule.good, "accepted"),
      ...all(rule.wrongType, `TypeError: ${field} must be ${rule.text}; got %s`),
      ...all(rule.outOfRange, `RangeError: ${field} must be ${rule.text}; got %s`),
    });
  });
});

describe("failureThreshold: null", () => {
  it.each([
    { failureRateThreshold: 50 },
    { healthCheck: () => true },
    { failureRateThreshold: 50, healthCheck: () => true },
    { circuitBreakerEnabled: false },
  ])("is accepted with %o", (rest) => {
    expect(resolveConfig({ name: "api", failureThreshold: null, ...rest })).toMatchObject({
      failureThreshold: null,
      ...rest,
    });
  });

  it("throws RangeError when nothing else could open the circuit", async () => {
    for (const rest of [{}, { failureRateThreshold: null }, { circuitBreakerEnabled: true }]) {
      const config = { name: "api", failureThreshold: null, ...rest };
      const error = await errorOf(() => new Bulkhead(config));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toBe(
        "Nothing could open the circuit: failureThreshold, failureRateThreshold and slowCallSeconds are null " +
          "and there is no healthCheck or classify; set one of them, or circuitBreakerEnabled: false",
      );
    }
  });
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
  ])("is accepted when it is %s", (_, name) => {
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

  it("throws TypeError when it is no string", async () => {
    const names = [undefined, null, 1, true, {}, ["api"], Symbol("api"), () => 1, new String("a")];
    expect(await outcomesOf(names, (name) => new Bulkhead(untyped({ name })))).toEqual(
      all(names, `TypeError: ${RULE}%s`),
    );
  });

  it("throws TypeError when it is missing", async () => {
    const error = await errorOf(() => new Bulkhead(untyped({})));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`${RULE}undefined`);
  });
});

describe("an unknown field", () => {
  async function suggestionsFor(fields: readonly string[], value: unknown): Promise<Outcomes> {
    return outcomesOf(fields, (field) => new Bulkhead(configWith(String(field), value)));
  }

  /** The outcomes of fields, given the fields and what is suggested for each. */
  function suggestions(meant: Readonly<Record<string, string>>): Outcomes {
    return Object.fromEntries(
      Object.entries(meant).map(([field, suggestion]) => [
        inspect(field),
        `TypeError: config has no field "${field}"; did you mean ${suggestion}?`,
      ]),
    );
  }

  it("throws TypeError and suggests our field when it is in snake case", async () => {
    const meant = {
      max_concurrent_calls: '"maxConcurrentCalls"',
      max_queue_size: '"maxQueueSize"',
      timeout_seconds: '"timeoutSeconds"',
      failure_threshold: '"failureThreshold"',
      success_threshold: '"successThreshold"',
      isolation_duration: '"isolationDuration"',
      circuit_breaker_enabled: '"circuitBreakerEnabled"',
      health_check_interval: '"healthCheckInterval"',
    };
    expect(await suggestionsFor(Object.keys(meant), 1)).toEqual(suggestions(meant));
  });

  it("throws TypeError and suggests our field when a letter is missing or in the wrong case", async () => {
    const meant = {
      maxConcurrentCall: '"maxConcurrentCalls"',
      maxConcurentCalls: '"maxConcurrentCalls"',
      MaxQueueSize: '"maxQueueSize"',
      healthcheck: '"healthCheck"',
      windowSecond: '"windowSeconds"',
      Name: '"name"',
    };
    expect(await suggestionsFor(Object.keys(meant), 1)).toEqual(suggestions(meant));
  });

  it("throws TypeError and suggests our field with its unit when it has another unit or none", async () => {
    const meant = {
      timeout: '"timeoutSeconds", in seconds',
      timeoutMs: '"timeoutSeconds", in seconds',
      timeoutMillis: '"timeoutSeconds", in seconds',
      timeout_ms: '"timeoutSeconds", in seconds',
      healthCheckIntervalMs: '"healthCheckInterval", in seconds',
      isolationDurationMs: '"isolationDuration", in seconds',
      isolation: '"isolationDuration", in seconds',
      window: '"windowSeconds", in seconds',
    };
    expect(await suggestionsFor(Object.keys(meant), 5000)).toEqual(suggestions(meant));
  });

  it("throws TypeError and suggests our field when it is a field of another library", async () => {
    const meant = {
      // opossum
      resetTimeout: '"isolationDuration", in seconds',
      rollingCountTimeout: '"windowSeconds", in seconds',
      errorThresholdPercentage: '"failureRateThreshold"',
      volumeThreshold: '"minimumCalls"',
      capacity: '"maxConcurrentCalls"',
      maxFailures: '"failureThreshold"',
      enabled: '"circuitBreakerEnabled"',
      // cockatiel
      halfOpenAfter: '"isolationDuration", in seconds',
      threshold: '"failureRateThreshold", in percent',
      duration: '"windowSeconds", in seconds',
      minimumRps: '"minimumCalls"',
      // p-limit and p-queue
      concurrency: '"maxConcurrentCalls"',
      // Polly, resilience4j and others
      breakDuration: '"isolationDuration", in seconds',
      failureRatio: '"failureRateThreshold", in percent',
      queueLimit: '"maxQueueSize"',
    };
    expect(await suggestionsFor(Object.keys(meant), 5000)).toEqual(suggestions(meant));
  });

  it("is printed on one line", async () => {
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

  it("suggests our field for every typo in its name", async () => {
    const names = ["name", ...Object.keys(TABLE)];
    for (const name of names) {
      const typos = typosOf(name).filter((typo) => !names.includes(typo));
      const meant = Object.fromEntries(typos.map((typo) => [typo, `"${name}"`]));
      expect(await suggestionsFor(typos, 1)).toEqual(suggestions(meant));
    }
  });

  it("throws when its value is undefined", () => {
    expect(() => new Bulkhead(configWith("maxQueue", undefined))).toThrow(TypeError);
  });

  it("throws when every object inherits a property of its name", () => {
    for (const field of ["constructor", "toString", "hasOwnProperty", "valueOf"]) {
      expect(() => new Bulkhead(configWith(field, 1))).toThrow(`config has no field "${field}"`);
    }
  });

  it("throws when it is an own __proto__, as JSON.parse makes it", () => {
    const config = untyped<BulkheadConfig>(
      JSON.parse('{ "name": "api", "__proto__": { "maxConcurrentCalls": 1 } }'),
    );
    expect(() => new Bulkhead(config)).toThrow('config has no field "__proto__"');
  });

  it("throws TypeError when its name has a million characters", async () => {
    const error = await errorOf(() => new Bulkhead(configWith("x".repeat(1e6), 1)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^config has no field /);
  });
});

describe("a configuration", () => {
  it("throws TypeError when it is no object", async () => {
    for (const config of [undefined, null, "api", 1, true, [], ["api"], () => ({ name: "api" })]) {
      const error = await errorOf(() => new Bulkhead(untyped(config)));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^config must be an object; got /);
    }
  });

  it("is accepted without a prototype", () => {
    const config: BulkheadConfig = Object.assign(Object.create(null), { name: "api" });
    expect(new Bulkhead(config).name).toBe("api");
  });

  it("is accepted when it is frozen", () => {
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

  it("is frozen when the bulkhead returns it", () => {
    const { config } = new Bulkhead({ name: "api" });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Reflect.set(config, "maxQueueSize", 1)).toBe(false);
  });

  it("is not changed by the bulkhead that it is given to", () => {
    const given = { name: "api" };
    new Bulkhead(given);
    expect(given).toStrictEqual({ name: "api" });
    expect(Object.isFrozen(given)).toBe(false);
  });

  it("is accepted when it is a Proxy", () => {
    const config = new Proxy<BulkheadConfig>({ name: "api", maxQueueSize: 7 }, {});
    expect(new Bulkhead(config).config).toMatchObject({ name: "api", maxQueueSize: 7 });
  });

  it("is used as it was validated when a getter returns another value each time", () => {
    let reads = 0;
    const config: BulkheadConfig = {
      name: "api",
      get maxQueueSize() {
        return reads++ === 0 ? 7 : Number.NaN;
      },
    };
    expect(new Bulkhead(config).config.maxQueueSize).toBe(7);
  });

  it("is used as it was validated when a Proxy hides a field", () => {
    const config = new Proxy(untyped<BulkheadConfig>({ name: "api", maxQueueSize: Number.NaN }), {
      ownKeys: () => ["name"],
    });
    expect(queueSizeWith(config)).not.toBeNaN();
  });

  it("has no values from its prototype that were not validated", () => {
    const config = Object.create({ maxQueueSize: Number.NaN }, { name: field("api") });
    expect(queueSizeWith(config)).not.toBeNaN();
  });

  it("has no values from getters of its class that were not validated", () => {
    class Config {
      readonly name = "api";
      get maxQueueSize() {
        return Number.NaN;
      }
    }
    expect(queueSizeWith(new Config())).not.toBeNaN();
  });

  it("has no values from fields that are not enumerable and were not validated", () => {
    const config = Object.create(Object.prototype, {
      name: field("api"),
      maxQueueSize: { value: Number.NaN, enumerable: false },
    });
    expect(queueSizeWith(config)).not.toBeNaN();
  });

  it("throws what its getter throws", () => {
    const thrown = new Error("no such secret");
    const config: BulkheadConfig = {
      get name(): string {
        throw thrown;
      },
    };
    expect(() => new Bulkhead(config)).toThrow(thrown);
  });

  it("throws with the field and its rule when the value cannot be printed", async () => {
    const value = {
      [inspect.custom]() {
        throw new Error("unprintable");
      },
    };
    const error = await errorOf(() => new Bulkhead(configWith("maxQueueSize", value)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(`maxQueueSize must be ${TABLE.maxQueueSize.rule.text}; got `);
  });

  it.each([
    ["an error", new TypeError("down"), "[TypeError: down]"],
    ["an error without a message", new TypeError(""), "[TypeError]"],
    ["an array", Array.from("abcdefg"), "[ 'a', 'b', 'c', 'd', 'e', 'f', 'g' ]"],
  ])("throws with the value on one line when it is %s", async (_, value, shown) => {
    const error = await errorOf(() => resolveConfig(configWith("maxQueueSize", value)));
    expect(error.message.replaceAll(/ +/g, " ")).toMatch(`; got ${shown}`);
    expect(error.message).not.toMatch(/[\n\r]/);
  });

  it("throws with the start of a value that is long", async () => {
    const value = "x".repeat(1e6);
    const error = await errorOf(() => new Bulkhead(configWith("maxQueueSize", value)));
    expect(error.message).toMatch(/^maxQueueSize must be .*; got 'xxx/);
    expect(error.message.length).toBeLessThan(300);
  });

  /** The size that the bulkhead would use; "rejected" when it throws. */
  function queueSizeWith(config: BulkheadConfig): unknown {
    try {
      return new Bulkhead(config).config.maxQueueSize;
    } catch {
      return "rejected";
    }
  }

  function field(value: unknown): PropertyDescriptor {
    return { value, enumerable: true };
  }
});

const CONNECTION_STRING = "postgres://app:hun/ter2@hunter2@db:5432/app";
const STORAGE_RULE =
  "circuitStorage must be a CircuitStorage, with the methods getState, load, change, subscribe and close";

describe.each([
  ["Bulkhead", (options: BulkheadOptions) => new Bulkhead({ name: "api" }, options)],
  ["BulkheadManager", (options: BulkheadOptions) => new BulkheadManager(options)],
])("the options of %s", (_, make) => {
  function withStorage(circuitStorage: unknown): () => unknown {
    return () => make(untyped({ circuitStorage }));
  }

  it("are accepted when they are undefined, empty, or have an undefined storage", () => {
    expect(() => make(untyped(undefined))).not.toThrow();
    expect(() => make({})).not.toThrow();
    expect(() => make({ circuitStorage: undefined })).not.toThrow();
  });

  it("are accepted when they have a storage", () => {
    expect(() => make({ circuitStorage: new InMemoryStorage() })).not.toThrow();
  });

  it("throw TypeError when they are no object", () => {
    for (const options of NOT_OBJECTS) {
      expect(() => make(untyped(options))).toThrow(TypeError);
      expect(() => make(untyped(options))).toThrow(/^options must be an object; got /);
    }
  });

  it.each<[string, unknown]>([
    ["a connection string instead of the options", CONNECTION_STRING],
    ["a connection string instead of the storage", { circuitStorage: CONNECTION_STRING }],
    [
      "options of a storage instead of the storage",
      { circuitStorage: { password: "hunter2", connectionString: CONNECTION_STRING } },
    ],
  ])("never show a secret in an error: %s", async (_case, options) => {
    const error = await errorOf(() => make(untyped(options)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("must be");
    expect(error.message).not.toContain("hunter2");
  });

  it("throw TypeError when the storage is something else", () => {
    for (const other of [null, "postgres", 1, true, {}, [], () => {}, new Map()]) {
      expect(withStorage(other)).toThrow(TypeError);
      expect(withStorage(other)).toThrow(STORAGE_RULE);
    }
  });

  it("throw TypeError when the storage misses a method", () => {
    for (const method of ["getState", "load", "change", "subscribe", "close"]) {
      const storage = Object.assign(new InMemoryStorage(), { [method]: undefined });
      expect(withStorage(storage)).toThrow(TypeError);
      expect(withStorage(storage)).toThrow(STORAGE_RULE);
    }
  });

  it.each(["queryTimeoutSeconds", "probeLeaseSeconds"])(
    `throw unless the storage's %s is ${POSITIVE_SECONDS.text}`,
    async (limit) => {
      const { good, wrongType, outOfRange, text } = POSITIVE_SECONDS;
      const outcomes = await outcomesOf(
        [undefined, ...good, ...wrongType, ...outOfRange],
        (value) => withStorage(Object.assign(new InMemoryStorage(), { [limit]: value }))(),
      );
      expect(outcomes).toEqual({
        ...all([undefined, ...good], "accepted"),
        ...all(wrongType, `TypeError: circuitStorage.${limit} must be ${text}; got %s`),
        ...all(outOfRange, `RangeError: circuitStorage.${limit} must be ${text}; got %s`),
      });
    },
  );

  it("throw TypeError with the closest name when a field is unknown", () => {
    expect(() => make(untyped({ circuit_storage: 1 }))).toThrow(TypeError);
    expect(() => make(untyped({ circuit_storage: 1 }))).toThrow(
      'options has no field "circuit_storage"; did you mean "circuitStorage"?',
    );
  });
});

describe("the options of run", () => {
  const run = (options: unknown) =>
    new Bulkhead({ name: "api" }).run(() => 1, untyped<RunOptions>(options));

  it("are the defaults when they are undefined, empty, or have undefined fields", async () => {
    for (const options of [undefined, {}, { signal: undefined, timeoutSeconds: undefined }]) {
      expect((await run(options)).result).toBe(1);
    }
  });

  it("reject with TypeError when they are no object", async () => {
    for (const options of NOT_OBJECTS) {
      const error = await errorOf(() => run(options));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^options must be an object; got /);
    }
  });

  it(`reject unless timeoutSeconds is ${TABLE.timeoutSeconds.rule.text}`, async () => {
    const { good, wrongType, outOfRange, text } = TABLE.timeoutSeconds.rule;
    const outcomes = await outcomesOf(
      [...good, ...wrongType, ...outOfRange],
      async (timeoutSeconds) => expect((await run({ timeoutSeconds })).result).toBe(1),
    );
    expect(outcomes).toEqual({
      ...all(good, "accepted"),
      ...all(wrongType, `TypeError: timeoutSeconds must be ${text}; got %s`),
      ...all(outOfRange, `RangeError: timeoutSeconds must be ${text}; got %s`),
    });
  });

  it("reject with TypeError when the signal is no AbortSignal", async () => {
    const others = [
      null,
      1,
      "abort",
      {},
      { aborted: false },
      new AbortController(),
      new EventTarget(),
    ];
    for (const signal of others) {
      const error = await errorOf(() => run({ signal }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^signal must be an AbortSignal; got /);
    }
  });

  it("reject with TypeError and the closest name when a field is unknown", async () => {
    const error = await errorOf(() => run({ timeout_seconds: 1 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      'options has no field "timeout_seconds"; did you mean "timeoutSeconds"?',
    );
  });

  it("reject with TypeError and the unit when a time is in another unit", async () => {
    const error = await errorOf(() => run({ timeoutMs: 5000 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      'options has no field "timeoutMs"; did you mean "timeoutSeconds", in seconds?',
    );
  });

  it("have no values from their prototype that were not validated", async () => {
    const reason = new Error("not validated");
    const options = Object.create({ signal: { aborted: true, reason } });
    expect(await run(options).catch((error) => error)).not.toBe(reason);
  });

  it("are validated before the call: the task is not started and nothing is counted", async () => {
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
  const shutdown = async (options: unknown) =>
    (await make()).shutdown(untyped<ShutdownOptions | undefined>(options));

  it("are the defaults when they are undefined, empty, or have undefined fields", async () => {
    for (const options of [undefined, {}, { drainSeconds: undefined }]) {
      await expect(shutdown(options)).resolves.toBeUndefined();
    }
  });

  it("reject with TypeError when they are no object", async () => {
    for (const options of NOT_OBJECTS) {
      await expect(shutdown(options)).rejects.toThrow(TypeError);
    }
  });

  it(`reject unless drainSeconds is ${SECONDS.text}`, async () => {
    const { good, wrongType, outOfRange, text } = SECONDS;
    const outcomes = await outcomesOf([...good, ...wrongType, ...outOfRange], (drainSeconds) =>
      shutdown({ drainSeconds }),
    );
    expect(outcomes).toEqual({
      ...all(good, "accepted"),
      ...all(wrongType, `TypeError: drainSeconds must be ${text}; got %s`),
      ...all(outOfRange, `RangeError: drainSeconds must be ${text}; got %s`),
    });
  });

  it("reject with TypeError and the closest name when a field is unknown", async () => {
    const error = await errorOf(() => shutdown({ drain_seconds: 1 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain('did you mean "drainSeconds"?');
  });
});

describe("invalid options of shutdown", () => {
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
