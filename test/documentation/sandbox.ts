import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { type Example, oneLine, promisesOf, ROOT } from "./examples.js";

/** What an example printed for one promise. */
export interface Kept {
  readonly line: number;
  readonly promised: readonly string[];
  readonly printed: readonly string[];
}

const COMPILER_OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
};

const ENTRIES = {
  ".": "./index.js",
  "./opentelemetry": "./metrics/opentelemetry.js",
  "./prometheus": "./metrics/prometheus.js",
  "./storage-contract": "./storage/contract.js",
  "./undici": "./undici/index.js",
};

/** prom-client 12, the one of opossum-prometheus, uses what is deprecated at each garbage collection. */
const KNOWN_WARNING = "--disable-warning=DEP0152";

/** Loaded into every example's process before it. */
const PRELOAD = `
import { format } from "node:util";
const { fetch } = globalThis;
globalThis.fetch = (input, options) => {
  const url = String(input.url ?? input).replace("https://api.example.com", process.env.API);
  return fetch(input instanceof Request ? new Request(url, input) : url, options);
};
globalThis.keep = (line) => (...values) =>
  console.log(JSON.stringify({ line, text: format(...values) }));
`;

/**
 * An empty project with the library installed, compiled from `src`. Examples run there as they are,
 * each in a process of its own, which has to end by itself.
 */
export class Sandbox {
  readonly #directory: string;
  readonly #api: Server;
  readonly #environment: Record<string, string>;

  private constructor(directory: string, api: Server, environment: Record<string, string>) {
    this.#directory = directory;
    this.#api = api;
    this.#environment = environment;
  }

  static async create(environment: Record<string, string>): Promise<Sandbox> {
    const directory = await mkdtemp(join(tmpdir(), "bulkman-readme-"));
    const modules = join(directory, "node_modules");
    await mkdir(modules);
    const dependencies = await install(join(modules, "bulkman"));
    const used = [
      "@opentelemetry/sdk-metrics",
      "@sinonjs/fake-timers",
      "axios",
      "cockatiel",
      "opossum-prometheus",
    ];
    for (const name of [...dependencies, ...used]) {
      await mkdir(join(modules, name, ".."), { recursive: true });
      await symlink(join(ROOT, "node_modules", name), join(modules, name), "junction");
    }
    await writeFile(join(directory, "preload.mjs"), PRELOAD);
    return new Sandbox(directory, await startApi(), environment);
  }

  /** Runs an example. Rejects unless it ends by itself, with status 0 and without a warning. */
  async run(example: Example): Promise<Kept[]> {
    const promises = promisesOf(example);
    const file = join(this.#directory, `${example.place.replaceAll(/\W/g, "-")}.mjs`);
    await writeFile(file, compile(keeping(example.code, promises), example.language));
    const address = this.#api.address();
    if (address === null || typeof address === "string") throw new Error("the API does not listen");
    const env = {
      ...process.env,
      ...this.#environment,
      NODE_OPTIONS: "",
      API: `http://127.0.0.1:${address.port}`,
    };
    const { stdout, stderr } = await this.#start(file, env);
    if (stderr !== "") throw new Error(stderr);
    const printed = stdout.split("\n").filter((line) => line.startsWith('{"line":'));
    const kept: Array<{ line: number; text: string }> = printed.map((line) => JSON.parse(line));
    return promises.map(({ line, texts }) => ({
      line: example.line + line,
      promised: texts,
      printed: kept.filter((entry) => entry.line === line).map(({ text }) => oneLine(text)),
    }));
  }

  /** Once more when a busy machine is slower than the default `queryTimeoutSeconds` of an example with Postgres. */
  async #start(
    file: string,
    env: NodeJS.ProcessEnv,
    tries = 3,
  ): Promise<{ stdout: string; stderr: string }> {
    const args = [KNOWN_WARNING, "--import", "./preload.mjs", file];
    try {
      return await promisify(execFile)(process.execPath, args, {
        cwd: this.#directory,
        timeout: 20_000,
        env,
      });
    } catch (error) {
      if (tries === 1 || !String(error).includes("did not answer within 1 s")) throw error;
      return this.#start(file, env, tries - 1);
    }
  }

  async remove(): Promise<void> {
    this.#api.closeAllConnections();
    await new Promise((resolve) => this.#api.close(resolve));
    await rm(this.#directory, { recursive: true });
  }
}

/** Lets each `console.log` with a promise print which one it is. */
function keeping(code: string, promises: ReturnType<typeof promisesOf>): string {
  let result = code;
  for (const { start, end, line } of promises.toReversed()) {
    result = `${result.slice(0, start)}keep(${line})${result.slice(end)}`;
  }
  return result;
}

function compile(code: string, language: string): string {
  if (language === "js") return code;
  return ts.transpileModule(code, { compilerOptions: COMPILER_OPTIONS }).outputText;
}

/** Compiles the library into `directory`. Resolves with the names of the packages it needs. */
async function install(directory: string): Promise<string[]> {
  const source = join(ROOT, "src");
  await mkdir(directory);
  const { name, version, type, dependencies, peerDependencies } = JSON.parse(
    await readFile(join(ROOT, "package.json"), "utf8"),
  );
  const manifest = { name, version, type, exports: ENTRIES };
  await writeFile(join(directory, "package.json"), JSON.stringify(manifest));
  const files = await readdir(source, { recursive: true, withFileTypes: true });
  for (const file of files) {
    if (!file.isFile() || !file.name.endsWith(".ts")) continue;
    const from = join(file.parentPath, file.name);
    const to = join(directory, file.parentPath.slice(source.length), file.name);
    await mkdir(join(to, ".."), { recursive: true });
    await writeFile(to.replace(/ts$/, "js"), compile(await readFile(from, "utf8"), "ts"));
  }
  return Object.keys({ ...dependencies, ...peerDependencies }).filter(
    (dependency) => !dependency.startsWith("@types/"),
  );
}

/** What the examples call `https://api.example.com`. */
async function startApi(): Promise<Server> {
  const server = createServer((request, response) => {
    const { url = "" } = request;
    if (url === "/hangs") return;
    const user = /^\/users\/(\d+)$/.exec(url);
    if (url === "/health") response.end("fine");
    else if (url === "/broken") response.writeHead(503).end();
    else if (user === null) response.writeHead(404).end();
    else response.end(JSON.stringify({ id: Number(user[1]), name: "Ada" }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
