// `npm run try:runtimes` runs the packed library on Node.js, Bun and Deno, the latter from their npm packages.
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createProject, createProjectFolder, packLibrary, run } from "./packed-project.mjs";
import { startPostgres } from "./postgres-server.mjs";

const PROGRAM = "runtimes-program.cjs";
const PROGRAMS = {
  "esm.mjs": `import * as bulkman from "bulkman";
import tryFeatures from "./${PROGRAM}";
await tryFeatures(bulkman);
`,
  "commonjs.cjs": `require("./${PROGRAM}")(require("bulkman"));
`,
};

/** The arguments that run a program. Deno asks for permissions unless it has all of them. */
const RUNTIMES = { node: [], bun: [], deno: ["run", "--allow-all"] };

const { path: directory, remove } = await createProjectFolder();
const database = await startPostgres();
try {
  const tarball = await packLibrary(join(directory, "packed"));
  const project = join(directory, "project");
  await createProject(project, tarball);
  await install(project, ["bun", "deno"]);
  await copyFile(join(import.meta.dirname, PROGRAM), join(project, PROGRAM));
  for (const [name, text] of Object.entries(PROGRAMS)) await writeFile(join(project, name), text);
  const columns = {};
  for (const [runtime, args] of Object.entries(RUNTIMES)) {
    for (const program of Object.keys(PROGRAMS)) {
      const title = `${await versionOf(project, runtime)}, ${program}`;
      columns[title] = await tryProgram(project, runtime, [...args, program]);
    }
  }
  print(columns);
} finally {
  await database.remove();
  await remove();
}

/** The packages choose the binary for this machine in install scripts. */
async function install(project, packages) {
  const file = join(project, "package.json");
  const manifest = JSON.parse(await readFile(file, "utf8"));
  const allowScripts = Object.fromEntries(packages.map((name) => [name, true]));
  await writeFile(file, JSON.stringify({ ...manifest, allowScripts }));
  const flags = ["--prefer-offline", "--no-audit", "--no-fund"];
  await run("npm", ["install", ...flags, ...packages], { cwd: project });
}

function binaryOf(project, runtime) {
  return runtime === "node" ? process.execPath : join(project, "node_modules/.bin", runtime);
}

async function versionOf(project, runtime) {
  const version = await run(binaryOf(project, runtime), ["--version"], { cwd: project });
  return `${runtime} ${/\d+(\.\d+)+/.exec(version)?.[0]}`;
}

/** Runs a program, which has to end by itself. Resolves with what it saw of each feature. */
async function tryProgram(project, runtime, args) {
  try {
    const env = { ...process.env, DATABASE_URL: database.url };
    const options = { cwd: project, timeout: 60_000, env };
    return JSON.parse(await run(binaryOf(project, runtime), args, options));
  } catch (error) {
    return { program: error.message };
  }
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
