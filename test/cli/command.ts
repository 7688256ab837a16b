import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SCHEMA_SQL } from "../../src/storage/postgres/schema.js";
import { createDatabase, service, type TestDatabase } from "../integration/database.js";

interface Ended {
  /** Its exit status, or the signal that ended it. */
  readonly status: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. */
export interface Running {
  readonly process: ChildProcess;
  /** What it has written so far. */
  readonly read: { stdout: string; stderr: string };
  readonly ended: Promise<Ended>;
}

/** The command, a database with the table, and an empty directory for it to run in. */
export class CommandLine {
  readonly database: TestDatabase;
  readonly directory: string;
  readonly #program: string;
  readonly #running = new Set<ChildProcess>();

  private constructor(database: TestDatabase, directory: string, program: string) {
    this.database = database;
    this.directory = directory;
    this.#program = program;
  }

  static async create(): Promise<CommandLine> {
    const program = join(process.cwd(), await service<string>("child"), "cli.js");
    const database = await createDatabase();
    await database.query(SCHEMA_SQL);
    return new CommandLine(database, await mkdtemp(join(tmpdir(), "bulkman-cli-")), program);
  }

  /** The database by `RC_DB_*`; nothing else of the environment that the command gets. */
  get env(): Record<string, string> {
    const { server, name } = this.database;
    return {
      PATH: process.env["PATH"] ?? "",
      TZ: "UTC",
      RC_DB_HOST: "127.0.0.1",
      RC_DB_PORT: String(server.port),
      RC_DB_NAME: name,
      RC_DB_USER: server.user,
      RC_DB_PASSWORD: server.password,
    };
  }

  start(args: readonly string[], env: Record<string, string> = {}): Running {
    return this.#start(process.execPath, [this.#program, ...args], { ...this.env, ...env });
  }

  /** Without a terminal. */
  run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    const words = [this.#program, ...args];
    return this.#start(process.execPath, words, { ...this.env, ...env }, "ignore").ended;
  }

  /** On a terminal of 80 columns and 24 rows, by util-linux' `script`. It ends with the same status. */
  onTerminal(args: readonly string[], env: Record<string, string> = {}): Running {
    const words = [process.execPath, this.#program, ...args].map((word) => `'${word}'`);
    const command = `stty cols 80 rows 24; exec ${words.join(" ")}`;
    const terminal = { ...this.env, TERM: "xterm-256color", SHELL: "/bin/sh", ...env };
    return this.#start("script", ["-qec", command, "/dev/null"], terminal);
  }

  /** A line of a shell, where `bulkman` is the command. */
  shell(line: string, env: Record<string, string> = {}): Promise<Ended> {
    const bulkman = `bulkman() { '${process.execPath}' '${this.#program}' "$@"; }`;
    const all = { ...this.env, ...env };
    return this.#start("sh", ["-c", `${bulkman}; ${line}`], all).ended;
  }

  async close(): Promise<void> {
    for (const child of this.#running) child.kill("SIGKILL");
    await rm(this.directory, { recursive: true });
    await this.database.drop();
  }

  #start(
    file: string,
    args: string[],
    env: Record<string, string>,
    stdin: "pipe" | "ignore" = "pipe",
  ): Running {
    const child = spawn(file, args, { cwd: this.directory, env, stdio: [stdin, "pipe", "pipe"] });
    this.#running.add(child);
    const read = { stdout: "", stderr: "" };
    child.stdout?.setEncoding("utf8").on("data", (data) => {
      read.stdout += data;
    });
    child.stderr?.setEncoding("utf8").on("data", (data) => {
      read.stderr += data;
    });
    const ended = new Promise<Ended>((resolve) => {
      child.on("close", (status, signal) => {
        this.#running.delete(child);
        resolve({ status: status ?? signal, ...read });
      });
    });
    return { process: child, read, ended };
  }
}
