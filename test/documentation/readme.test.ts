import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BulkheadEvents, BulkheadManagerEvents } from "../../src/index.js";
import * as bulkman from "../../src/index.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";
import { GUIDES, ROOT, readExamples, readPage } from "./examples.js";
import { Sandbox } from "./sandbox.js";
import { codeIn, tableBelow } from "./tables.js";
import { typeCheck } from "./type-check.js";

const README = readPage("README.md");
const PAGES = ["README.md", "examples/README.md", ...GUIDES];
const examples = PAGES.flatMap(readExamples);
const run = examples.filter(({ notRun }) => notRun === undefined);

describe("the examples", () => {
  let sandbox: Sandbox;
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
    sandbox = await Sandbox.create({
      RC_DB_HOST: "127.0.0.1",
      RC_DB_PORT: String(database.server.port),
      RC_DB_NAME: database.name,
      RC_DB_USER: database.server.user,
      RC_DB_PASSWORD: database.server.password,
    });
  }, 60_000);
  afterAll(async () => {
    await sandbox.remove();
    await database.drop();
  });

  it("pass the strict type check", { timeout: 60_000 }, () => {
    expect(typeCheck(run)).toEqual([]);
  });

  it.concurrent.for(run)(
    "$place runs, and prints what it promises",
    {
      timeout: 30_000,
    },
    async (example, { expect }) => {
      for (const { line, promised, printed } of await sandbox.run(example)) {
        expect({ line, text: printed }).toEqual({ line, text: promised });
      }
    },
  );

  it("say why they are not run, if they are not", () => {
    const reasons = examples.flatMap(({ notRun }) => notRun ?? []);
    expect(reasons).toEqual(["Nest is not a dependency of this project"]);
  });
});

describe("the table of the configuration", () => {
  const rows = tableBelow(README, "## Configuration");
  const defaults = configOf("name", "x");

  it("has every field with its default", () => {
    const shown = rows.map(([field = "", value = ""]) => [codeIn(field)[0], defaultIn(value)]);
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
    expect(README).toContain("at most 2147483.647");
    expect(configOf("windowSeconds", 2147483.647)).toHaveProperty("windowSeconds", 2147483.647);
    expect(() => configOf("windowSeconds", 2147483.648)).toThrow(RangeError);
    expect(() => configOf("maxQueSize", 1)).toThrow('did you mean "maxQueueSize"?');
    expect(Object.isFrozen(defaults)).toBe(true);
  });
});

describe("the table of the errors", () => {
  const rows = tableBelow(README, "## Errors").map(([name = "", code = ""]) => ({
    name: codeIn(name)[0] ?? "",
    code: codeIn(code)[0] ?? "",
  }));
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
    const stats = new bulkman.Bulkhead({ name: "x" }).getStats();
    const rows = tableBelow(README, "## Statistics");
    expect(rows.flatMap(([figure = ""]) => codeIn(figure)).sort()).toEqual(
      Object.keys(stats).sort(),
    );
    const [, reasons = ""] = rows.find(([figure]) => figure === "`rejections`") ?? [];
    expect(codeIn(reasons)).toEqual(Object.keys(stats.rejections));
  });

  it("have every event", () => {
    const shown = tableBelow(README, "## Events").flatMap(([event = ""]) => codeIn(event));
    expect(shown).toEqual(Object.keys(EVENTS));
  });

  it("have every event of a manager", () => {
    const rows = tableBelow(README, "### Events of a manager");
    expect(rows.flatMap(([event = ""]) => codeIn(event))).toEqual(Object.keys(MANAGER_EVENTS));
  });

  it("have every state", () => {
    const rows = tableBelow(README, "### Statistics, health and reset");
    const shown = rows.map(([state = ""]) => codeIn(state));
    const states = Object.entries(bulkman.BulkheadState);
    expect(shown).toEqual(states.map(([name, value]) => [`BulkheadState.${name}`, `"${value}"`]));
  });
});

it("the README has the two commands for contributors", () => {
  expect(README).toContain("```sh\nnpm ci && npm run demo\n```");
  expect(README).toContain("```sh\nnpm cit\n```");
});

it("the README leads to every other page", () => {
  const targets = Array.from(README.matchAll(/\]\(([\w/-]+\.md)/g), ([, target]) => target);
  for (const page of PAGES.filter((name) => name !== "README.md")) expect(targets).toContain(page);
});

it.each(PAGES)("every link of %s within this project leads somewhere", (page) => {
  const text = readPage(page);
  for (const [, target = ""] of text.matchAll(/\]\(([^)]+)\)/g)) {
    if (target.startsWith("https://")) continue;
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? page : join(page, "..", path);
    const anchors = Array.from(readPage(file).matchAll(/^#+ (.+)$/gm), ([, title = ""]) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    );
    if (anchor !== undefined) expect(anchors).toContain(anchor);
  }
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
  "integer ≥ 0": { fits: [0, 1], outOfRange: [-1, 0.5, Number.NaN], wrongType: NO_NUMBERS },
  "> 0": { fits: [0.001], outOfRange: [0, -1, Number.POSITIVE_INFINITY], wrongType: NO_NUMBERS },
  "≥ 0": { fits: [0], outOfRange: [-1, Number.POSITIVE_INFINITY], wrongType: NO_NUMBERS },
  "> 0, or `null` for none": { fits: [0.001, null], outOfRange: [0, -1], wrongType: NO_NUMBERS },
  "≥ 0, or `null` for never": { fits: [0, null], outOfRange: [-1], wrongType: NO_NUMBERS },
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
