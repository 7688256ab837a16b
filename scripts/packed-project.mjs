import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { createTemporaryFolder } from "./temporary-folder.mjs";

const repository = join(import.meta.dirname, "..");

/** Creates a folder outside the repository; when this process is killed, the next one removes it. */
export function createProjectFolder() {
  return createTemporaryFolder("bulkman-package-");
}

/** Builds and packs the library into a new directory; resolves to the path of the tarball. */
export async function packLibrary(directory) {
  await mkdir(directory);
  for (const name of await readdir(repository)) {
    if (/^(package\.json|[A-Z]+\.md|LICENSE)$/.test(name)) {
      await copyFile(join(repository, name), join(directory, name));
    }
  }
  for (const name of ["docs", "examples"]) {
    await cp(join(repository, name), join(directory, name), { recursive: true });
  }
  const tsup = join(repository, "node_modules/tsup/dist/cli-default.js");
  const dist = join(directory, "dist");
  await run(process.execPath, [tsup, "--out-dir", dist], { cwd: repository });
  await run(process.execPath, [join(repository, "scripts/open-types.mjs"), dist]);
  await run("npm", ["pack", "--silent"], { cwd: directory });
  const tarball = (await readdir(directory)).find((name) => name.endsWith(".tgz"));
  return join(directory, tarball);
}

/**
 * Installs a tarball into a new, empty project, as a stranger would.
 * @param {string[]} npm the program that installs, with its first arguments
 * @param {string[]} packages what is installed with it
 */
export async function createProject(directory, tarball, npm = ["npm"], packages = []) {
  await mkdir(directory);
  await writeFile(join(directory, "package.json"), JSON.stringify({ private: true }));
  const [program, ...first] = npm;
  const flags = ["--prefer-offline", "--no-audit", "--no-fund"];
  await run(program, [...first, "install", ...flags, tarball, ...packages], { cwd: directory });
}

/** Runs a program to its end and resolves to its output; rejects with the output when it fails. */
export async function run(program, args, options) {
  try {
    const { stdout } = await promisify(execFile)(program, args, options);
    return stdout;
  } catch (error) {
    throw new Error([error.message, error.stdout, error.stderr].join("\n").trim());
  }
}
