// @ts-check
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { findParentFolder, findServerUser, provideBinaries } from "./postgres-binaries.mjs";
import { createTemporaryFolder } from "./temporary-folder.mjs";

/**
 * @typedef {import("./postgres-binaries.mjs").User} User
 * @typedef {import("./postgres-binaries.mjs").Binaries} Binaries
 * @typedef {import("./temporary-folder.mjs").TemporaryFolder} TemporaryFolder
 */

const LOOPBACK = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];

/** Another process can take a free port before the server does. */
const PORT_TRIES = 10;

/** A server that has not ended by then is killed. */
const STOPPING_MS = 4000;

/** A PostgreSQL server that ends with this process, unless that is killed; with its data in a temporary folder. */
export class PostgresCluster {
  user = "postgres";
  // As an operator's may be: in a URL it has to be encoded.
  password = `${randomUUID()}/1`;
  /** 0 before the first start. */
  port = 0;
  #folder;
  #binaries;
  #serverUser;
  #flags;
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #server = undefined;

  /**
   * @param {TemporaryFolder} folder
   * @param {Binaries} binaries
   * @param {User | undefined} serverUser
   * @param {readonly string[]} flags
   */
  constructor(folder, binaries, serverUser, flags) {
    this.#folder = folder;
    this.#binaries = binaries;
    this.#serverUser = serverUser;
    this.#flags = [...LOOPBACK, ...flags];
  }

  /**
   * Creates the folder and the data in it; does not start the server.
   * @param {object} [options]
   * @param {readonly string[]} [options.flags] further arguments of `postgres`
   * @param {Readonly<Record<string, string>>} [options.files] contents of files in the data folder, by name
   * @returns {Promise<PostgresCluster>}
   */
  static async create({ flags = [], files = {} } = {}) {
    const user = await findServerUser();
    const folder = await createTemporaryFolder("bulkman-postgres-", {
      parent: await findParentFolder(user),
      beforeRemoval: endAbandonedServers,
    });
    try {
      if (user !== undefined) await chmod(folder.path, 0o711);
      const cluster = new PostgresCluster(
        folder,
        await provideBinaries(folder.path, user),
        user,
        flags,
      );
      await cluster.#initialize(files);
      return cluster;
    } catch (error) {
      await folder.remove();
      throw error;
    }
  }

