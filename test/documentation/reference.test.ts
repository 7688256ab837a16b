import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { BulkheadEvents, BulkheadManagerEvents } from "../../src/index.js";
import * as bulkman from "../../src/index.js";
import { ROOT, readPage } from "./examples.js";
import { codeIn, tableBelow } from "./tables.js";

const STATISTICS = readPage("docs/reference/statistics.md");
const EVENTS_PAGE = readPage("docs/reference/events.md");

describe("the table of the configuration", () => {
  const rows = tableBelow(readPage("docs/reference/configuration.md"), "# Configuration");
  const defaults = configOf("name", "x");

  it("has every field with its default", () => {
    const shown = rows.map(([field = "", value = ""]) => [codeIn(field)[0], defaultIn(value)]);
    expect(shown.map(([field]) => field).sort()).toEqual(Object.keys(defaults).sort());
    expect(Object.fromEntries(shown)).toEqual({ ...defaults, name: undefined });
  });

  it.for(rows)("gives the rule of %s", ([field = "", , rule = ""]) => {
    const [name = ""] = codeIn(field);
    const limits = RULES[rule];
    if (limits === undefined) throw new Error(`What is the rule "${rule}"?`);
    for (const value of limits.fits) expect(configOf(name, value)).toHaveProperty(name, value);
    for (const value of limits.outOfRange) {
      expect(() => configOf(name, value)).toThrow(RangeError);
    }
    for (const value of limits.wrongType) expect(() => configOf(name, value)).toThrow(TypeError);
  });

  it("is introduced by the longest time and the errors", () => {
    expect(readPage("docs/reference/configuration.md")).toContain("at most 2147483.647");
    expect(configOf("windowSeconds", 2147483.647)).toHaveProperty("windowSeconds", 2147483.647);
    expect(() => configOf("windowSeconds", 2147483.648)).toThrow(RangeError);
    expect(() => configOf("maxQueSize", 1)).toThrow('did you mean "maxQueueSize"?');
    expect(Object.isFrozen(defaults)).toBe(true);
  });
});

