import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
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
  "InMemoryStorage",
  "PostgresStorage",
  "createStorage",
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
      .map((name) => name.replace(/-(?!contract\b)[\w-]{8}(\.d\.c?ts|\.js(\.map)?)$/, "-HASH$1"));
    expect([...new Set(files)].sort()).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "dist/chunk-HASH.js",
      "dist/chunk-HASH.js.map",
      "dist/cli.js",
      "dist/index.cjs",
      "dist/index.cjs.map",
      "dist/index.d.cts",
      "dist/index.d.ts",
      "dist/index.js",
      "dist/index.js.map",
      "dist/manager-HASH.d.cts",
      "dist/manager-HASH.d.ts",
      "dist/opentelemetry.cjs",
      "dist/opentelemetry.cjs.map",
      "dist/opentelemetry.d.cts",
      "dist/opentelemetry.d.ts",
      "dist/opentelemetry.js",
      "dist/opentelemetry.js.map",
      "dist/prometheus.cjs",
      "dist/prometheus.cjs.map",
      "dist/prometheus.d.cts",
      "dist/prometheus.d.ts",
      "dist/prometheus.js",
      "dist/prometheus.js.map",
      "dist/storage-HASH.d.cts",
      "dist/storage-HASH.d.ts",
      "dist/storage-contract.cjs",
      "dist/storage-contract.cjs.map",
      "dist/storage-contract.d.cts",
      "dist/storage-contract.d.ts",
      "dist/storage-contract.js",
      "dist/storage-contract.js.map",
      "package.json",
    ]);
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
  const load = (name: string) =>
    type === "module" ? `await import("${name}")` : `require("${name}")`;
  const program = `
    const { InMemoryStorage } = ${load("bulkman")};
    const { storageContract } = ${load("bulkman/storage-contract")};
    const storage = new InMemoryStorage({ probeLeaseSeconds: 0.05 });
    const cases = storageContract({ create: () => storage, probeLeaseSeconds: 0.05 });
    Promise.all(cases.slice(0, 3).map((rule) => rule.run())).then(() => console.log(cases.length > 9));`;
  expect(await node(`--input-type=${type}`, "--eval", program)).toBe("true\n");
});

test("needs no require() of an ES module from CommonJS", async () => {
  await node("--no-experimental-require-module", "smoke.cjs");
});

describe("the types", () => {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

  test.each([
    { module: "nodenext", moduleResolution: "nodenext", file: "types.mts" },
    { module: "nodenext", moduleResolution: "nodenext", file: "types.cts" },
    { module: "esnext", moduleResolution: "bundler", file: "types.ts" },
  ])("hold under $moduleResolution in $file", async ({ module, moduleResolution, file }) => {
    const directory = join(project, `${moduleResolution}-${file}`);
    await mkdir(directory, { recursive: true });
    await copyFile(join(fixtures, "types.ts"), join(directory, file));
    const compilerOptions = {
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
    const complaints = await node(tsc, "--project", directory).catch(
      (failed: { stdout: string }) => failed.stdout,
    );
    expect(complaints).toBe("");
  });
});
