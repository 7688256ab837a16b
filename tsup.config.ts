import { readFileSync } from "node:fs";
import { defineConfig, type Options } from "tsup";

type EsbuildPlugin = NonNullable<Options["esbuildPlugins"]>[number];

const licenceOfPLimit = readFileSync("node_modules/p-limit/license", "utf8").trim();

/** What users import: these have types. knip finds the entries by the literal below only. */
const publicEntries = {
  index: "src/index.ts",
  opentelemetry: "src/metrics/opentelemetry.ts",
  prometheus: "src/metrics/prometheus.ts",
  "storage-contract": "src/storage/contract.ts",
  undici: "src/undici/index.ts",
};

/**
 * `import()` of the circuits in Postgres stays an import of a file of its own, in both formats: esbuild splits
 * ES modules only, and would put them into index.cjs.
 */
const postgresOnDemand: EsbuildPlugin = {
  name: "postgres-on-demand",
  setup(build) {
    build.onResolve({ filter: /\/circuits\.js$/ }, ({ kind }) =>
      kind === "dynamic-import" ? { path: "./postgres.cjs", external: true } : undefined,
    );
  },
};

/** The command imports what `src/storage/postgres/on-demand.ts` exports from the library's file of it, which saves a third. */
const commandOverPostgres: EsbuildPlugin = {
  name: "command-over-postgres",
  setup(build) {
    const shared =
      /\/postgres\/(database|driver|errors|listener|permits-schema|record|schema|server-version|statements|wire)\.js$/;
    build.onResolve({ filter: shared }, () => ({ path: "./postgres.cjs", external: true }));
  },
};

/** `bulkman/undici` imports the bulkheads from the library itself: with a copy of its own it would be twice as large. */
const guardOverLibrary: EsbuildPlugin = {
  name: "guard-over-library",
  setup(build) {
    const extension = build.initialOptions.format === "cjs" ? "cjs" : "js";
    build.onResolve({ filter: /^\.\.\/[^/]+\.js$/ }, ({ importer }) =>
      /[\\/]undici[\\/][^\\/]+$/.test(importer)
        ? { path: `./index.${extension}`, external: true }
        : undefined,
    );
  },
};

const library: Options = {
  entry: { index: "src/index.ts", undici: "src/undici/index.ts" },
  format: ["esm", "cjs"],
  target: "node20",
  // One file for each entry: each file more is searched for and read at the program's start.
  splitting: false,
  // tsup's declaration build sets `baseUrl`, which TypeScript 6 reports as deprecated.
  dts: {
    entry: publicEntries,
    compilerOptions: { ignoreDeprecations: "6.0", stripInternal: true },
  },
  // p-limit is published as ESM only. The CommonJS build carries a copy of it (and of its one
  // dependency), because Jest and other CommonJS loaders cannot require() an ES module; the ESM
  // build imports the installed package.
  noExternal: ["p-limit"],
  esbuildPlugins: [postgresOnDemand, guardOverLibrary],
  esbuildOptions(options, { format }) {
    shrink(options);
    if (format === "esm") options.external = [...(options.external ?? []), "p-limit"];
    // CommonJS loads pg by require(), late as well: Jest and bundlers know no import() there.
    else options.supported = { ...options.supported, "dynamic-import": false };
  },
  banner: ({ format }) =>
    format === "cjs"
      ? { js: `/*!\nContains p-limit and yocto-queue.\n\n${licenceOfPLimit}\n*/` }
      : {},
};

/** What has no state that two builds would have twice is CommonJS for both, which halves it. */
const onDemand: Options = {
  entry: {
    opentelemetry: "src/metrics/opentelemetry.ts",
    prometheus: "src/metrics/prometheus.ts",
    "storage-contract": "src/storage/contract.ts",
    postgres: "src/storage/postgres/on-demand.ts",
  },
  format: ["cjs"],
  target: "node20",
  splitting: false,
  esbuildOptions(options) {
    shrink(options);
    // Nothing of a call's path is in them, so their names are seldom seen in a stack.
    options.minifyIdentifiers = true;
    options.supported = { ...options.supported, "dynamic-import": false };
  },
};

const command: Options = {
  entry: { cli: "src/cli/main.ts" },
  format: ["esm"],
  target: "node20",
  splitting: false,
  esbuildPlugins: [postgresOnDemand, commandOverPostgres],
  esbuildOptions(options) {
    shrink(options);
    // It prints its errors on one line, without a stack.
    options.minifyIdentifiers = true;
  },
};

/**
 * Drops comments and indentation. Names stay, and lines are short, so that a stack frame, and the line that Node
 * prints for an uncaught error, show where it is without a source map.
 */
function shrink(options: Parameters<NonNullable<Options["esbuildOptions"]>>[0]): void {
  options.minifyWhitespace = true;
  options.minifySyntax = true;
  options.lineLimit = 120;
}

export default defineConfig([library, onDemand, command]);
