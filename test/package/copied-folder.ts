import { cp, mkdir, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";

const repository = join(import.meta.dirname, "../..");

/** Copies a folder of the repository into a project that has only the package itself. */
export async function copyFolder(
  name: string,
  project: string,
  packages: readonly string[],
): Promise<string> {
  const copy = join(project, name);
  await cp(join(repository, name), copy, { recursive: true });
  await linkPackages(copy, packages);
  return copy;
}

/** Copies the programs that start a PostgreSQL server, which is no part of the package. */
export async function copyServer(project: string): Promise<void> {
  await copyFolder("scripts", project, ["embedded-postgres"]);
}

/** What `npm install` puts beside the package; Node finds what these need beside the links' targets. */
async function linkPackages(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const link = join(folder, "node_modules", name);
    await mkdir(dirname(link), { recursive: true });
    await rm(link, { force: true });
    await symlink(join(repository, "node_modules", name), link, "junction");
  }
}