  /** @param {Readonly<Record<string, string>>} files */
  async #initialize(files) {
    const data = dataIn(this.#folder.path);
    await mkdir(data, { mode: 0o700 });
    await this.#give(data);
    const passwordFile = join(this.#folder.path, "password");
    await this.#write(passwordFile, this.password);
    const { status, output } = await this.#run(this.#binaries.initdb, [
      ...["--pgdata", data, "--username", this.user, "--pwfile", passwordFile],
      ...["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"],
      // What is kept for some minutes need not survive a loss of power.
      "--no-sync",
    ]);
    await rm(passwordFile);
    if (status !== 0) throw new Error(`initdb ended with ${status}: ${output}`);
    for (const [name, content] of Object.entries(files)) {
      await this.#write(join(data, name), content);
    }
  }

  /**
   * Starts the server: at first on a free port, later on the same one.
   * @param {object} [options]
   * @param {() => Promise<number>} [options.choosePort] for tests
   * @param {() => void} [options.onExit] called when the server has ended without {@link stop}
   */
  async start({ choosePort = chooseFreePort, onExit = () => {} } = {}) {
    for (let tries = 1; ; tries++) {
      const port = this.port || (await choosePort());
      const { server, output } = await this.#launch(port);
      if (output === undefined) {
        this.port = port;
        this.#server = server;
        server.once("exit", () => {
          if (this.#server === server) onExit();
        });
        return;
      }
      const isTaken = output.includes("could not bind") && this.port === 0;
      if (!isTaken || tries === PORT_TRIES) throw new Error(`postgres ended: ${output}`);
    }
  }

  /**
   * Stops the server, its data stays.
   * @param {"fast" | "immediate"} how `immediate`: without a checkpoint
   */
  async stop(how) {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined || hasEnded(server)) return;
    const exited = once(server, "exit");
    server.kill(how === "fast" ? "SIGINT" : "SIGQUIT");
    const overdue = setTimeout(() => server.kill("SIGKILL"), STOPPING_MS);
    await exited;
    clearTimeout(overdue);
  }

  /** Stops the server and removes the folder. */
  async remove() {
    await this.stop("immediate");
    await this.#folder.remove();
  }

  /**
   * Resolves when the server accepts connections, or with its output when it has ended instead.
   * @param {number} port
   */
  async #launch(port) {
    const args = ["-D", dataIn(this.#folder.path), "-p", String(port), ...this.#flags];
    const server = this.#spawn(this.#binaries.postgres, args);
    let output = "";
    const isReady = await new Promise((resolve, reject) => {
      server.once("error", reject);
      // Not "exit", after which there may still be output.
      server.once("close", () => resolve(false));
      server.stderr.on("data", (text) => {
        output += text;
        if (/ready to accept (read[- ]only )?connections/.test(output)) resolve(true);
      });
    });
    // The rest is read and dropped: otherwise the server blocks when the pipe is full.
    server.stderr.removeAllListeners("data").resume();
    return { server, output: isReady ? undefined : output.trim() };
  }

  /**
   * @param {string} program
   * @param {string[]} args
   */
  async #run(program, args) {
    const child = this.#spawn(program, args);
    let output = "";
    child.stderr.on("data", (text) => {
      output += text;
    });
    const [status, signal] = await once(child, "close");
    return { status: signal ?? status, output: output.trim() };
  }

  /**
   * @param {string} program
   * @param {string[]} args
   */
  #spawn(program, args) {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name));
    // English messages: the output is read.
    const env = { ...Object.fromEntries(inherited), LC_ALL: "C" };
    const child = spawn(program, args, {
      ...this.#serverUser,
      // The folder that this process is in may be closed to the server's user.
      cwd: this.#folder.path,
      env,
      stdio: ["ignore", "ignore", "pipe"],
      windowsHide: true,
    });
    child.stderr.setEncoding("utf8");
    return child;
  }

  /**
   * @param {string} file
   * @param {string} content
   */
  async #write(file, content) {
    await rm(file, { force: true });
    await writeFile(file, content, { mode: 0o600 });
    await this.#give(file);
  }

  /** @param {string} path */
  async #give(path) {
    if (this.#serverUser === undefined) return;
    await chown(path, this.#serverUser.uid, this.#serverUser.gid);
  }
}

/** @param {string} folder */
function dataIn(folder) {
  return join(folder, "data");
}

/** @param {import("node:child_process").ChildProcess} child */
function hasEnded({ exitCode, signalCode }) {
  return exitCode !== null || signalCode !== null;
}

async function chooseFreePort() {
  const placeholder = createServer().listen(0, "127.0.0.1");
  await once(placeholder, "listening");
  const address = placeholder.address();
  placeholder.close();
  await once(placeholder, "close");
  if (address === null || typeof address === "string") throw new Error("there is no port");
  return address.port;
}

/**
 * Ends the servers in the folder of a process that was killed. By now a server's process id may be that of
 * another program, so only one that works in the folder is ended. Where that cannot be seen, the server ends
 * by itself: it looks for its folder once a minute.
 * @param {string} folder
 */
export async function endAbandonedServers(folder) {
  for (const path of await readdir(folder, { recursive: true })) {
    if (basename(path) !== "postmaster.pid") continue;
    try {
      const file = await realpath(join(folder, path));
      const [pid] = (await readFile(file, "utf8")).split("\n");
      if ((await readlink(`/proc/${pid}/cwd`)) === dirname(file))
        process.kill(Number(pid), "SIGQUIT");
    } catch {
      // The server has ended.
    }
  }
}
