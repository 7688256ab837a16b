import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build, type Format } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { createDatabase, type TestDatabase } from "../integration/database.js";

const project = inject("packedProject");

/** pg, and what it is made of. */
const PG = /^(pg($|-)|postgres-)/;

/** What docs/runtimes.md says. */
const BANNER =
  'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

const PLAIN = `
  import { Bulkhead, InMemoryStorage } from "bulkman";
  const bulkhead = new Bulkhead({ name: "api" }, { circuitStorage: new InMemoryStorage() });
  bulkhead.execute(() => 42).then(({ result }) => console.log(result));`;

const SHARED = `
  import { Bulkhead, PostgresStorage } from "bulkman";
  const storage = new PostgresStorage({ connectionString: process.env.DATABASE_URL, queryTimeoutSeconds: 20 });
  storage
    .load("api")
    .then(({ state }) => console.log(state), ({ message }) => console.log(message))
    .then(() => storage.close());`;

let directory = "";
let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "bulkman-cold-start-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** What a program of the directory prints. */
async function outputOf(program: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [program], {
    cwd: directory,
    env: { PATH: process.env["PATH"], DATABASE_URL: database.url },
    timeout: 60_000,
  });
  return stdout.trim();
}

test("no built-in module is imported that takes longer than the library itself", async () => {
  const dist = join(project, "node_modules/bulkman/dist");
  const { metafile } = await build({
    entryPoints: [join(dist, "index.js")],
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    write: false,
    metafile: true,
    outdir: directory,
  });
  const imported = Object.values(metafile.inputs).flatMap(({ imports }) =>
    imports.filter(({ kind }) => kind === "import-statement").map(({ path }) => path),
  );
  expect(imported).toContain("opossum");
  // An ES module that imports one of these reads everything that it exports, and so loads what is under it:
  // `process.getBuiltinModule` and the global `crypto` do not.
  for (const name of ["crypto", "fs", "tls", "util", "pg"]) {
    expect(imported.map((path) => path.replace(/^node:/, ""))).not.toContain(name);
  }
});

describe.each<Format>(["esm", "cjs"])("a bundle by esbuild: %s", (format) => {
  /** Bundles a program of the project; the bundle runs where nothing is installed. */
  async function bundle(contents: string) {
    const outfile = join(directory, format === "esm" ? "bundle.mjs" : "bundle.cjs");
    const { metafile } = await build({
      stdin: { contents, resolveDir: project },
      bundle: true,
      platform: "node",
      format,
      outfile,
      metafile: true,
      logLevel: "error",
      ...(format === "esm" ? { banner: { js: BANNER } } : {}),
    });
    const packages = Object.entries(Object.values(metafile.outputs)[0]?.inputs ?? {})
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([file]) => file.split("node_modules/").at(-1)?.split("/")[0] ?? "");
    return { outfile, packages: new Set(packages) };
  }

  test("has no pg in it when the program does not use Postgres", async () => {
    const { outfile, packages } = await bundle(PLAIN);
    expect([...packages]).toEqual(expect.arrayContaining(["bulkman", "opossum", "p-limit"]));
    expect([...packages].filter((name) => PG.test(name))).toEqual([]);
    expect(await outputOf(outfile)).toBe("42");
  });

  test("brings pg along when the program shares a circuit", async () => {
    const { outfile, packages } = await bundle(SHARED);
    expect([...packages]).toContain("pg");
    expect(await outputOf(outfile)).toBe("CLOSED");
  });
});

async function outputOfSource(name: string, source: string): Promise<string> {
  await writeFile(join(directory, name), source);
  return outputOf(name);
}

const asCommonJs = (source: string) =>
  source.replace(/import (\{.*\}) from ("\w+");/g, "const $1 = require($2);");

/** Copies what is installed in the project, but not pg. */
async function installWithoutPg(): Promise<void> {
  const installed = await readdir(join(project, "node_modules"));
  for (const name of installed.filter((each) => !PG.test(each) && !each.startsWith("."))) {
    const from = join(project, "node_modules", name);
    await cp(from, join(directory, "node_modules", name), { recursive: true });
  }
}

describe("the file with the circuits in Postgres", () => {
  beforeEach(async () => {
    await installWithoutPg();
    const file = join(directory, "node_modules/bulkman/dist/postgres.cjs");
    await writeFile(file, 'throw new Error("postgres was loaded");');
  });

  test.each([
    ["program.mjs", PLAIN],
    ["program.cjs", asCommonJs(PLAIN)],
  ])("is not loaded by a program without Postgres: %s", async (name, source) => {
    expect(await outputOfSource(name, source)).toBe("42");
  });

  test.each([
    ["program.mjs", SHARED],
    ["program.cjs", asCommonJs(SHARED)],
  ])("is loaded when a storage is asked: %s", async (name, source) => {
    expect(await outputOfSource(name, source)).toBe("postgres was loaded");
  });
});

describe("where pg cannot be loaded", () => {
  beforeEach(installWithoutPg);

  test.each([
    ["program.mjs", PLAIN],
    ["program.cjs", asCommonJs(PLAIN)],
  ])("a program without Postgres does not miss it: %s", async (name, source) => {
    expect(await outputOfSource(name, source)).toBe("42");
  });

  test.each([
    ["program.mjs", SHARED],
    ["program.cjs", asCommonJs(SHARED)],
  ])("a storage says so when it is asked: %s", async (name, source) => {
    expect(await outputOfSource(name, source)).toMatch(/^Cannot find (package|module) 'pg'/);
  });

  test.each(["program.mjs", "program.cjs"])(
    "a storage works with an application's pool, whose pg is elsewhere: %s",
    async (name) => {
      const elsewhere = join(directory, "elsewhere/node_modules");
      await mkdir(elsewhere, { recursive: true });
      for (const each of await readdir(join(project, "node_modules"))) {
        const from = join(project, "node_modules", each);
        await cp(from, join(elsewhere, each), { recursive: true });
      }
      const source = `
        import { createRequire } from "node:module";
        import { PostgresStorage } from "bulkman";
        const { Pool } = createRequire(${JSON.stringify(join(elsewhere, "x"))})("pg");
        const pool = new Pool({ connectionString: process.env.DATABASE_URL });
        const storage = new PostgresStorage({ pool, queryTimeoutSeconds: 20 });
        const opening = { to: "OPEN", owner: "a", openSeconds: 60, failureCount: 1 };
        storage
          .load("api")
          .then(({ version }) => storage.change("api", { ...opening, version }))
          // What it reads when it listens.
          .then(() => new Promise((onRecord) => storage.subscribe("api", { onRecord, onError: console.log })))
          .then(({ state }) => console.log(state))
          .then(() => storage.close())
          .then(() => pool.end());`;
      const isEsm = name.endsWith(".mjs");
      const commonJs = source.replace(
        /import (\{.*\}) from ("[\w:]+");/g,
        "const $1 = require($2);",
      );
      expect(await outputOfSource(name, isEsm ? source : commonJs)).toBe("OPEN");
    },
  );
});
