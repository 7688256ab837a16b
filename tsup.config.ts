import { readFileSync } from "node:fs";
import { defineConfig, type Options } from "tsup";

const licenceOfPLimit = readFileSync("node_modules/p-limit/license", "utf8").trim();

const library: Options = {
  entry: {
    index: "src/index.ts",
    opentelemetry: "src/metrics/opentelemetry.ts",
    prometheus: "src/metrics/prometheus.ts",
    "storage-contract": "src/storage/contract.ts",
  },
  format: ["esm", "cjs"],
  target: "node20",
  // tsup's declaration build sets `baseUrl`, which TypeScript 6 reports as deprecated.
  dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  sourcemap: true,
  // p-limit is published as ESM only. The CommonJS build carries a copy of it (and of its one
  // dependency), because Jest and other CommonJS loaders cannot require() an ES module; the ESM
  // build imports the installed package.
  noExternal: ["p-limit"],
  esbuildOptions(options, { format }) {
    if (format === "esm") options.external = [...(options.external ?? []), "p-limit"];
    // CommonJS loads pg by require(), late as well: Jest and bundlers know no import() there.
    else options.supported = { ...options.supported, "dynamic-import": false };
  },
  banner: ({ format }) =>
    format === "cjs"
      ? { js: `/*!\nContains p-limit and yocto-queue.\n\n${licenceOfPLimit}\n*/` }
      : {},
};

const command: Options = {
  entry: { cli: "src/cli/main.ts" },
  format: ["esm"],
  target: "node20",
};

export default defineConfig([library, command]);
