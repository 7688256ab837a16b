import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, inject, test } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    /** An empty project into which pack.setup.mjs has installed the tarball. */
    packedProject: string;
  }
}

const PUBLIC_NAMES = [
  "Bulkhead",
  "BulkheadCircuitOpenError",
  "BulkheadError",
  "BulkheadFullError",
  "BulkheadIsolationError",
  "BulkheadManager",
  "BulkheadShutdownError",
  "BulkheadState",
  "BulkheadTimeoutError",
  "EMPTY_POOL",
  "InMemoryStorage",
  "PostgresStorage",
  "applyChange",
  "applyLease",
  "createStorage",
  "httpStatus",
  "withBulkhead",
];

const project = inject("packedProject");
const installed = join(project, "node_modules/bulkman");
const fixtures = join(import.meta.dirname, "fixtures");

/** Runs Node in the project; rejects unless the process exits by itself with status 0. */
async function node(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: project,
    timeout: 60_000,
  });
  return stdout;
}

beforeAll(() => cp(fixtures, project, { recursive: true }));

describe("the tarball", () => {
  test("contains the build and the documents, and nothing else", async () => {
    const entries = await readdir(installed, { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(installed.length + 1))
      // What two entries share has a hash in its name.
      .map((name) => name.replace(/-(?!contract\b)[\w-]{8}(\.d\.c?ts)$/, "-HASH$1"));
    // What the README links to.
    const pages = files.filter((name) => /^(docs|examples)\//.test(name));
    expect(pages).toEqual(
      expect.arrayContaining(["docs/operations/postgres.md", "examples/fetch.mjs"]),
    );
    expect(pages.filter((name) => /^docs\/(api|.*\.html)/.test(name))).toEqual([]);
    const rest = files.filter((name) => !pages.includes(name));
    expect([...new Set(rest)].sort()).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "dist/circuit-storage-HASH.d.cts",
      "dist/circuit-storage-HASH.d.ts",
      "dist/cli.js",
      "dist/events-HASH.d.cts",
      "dist/events-HASH.d.ts",
      "dist/index.cjs",
      "dist/index.d.cts",
      "dist/index.d.ts",
      "dist/index.js",
      "dist/manager-HASH.d.cts",
      "dist/manager-HASH.d.ts",
      "dist/measured-HASH.d.cts",
      "dist/measured-HASH.d.ts",
      "dist/opentelemetry.cjs",
      "dist/opentelemetry.d.cts",
      "dist/postgres.cjs",
      "dist/prometheus.cjs",
      "dist/prometheus.d.cts",
      "dist/storage-contract.cjs",
      "dist/storage-contract.d.cts",
      "dist/undici.cjs",
      "dist/undici.d.cts",
      "dist/undici.d.ts",
      "dist/undici.js",
      "package.json",
    ]);
  });

  test("takes at most 1024 KiB when it is installed", async () => {
    const entries = await readdir(installed, { recursive: true, withFileTypes: true });
    const sizes = entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size);
    const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    expect(bytes / 1024).toBeLessThanOrEqual(1024);
  });

  test("runs no script when it is installed", async () => {
    const { scripts } = JSON.parse(await readFile(join(installed, "package.json"), "utf8"));
    const names = ["preinstall", "install", "postinstall", "prepare"];
    expect(Object.keys(scripts).filter((name) => names.includes(name))).toEqual([]);
  });

  test("keeps the licence of the code that its CommonJS build contains", async () => {
    const code = await readFile(join(installed, "dist/index.cjs"), "utf8");
    const licence = await readFile(join(project, "node_modules/p-limit/license"), "utf8");
    expect(code).toContain(licence.trim());
  });
});

describe.each([
  { format: "ESM", program: "smoke.mjs", load: 'const loaded = await import("bulkman")' },
  { format: "CommonJS", program: "smoke.cjs", load: 'const loaded = require("bulkman")' },
])("from $format", ({ format, program, load }) => {
  const evaluate = (code: string) =>
    node(`--input-type=${format === "ESM" ? "module" : "commonjs"}`, "--eval", code);

  test("exports the public names and no others", async () => {
    const names = JSON.parse(
      await evaluate(`${load}; console.log(JSON.stringify(Object.keys(loaded)))`),
    );
    expect(names.sort()).toEqual(PUBLIC_NAMES);
  });

  test("works, and an idle bulkhead lets the process exit", async () => {
    await node(program);
  });

  test("leaves no trace when it is only imported", async () => {
    const look = `() => JSON.stringify({
      globals: Object.getOwnPropertyNames(globalThis),
      listeners: process.eventNames().map(String),
      timers: process.getActiveResourcesInfo().filter((name) => /Timeout|Immediate/.test(name)),
      variables: process.env,
    })`;
    const output = await evaluate(
      `const look = ${look}; const before = look(); ${load}; console.log(before === look(), !!loaded)`,
    );
    expect(output).toBe("true true\n");
  });
});

