// @ts-check
// Temporary folders that do not outlive their process for longer than until the next one is made: a folder
// is held by a socket in it, on which its process listens. The system closes the socket also after a
// SIGKILL, and a process id would not do: another process may have it by then.
import { once } from "node:events";
import { lstat, mkdtemp, readdir, realpath, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Far longer than a process that is at work takes from the one to the other. */
const SETTLING_MS = 500;

/**
 * @typedef {object} TemporaryFolder
 * @property {string} path without symbolic links
 * @property {() => Promise<void>} remove removes the folder and everything in it
 */

/**
 * Creates a folder for this process, and removes those of its prefix whose process has ended.
 * @param {string} prefix the first part of the folder's name
 * @param {object} [options]
 * @param {string} [options.parent] where to create it; default: the system's folder for temporary files
 * @param {(path: string) => Promise<void>} [options.beforeRemoval] called for each folder of a process
 *   that has ended
 * @returns {Promise<TemporaryFolder>}
 */
export async function createTemporaryFolder(prefix, options = {}) {
  const { parent = tmpdir(), beforeRemoval = async () => {} } = options;
  const path = await realpath(await mkdtemp(join(parent, prefix)));
  const holder = createServer().listen(socketIn(path)).unref();
  // The path of a socket has a greatest length. A folder that cannot be held is not removed by others.
  await once(holder, "listening").catch(() => {});
  await removeAbandonedFolders(prefix, { parent, beforeRemoval });
  return {
    path,
    remove: async () => {
      await removeFolder(path);
      holder.close();
    },
  };
}

/**
 * Removes the folders of a prefix whose process has ended.
 * @param {string} prefix
 * @param {object} options
 * @param {string} options.parent
 * @param {(path: string) => Promise<void>} [options.beforeRemoval] called for each of them
 */
export async function removeAbandonedFolders(prefix, { parent, beforeRemoval = async () => {} }) {
  // Without the parent there are none.
  for (const name of await readdir(parent).catch(() => [])) {
    if (name.startsWith(prefix)) await removeAbandoned(join(parent, name), beforeRemoval);
  }
}

/** @param {string} path */
async function removeFolder(path) {
  // What a process that was just ended still writes is removed by the next try.
  await rm(path, { recursive: true, force: true, maxRetries: 5 });
}

/**
 * @param {string} path
 * @param {(path: string) => Promise<void>} beforeRemoval
 */
async function removeAbandoned(path, beforeRemoval) {
  try {
    const { uid } = await lstat(path);
    // In a folder that every user can write to, a name says nothing about whose folder it is.
    if (process.getuid !== undefined && uid !== process.getuid()) return;
    if (!(await isAbandoned(path))) return;
    // A socket refuses connections also in the moment between its creation and the first `listen`.
    await sleep(SETTLING_MS);
    if (!(await isAbandoned(path))) return;
    await beforeRemoval(path);
    await removeFolder(path);
  } catch {
    // Another process has removed it.
  }
}

/** @param {string} path */
async function isAbandoned(path) {
  const socket = connect(socketIn(path));
  try {
    await once(socket, "connect");
    return false;
  } catch (error) {
    // Without a socket: it is being made or removed. On Windows a pipe ends with its process.
    const code = process.platform === "win32" ? "ENOENT" : "ECONNREFUSED";
    return Reflect.get(Object(error), "code") === code;
  } finally {
    socket.destroy();
  }
}

/** @param {string} folder */
function socketIn(folder) {
  return process.platform === "win32" ? `\\\\.\\pipe\\${basename(folder)}` : join(folder, "held");
}
