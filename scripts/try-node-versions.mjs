import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createProject, createProjectFolder, packLibrary, run } from "./packed-project.mjs";

const versions = ["20", "22", "24", "26"];
const programs = { ESM: "smoke.mjs", CommonJS: "smoke.cjs" };
const fixtures = join(import.meta.dirname, "../test/package/fixtures");

const rows = [];
const { path: directory, remove } = await createProjectFolder();
try {
  const tarball = await packLibrary(join(directory, "packed"));
  for (const version of versions) {
    rows.push(await tryVersion(version, join(directory, version), tarball));
  }
} finally {
  await remove();
}
console.table(rows);
if (rows.some((row) => Object.values(row).includes("FAILS"))) process.exitCode = 1;

/** Installs with the version it runs with: npm picks the opossum that fits it. */
async function tryVersion(version, project, tarball) {
  const npx = ["-y", "-p", `node@${version}`];
  const node = (...args) =>
    run("npx", [...npx, "node", ...args], { cwd: project, timeout: 60_000 });
  const row = { node: version };
  try {
    await createProject(project, tarball, ["npx", ...npx, "npm"]);
    await cp(fixtures, project, { recursive: true });
    row.node = (await node("--version")).trim();
    row.opossum = await installedVersion(project, "opossum");
  } catch (error) {
    console.error(error.message);
    return { ...row, install: "FAILS" };
  }
  for (const [format, program] of Object.entries(programs)) {
    try {
      await node(program);
      row[format] = "passes";
    } catch (error) {
      console.error(error.message);
      row[format] = "FAILS";
    }
  }
  return row;
}

async function installedVersion(project, name) {
  const manifest = join(project, "node_modules", name, "package.json");
  return JSON.parse(await readFile(manifest, "utf8")).version;
}