test.each(["module", "commonjs"])("has the storage contract for users, as %s", async (type) => {
  const program = `
    const { InMemoryStorage } = ${load(type, "bulkman")};
    const { storageContract } = ${load(type, "bulkman/storage-contract")};
    const storage = new InMemoryStorage({ probeLeaseSeconds: 0.05 });
    const cases = storageContract({ create: () => storage, probeLeaseSeconds: 0.05 });
    Promise.all(cases.slice(0, 3).map((rule) => rule.run())).then(() => console.log(cases.length > 9));`;
  expect(await node(`--input-type=${type}`, "--eval", program)).toBe("true\n");
});

describe("what needs an optional peer", () => {
  const PEERS = ["@opentelemetry/api", "prom-client"];
  /** Where a copy of the installed package finds the peers. */
  const withPeers = join(project, "with-peers");

  beforeAll(async () => {
    const modules = join(withPeers, "node_modules");
    await mkdir(join(modules, "@opentelemetry"), { recursive: true });
    await cp(installed, join(modules, "bulkman"), { recursive: true });
    for (const peer of [...PEERS, "@opentelemetry/sdk-metrics"]) {
      const target = join(import.meta.dirname, "../../node_modules", peer);
      await symlink(target, join(modules, peer), "junction");
    }
    await cp(fixtures, withPeers, { recursive: true });
  });

  test("is not installed with the library, which works without it", async () => {
    const modules = await readdir(join(project, "node_modules"));
    expect(modules).toContain("opossum");
    expect(modules.filter((name) => PEERS.some((peer) => peer.startsWith(name)))).toEqual([]);
    for (const program of ["smoke.mjs", "smoke.cjs"]) await node(program);
  });

  test.each([
    { entry: "bulkman/opentelemetry", peer: "@opentelemetry/api" },
    { entry: "bulkman/prometheus", peer: "prom-client" },
  ])("is named by the error when $entry is loaded without $peer", async ({ entry, peer }) => {
    for (const type of ["module", "commonjs"]) {
      const program = `
        try {
          ${load(type, entry)};
        } catch ({ code, message }) {
          console.log(code.replace("ERR_", ""), message.includes("${peer}"));
        }`;
      expect(await node(`--input-type=${type}`, "--eval", program)).toBe("MODULE_NOT_FOUND true\n");
    }
  });

  test.each(["mjs", "cjs"])("works with it, from a program in .%s", async (extension) => {
    expect(await node(join(withPeers, `metrics.${extension}`))).toBe("");
  });

  test("knows bulkheads of either build", async () => {
    const program = `
      import { createRequire } from "node:module";
      import { Bulkhead } from "bulkman";
      import { Registry } from "prom-client";
      const { collectBulkheads } = createRequire(import.meta.url)("bulkman/prometheus");
      const register = new Registry();
      const bulkhead = new Bulkhead({ name: "api" });
      collectBulkheads(bulkhead, { register });
      await bulkhead.execute(() => 1);
      console.log((await register.metrics()).includes('{bulkhead="api",outcome="success"} 1'));`;
    await writeFile(join(withPeers, "either.mjs"), program);
    expect(await node(join(withPeers, "either.mjs"))).toBe("true\n");
  });

  test.each([
    { module: "nodenext", file: "metrics-types.mts" },
    { module: "nodenext", file: "metrics-types.cts" },
  ])("has types, in $file", async ({ module, file }) => {
    await copyFile(join(fixtures, "metrics-types.ts"), join(withPeers, file));
    expect(await typeCheck(withPeers, file, module, module)).toBe("");
  });

  test.each([
    { file: "both-types.mts", other: "require" },
    { file: "both-types.cts", other: "import" },
  ])("takes the types of the other build, in $file", async ({ file, other }) => {
    const program = await readFile(join(fixtures, "both-types.ts"), "utf8");
    await writeFile(join(withPeers, file), program.replace("OTHER", other));
    expect(await typeCheck(withPeers, file, "nodenext", "nodenext")).toBe("");
  });
});

/** An expression that loads an entry of the package. */
function load(type: string, entry: string): string {
  return type === "module" ? `await import("${entry}")` : `require("${entry}")`;
}