describe("the table of the errors", () => {
  const rows = tableBelow(readPage("docs/reference/errors.md"), "# Errors").map(
    ([name = "", code = ""]) => ({
      name: codeIn(name)[0] ?? "",
      code: codeIn(code)[0] ?? "",
    }),
  );
  const classes = Object.entries(bulkman).flatMap(([name, value]) =>
    isErrorClass(value) ? [[name, value] as const] : [],
  );

  it("has every exported class with its code", () => {
    const shown = new Map(rows.toReversed().map(({ name, code }) => [name, code]));
    const exported = classes.map(([name, ErrorClass]) => [name, new ErrorClass("").code]);
    expect(Object.fromEntries(shown)).toEqual(Object.fromEntries(exported));
  });

  it("has every code of the source", () => {
    const source = join(ROOT, "src");
    const codes = readdirSync(source, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .flatMap(
        (name) => readFileSync(join(source, name), "utf8").match(/"ERR_BULKHEAD\w*"/g) ?? [],
      );
    expect(rows.map(({ code }) => `"${code}"`).sort()).toEqual([...new Set(codes)].sort());
  });
});

describe("the other tables", () => {
  it("have every figure of getStats() and every reason of a rejection", () => {
    const circuitStorage = new bulkman.InMemoryStorage();
    const config = { name: "x", fleetMaxConcurrentCalls: 1 };
    const stats = new bulkman.Bulkhead(config, { circuitStorage }).getStats();
    const rows = tableBelow(STATISTICS, "## getStats()");
    expect(rows.flatMap(([figure = ""]) => codeIn(figure)).sort()).toEqual(
      Object.keys(stats).sort(),
    );
    const [, reasons = ""] = rows.find(([figure]) => figure === "`rejections`") ?? [];
    expect(codeIn(reasons)).toEqual(Object.keys(stats.rejections));
  });

  it("have every event", () => {
    const shown = tableBelow(EVENTS_PAGE, "## Events of a bulkhead").flatMap(([event = ""]) =>
      codeIn(event),
    );
    expect(shown).toEqual(Object.keys(EVENTS));
  });

  it("have every event of a manager", () => {
    const rows = tableBelow(EVENTS_PAGE, "## Events of a manager");
    expect(rows.flatMap(([event = ""]) => codeIn(event))).toEqual(Object.keys(MANAGER_EVENTS));
  });

  it("have every state", () => {
    const rows = tableBelow(STATISTICS, "## getState()");
    const shown = rows.map(([state = ""]) => codeIn(state));
    const states = Object.entries(bulkman.BulkheadState);
    expect(shown).toEqual(states.map(([name, value]) => [`BulkheadState.${name}`, `"${value}"`]));
  });
});

function isErrorClass(value: unknown): value is typeof bulkman.BulkheadError {
  if (typeof value !== "function") return false;
  return value === bulkman.BulkheadError || value.prototype instanceof bulkman.BulkheadError;
}

/** In the order of the table. The compiler knows when one is missing or too many. */
const EVENTS: Record<keyof BulkheadEvents, true> = {
  stateChange: true,
  rejected: true,
  success: true,
  failure: true,
  timeout: true,
  abandoned: true,
  reclaimed: true,
  healthCheck: true,
  isolated: true,
  released: true,
  configured: true,
  permits: true,
  storageError: true,
  shutdown: true,
};

const MANAGER_EVENTS: Record<keyof BulkheadManagerEvents, true> = {
  created: true,
  removed: true,
};

interface Limits {
  readonly fits: readonly unknown[];
  readonly outOfRange: readonly unknown[];
  readonly wrongType: readonly unknown[];
}

const NO_NUMBERS = ["1", true, {}];

/** What the words of the table mean. */
const RULES: Record<string, Limits> = {
  "1 to 255 characters": {
    fits: ["x", "x".repeat(255)],
    outOfRange: ["", "x".repeat(256)],
    wrongType: [1, null, undefined],
  },
  "integer ≥ 1": { fits: [1, 2], outOfRange: [0, 1.5, Number.NaN], wrongType: NO_NUMBERS },
  // Alone, `null` would leave nothing that opens the circuit.
  "integer ≥ 1, or `null` for off": {
    fits: [1, 2],
    outOfRange: [0, 1.5, Number.NaN, null],
    wrongType: NO_NUMBERS,
  },
  "integer ≥ 1, or `null` for none": {
    fits: [1, 2, null],
    outOfRange: [0, 1.5, Number.NaN],
    wrongType: NO_NUMBERS,
  },
  '`"share"`, `"local"` or `"reject"`': {
    fits: ["share", "local", "reject"],
    outOfRange: ["", "none"],
    wrongType: [1, null],
  },
  "integer ≥ 0": { fits: [0, 1], outOfRange: [-1, 0.5, Number.NaN], wrongType: NO_NUMBERS },
  "> 0": { fits: [0.001], outOfRange: [0, -1, Number.POSITIVE_INFINITY], wrongType: NO_NUMBERS },
  "≥ 0, or `{ min, max, factor }`": {
    fits: [0, { min: 1, max: 2, factor: 3 }],
    outOfRange: [-1, { min: 2, max: 1 }, { min: 0, max: 1 }, { min: 1, max: 2, factor: 0.5 }],
    wrongType: [...NO_NUMBERS.slice(0, 2), { max: 1 }, []],
  },
  "≥ 0": { fits: [0], outOfRange: [-1, Number.POSITIVE_INFINITY], wrongType: NO_NUMBERS },
  "> 0, or `null` for off": { fits: [0.001, null], outOfRange: [0, -1], wrongType: NO_NUMBERS },
  "> 0, or `null` for none": { fits: [0.001, null], outOfRange: [0, -1], wrongType: NO_NUMBERS },
  "≥ 0, or `null` for never": { fits: [0, null], outOfRange: [-1], wrongType: NO_NUMBERS },
  "> 0 and ≤ 100": { fits: [0.1, 100], outOfRange: [0, 100.1], wrongType: [...NO_NUMBERS, null] },
  "> 0 and ≤ 100, or `null` for off": {
    fits: [0.1, 100, null],
    outOfRange: [0, 100.1],
    wrongType: NO_NUMBERS,
  },
  boolean: { fits: [true, false], outOfRange: [], wrongType: [1, "true", null] },
  function: { fits: [() => true], outOfRange: [], wrongType: [1, "true", null] },
};

/** The checked configuration of a bulkhead with one field set. */
function configOf(field: string, value: unknown): bulkman.Bulkhead["config"] {
  const bulkhead = new bulkman.Bulkhead({ name: "x", [field]: value });
  void bulkhead.shutdown();
  return bulkhead.config;
}

/** What a cell says that the default is. */
function defaultIn(cell: string): unknown {
  const [code] = codeIn(cell);
  return code === undefined ? undefined : JSON.parse(code);
}
