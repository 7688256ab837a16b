// `npm run try:runtimes` runs the packed library on Node.js, and on Bun and Deno from their npm packages.
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createProject, createProjectFolder, packLibrary, run } from "./packed-project.mjs";
import { startPostgres } from "./postgres-server.mjs";

const PROGRAM = "runtimes-program.cjs";
const MAIN = {
  "esm.mjs": `import * as bulkman from "bulkman";
import tryFeatures from "./${PROGRAM}";
await tryFeatures(bulkman);
`,
  "commonjs.cjs": `require("./${PROGRAM}")(require("bulkman"));
`,
};
const FIXTURES = ["metrics-program.cjs", "metrics.mjs", "metrics.cjs"];
const PACKAGES = [
  "bun",
  "deno",
  "@opentelemetry/api",
  "@opentelemetry/sdk-metrics",
  "prom-client@15",
];
const COMMAND = "node_modules/bulkman/dist/cli.js";

/** The arguments that run a program. Deno asks for permissions unless it has all of them. */
const RUNTIMES = { node: [], bun: [], deno: ["run", "--allow-all"] };
const FORMATS = {
  ESM: { main: "esm.mjs", metrics: "metrics.mjs" },
  CommonJS: { main: "commonjs.cjs", metrics: "metrics.cjs" },
};

const { path: directory, remove } = await createProjectFolder();
const database = await startPostgres();
const project = join(directory, "project");
try {
  await createProject(project, await packLibrary(join(directory, "packed")));
  await install();
  const columns = {};
  for (const runtime of Object.keys(RUNTIMES)) {
    for (const [format, programs] of Object.entries(FORMATS)) {
      columns[`${await versionOf(runtime)}, ${format}`] = await tryAll(runtime, programs);
    }
  }
  print(columns);
} finally {
  await database.remove();
  await remove();
}

async function install() {
  const file = join(project, "package.json");
  const manifest = JSON.parse(await readFile(file, "utf8"));
  // They choose the binary for this machine in an install script.
  const allowScripts = { bun: true, deno: true };
  await writeFile(file, JSON.stringify({ ...manifest, allowScripts }));
  const flags = ["--prefer-offline", "--no-audit", "--no-fund"];
  await run("npm", ["install", ...flags, ...PACKAGES], { cwd: project });
  await copyFile(join(import.meta.dirname, PROGRAM), join(project, PROGRAM));
  const fixtures = join(import.meta.dirname, "../test/package/fixtures");
  for (const name of FIXTURES) await copyFile(join(fixtures, name), join(project, name));
  for (const [name, text] of Object.entries(MAIN)) await writeFile(join(project, name), text);
}

/** What was seen of each feature: "passes" or an error. Every program has to end by itself. */
async function tryAll(runtime, { main, metrics }) {
  const features = await runOn(runtime, main).then(JSON.parse, ({ message }) => ({
    main: message,
  }));
  return {
    ...features,
    metrics: await outcomeOf(runOn(runtime, metrics)),
    command: await outcomeOf(runOn(runtime, COMMAND, "status", "--json", "--dsn", database.url)),
  };
}

function outcomeOf(running) {
  return running.then(
    () => "passes",
    ({ message }) => message,
  );
}

function runOn(runtime, program, ...args) {
  const env = { ...process.env, DATABASE_URL: database.url };
  const options = { cwd: project, timeout: 60_000, env };
  return run(binaryOf(runtime), [...RUNTIMES[runtime], program, ...args], options);
}

async function versionOf(runtime) {
  const version = await run(binaryOf(runtime), ["--version"], { cwd: project });
  return `${runtime} ${/\d+(\.\d+)+/.exec(version)?.[0]}`;
}

function binaryOf(runtime) {
  return runtime === "node" ? process.execPath : join(project, "node_modules/.bin", runtime);
}

function print(columns) {
  const features = [...new Set(Object.values(columns).flatMap(Object.keys))];
  const rows = {};
  for (const feature of features) {
    rows[feature] = {};
    for (const [title, seen] of Object.entries(columns)) {
      const result = seen[feature];
      rows[feature][title] = result === undefined || result === "passes" ? result : "FAILS";
      if (rows[feature][title] !== "FAILS") continue;
      console.error(`${title}: ${feature}: ${result}`);
      process.exitCode = 1;
    }
  }
  console.table(rows);
}