/** The compiler's complaints about a file in a directory. */
async function typeCheck(
  directory: string,
  file: string,
  module: string,
  moduleResolution: string,
  more: Record<string, unknown> = {},
): Promise<string> {
  const compilerOptions = {
    ...more,
    target: "ES2022",
    lib: ["ES2022"],
    module,
    moduleResolution,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
  };
  await writeFile(
    join(directory, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: [file] }),
  );
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  return node(tsc, "--project", directory).catch((failed: { stdout: string }) => failed.stdout);
}

describe("both builds in one program", () => {
  const both = `
    import { createRequire } from "node:module";
    import * as esm from "bulkman";
    const cjs = createRequire(import.meta.url)("bulkman");
    const builds = [[esm, cjs], [cjs, esm]];`;
  const evaluate = async (program: string): Promise<unknown> =>
    JSON.parse(await node("--input-type=module", "--eval", `${both}${program}`));

  test("know each other's errors", async () => {
    const program = `
      const names = Object.keys(esm).filter((name) => name.endsWith("Error"));
      const found = builds.flatMap(([one, other]) =>
        names.map((name) => {
          const error = new one[name]("why");
          return [name, names.filter((name) => error instanceof other[name])];
        }),
      );
      console.log(JSON.stringify({ distinct: esm.BulkheadError !== cjs.BulkheadError, found }));`;
    const errors = PUBLIC_NAMES.filter((name) => name.endsWith("Error"));
    const expected = errors.map((name) => [
      name,
      errors.filter((base) => base === name || base === "BulkheadError"),
    ]);
    expect(await evaluate(program)).toEqual({ distinct: true, found: [...expected, ...expected] });
  });

  test("wrap no errors of each other", async () => {
    const program = `
      const told = [];
      for (const [one, other] of builds) {
        const inner = new one.Bulkhead({ name: "inner" });
        inner.isolate();
        const outer = new other.Bulkhead({ name: "outer" });
        const call = other.withBulkhead(outer)(one.withBulkhead(inner)(() => 1));
        told.push(await call().catch(({ code, bulkheadName }) => [code, bulkheadName]));
      }
      console.log(JSON.stringify(told));`;
    const told = ["ERR_BULKHEAD_ISOLATION", "inner"];
    expect(await evaluate(program)).toEqual([told, told]);
  });

  test("take each other's bulkheads", async () => {
    const program = `
      const told = [];
      for (const [one, other] of builds) {
        const bulkhead = new one.Bulkhead({ name: "api" });
        told.push(await other.withBulkhead(bulkhead)((n) => n + 1)(1), bulkhead.getStats().totalExecutions);
      }
      console.log(JSON.stringify(told));`;
    expect(await evaluate(program)).toEqual([2, 1, 2, 1]);
  });
});

test.each([
  { NODE_DEBUG: "http,bulkman", framed: true },
  { NODE_DEBUG: "", framed: false },
])("has stack frames in errors only when NODE_DEBUG says so: $NODE_DEBUG", async (given) => {
  const program = `
    const { Bulkhead } = require("bulkman");
    const bulkhead = new Bulkhead({ name: "api" });
    bulkhead.isolate();
    function caller() { return bulkhead.execute(() => 1); }
    caller().catch(({ stack }) => console.log(stack.includes("at caller ")));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--eval", program], {
    cwd: project,
    env: { ...process.env, NODE_DEBUG: given.NODE_DEBUG },
  });
  expect(stdout).toBe(`${given.framed}\n`);
});

test("needs no require() of an ES module from CommonJS", async () => {
  await node("--no-experimental-require-module", "smoke.cjs");
});

describe("the types", () => {
  test.each([
    { module: "nodenext", moduleResolution: "nodenext", file: "types.mts" },
    { module: "nodenext", moduleResolution: "nodenext", file: "types.cts" },
    { module: "esnext", moduleResolution: "bundler", file: "types.ts" },
  ])("hold under $moduleResolution in $file", async ({ module, moduleResolution, file }) => {
    const directory = join(project, `${moduleResolution}-${file}`);
    await mkdir(directory, { recursive: true });
    await copyFile(join(fixtures, "types.ts"), join(directory, file));
    expect(await typeCheck(directory, file, module, moduleResolution)).toBe("");
  });

  test("hold with experimentalDecorators", async () => {
    const directory = join(project, "legacy");
    await mkdir(directory, { recursive: true });
    // The first imports the second, so that both are checked.
    for (const file of ["legacy-types.ts", "types.ts"]) {
      await copyFile(join(fixtures, file), join(directory, file));
    }
    const legacy = { experimentalDecorators: true, emitDecoratorMetadata: true };
    expect(await typeCheck(directory, "legacy-types.ts", "esnext", "bundler", legacy)).toBe("");
  });
});
