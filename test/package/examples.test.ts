import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { storageContract } from "../../src/storage/contract.js";
import { InMemoryStorage } from "../../src/storage/memory.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";
import { copyFolder } from "./copied-folder.js";

const examples = join(import.meta.dirname, "../../examples");
// The project that has the tarball installed: the examples use the package as published.
const project = inject("packedProject");
const directory = join(project, "examples");

const PACKAGES = [
  ...["express", "fastify", "p-retry", "piscina"],
  ...["@nestjs/common", "@nestjs/core", "@nestjs/platform-express", "reflect-metadata", "rxjs"],
];

/** How projects with Nest compile. */
const NEST = { experimentalDecorators: true, emitDecoratorMetadata: true };

let database: TestDatabase;

beforeAll(async () => {
  await copyFolder("examples", project, PACKAGES);
  // As Nest's own compiler does.
  const { outputText } = ts.transpileModule(await readFile(join(examples, "nestjs.ts"), "utf8"), {
    compilerOptions: { ...NEST, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  await writeFile(join(directory, "nestjs.mjs"), outputText);
  database = await createDatabase();
});
afterAll(() => database.drop());

/** What a program printed that has to end by itself, with status 0 and without a complaint. */
async function linesOf(...args: string[]): Promise<string[]> {
  const { server, name } = database;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
    cwd: directory,
    timeout: 60_000,
    env: {
      ...process.env,
      NODE_OPTIONS: "",
      ...{ PGHOST: "127.0.0.1", PGPORT: String(server.port), PGDATABASE: name },
      ...{ PGUSER: server.user, PGPASSWORD: server.password },
      ...{ RC_DB_HOST: "127.0.0.1", RC_DB_PORT: String(server.port), RC_DB_NAME: name },
      ...{ RC_DB_USER: server.user, RC_DB_PASSWORD: server.password },
    },
  });
  if (stderr !== "") throw new Error(stderr);
  return stdout.trimEnd().split("\n");
}

interface Service {
  readonly url: string;
  readonly process: ChildProcess;
  readonly printed: () => string;
}

const started: ChildProcess[] = [];

/** A program that serves until it gets a signal. */
async function start(program: string, env: Record<string, string>): Promise<Service> {
  const child = spawn(process.execPath, [program], {
    cwd: directory,
    env: { ...process.env, NODE_OPTIONS: "", PORT: "0", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  started.push(child);
  let printed = "";
  child.stdout.on("data", (text) => {
    printed += text;
  });
  const url = await vi.waitUntil(() => /^listening on (\S+)$/m.exec(printed)?.[1], 20_000);
  return { url, process: child, printed: () => printed };
}

afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});

async function get(url: string) {
  const response = await fetch(url);
  const { status, headers } = response;
  return { status, retryAfter: headers.get("retry-after"), body: await response.text() };
}

describe("the example of", () => {
  test("fetch has its slow requests really cut", async () => {
    const lines = await linesOf("fetch.mjs");
    expect(lines.filter((line) => line === "service: hung up on")).toHaveLength(2);
    expect(lines.filter((line) => line !== "service: hung up on")).toEqual([
      "found: { id: 1, name: 'Ada' }",
      "broken: Execution failed: status 500",
      "slow: ERR_BULKHEAD_TIMEOUT",
      "left: true",
      "{ failedExecutions: 3, timedOutExecutions: 1, abandonedTasks: 0 }",
    ]);
  });

  test("a pg pool opens for a slow database, and not for wrong statements", async () => {
    expect(await linesOf("postgres-pool.mjs")).toEqual([
      "next: 42",
      "permits held in a transaction: 1",
      "after 6 wrong statements the circuit is CLOSED",
      "5 slow statements: ERR_BULKHEAD_TIMEOUT",
      "after them the circuit is OPEN",
      "still running: 0",
    ]);
  });

  test("retries holds no permit in the pauses around a bulkhead, and does inside", async () => {
    expect(await linesOf("retries.mjs")).toEqual([
      "outside: permits held in the pauses: 0, 0",
      "outside: failures seen: 3, circuit: OPEN",
      "inside: permits held in the pauses: 1, 1",
      "inside: failures seen: 1, circuit: CLOSED",
      "open circuit: ERR_BULKHEAD_CIRCUIT_OPEN, attempts: 1",
    ]);
  });

  test("a fallback answers while the dependency is down and the circuit open", async () => {
    const answers = (await linesOf("fallback.mjs")).join(" ").replaceAll(/\s+/g, " ");
    expect(answers.match(/\{.*?\}/g)).toEqual([
      "{ books: [ 'Chosen for Ada' ], from: 'recommender' }",
      "{ books: [ 'Chosen for Ada' ], from: 'last known (ERR_BULKHEAD)' }",
      "{ books: [ 'Dune', 'Emma' ], from: 'bestsellers (ERR_BULKHEAD)' }",
      "{ books: [ 'Dune', 'Emma' ], from: 'bestsellers (ERR_BULKHEAD_CIRCUIT_OPEN)' }",
    ]);
  });

  test("CPU-bound work leaves the event loop free, and ends what is endless", async () => {
    const [primes, loop, endless, refused, running] = await linesOf("cpu-bound.mjs");
    expect([primes, loop, endless, running]).toEqual([
      "primes: 9592, 17984, 25997",
      "the event loop went on: true",
      "endless: ERR_BULKHEAD_TIMEOUT",
      "still running: 0",
    ]);
    // 4 wait. 1 or 2 run, as many as there are threads; one fewer while a thread is being replaced.
    expect(refused).toMatch(/^of 10 at once were refused: [4-6]$/);
  });

  test("several processes has all refuse what one saw failing", async () => {
    const lines = await linesOf("fleet.mjs");
    expect(lines.sort()).toEqual([
      "child 1: ERR_BULKHEAD_CIRCUIT_OPEN",
      "child 2: ERR_BULKHEAD_CIRCUIT_OPEN",
      "parent: OPEN: 3 consecutive failures",
    ]);
    expect(await database.query("SELECT namespace, state FROM rc_circuit_breakers")).toEqual([
      { namespace: "shop", state: "OPEN" },
    ]);
  });

  test("a storage of one's own keeps every rule of the contract", async () => {
    const lines = await linesOf("--test", "--test-reporter=tap", "file-storage.test.mjs");
    const rules = storageContract({ create: () => new InMemoryStorage(), probeLeaseSeconds: 1 });
    const passed = lines.flatMap((line) => /^ok \d+ - (.+)$/.exec(line)?.[1] ?? []);
    expect(passed).toEqual([...rules.map(({ name }) => name), "one circuit for two bulkheads"]);
  });
});

describe.each(["fastify", "express", "nestjs"])("the example of %s", (framework) => {
  let upstream: Server;
  let answer: (response: ServerResponse) => void;
  let app: Service;
  beforeAll(async () => {
    upstream = createServer((_request, response) => answer(response)).listen(0, "127.0.0.1");
    await once(upstream, "listening");
  });
  afterAll(() => {
    upstream.closeAllConnections();
    upstream.close();
  });

  async function startApp(): Promise<void> {
    const { port } = upstream.address() as AddressInfo;
    app = await start(`${framework}.mjs`, { API_URL: `http://127.0.0.1:${port}` });
  }

  test("answers 503 with Retry-After while the circuit is open, and 502 before", async () => {
    await startApp();
    answer = (response) => response.end('{"name":"Ada"}');
    expect(await get(`${app.url}/users/1`)).toMatchObject({ status: 200, body: '{"name":"Ada"}' });
    expect(await get(`${app.url}/health`)).toMatchObject({
      status: 200,
      body: '{"users":true,"reports":true}',
    });

    answer = (response) => response.writeHead(500).end();
    for (let i = 0; i < 3; i++) {
      expect(await get(`${app.url}/users/1`)).toEqual({
        status: 502,
        retryAfter: null,
        body: '{"error":"ERR_BULKHEAD"}',
      });
    }
    const refused = await get(`${app.url}/users/1`);
    expect(refused).toMatchObject({ status: 503, body: '{"error":"ERR_BULKHEAD_CIRCUIT_OPEN"}' });
    expect(Number(refused.retryAfter)).toBeGreaterThan(0);
    expect(Number(refused.retryAfter)).toBeLessThanOrEqual(30);
    expect(await get(`${app.url}/health`)).toMatchObject({
      status: 503,
      body: '{"users":false,"reports":true}',
    });
    expect((await get(`${app.url}/elsewhere`)).status).toBe(404);
  });

  test("answers 503 when the route's own bulkhead is full, and serves the other routes", async () => {
    await startApp();
    const held: ServerResponse[] = [];
    answer = (response) => held.push(response);
    const first = get(`${app.url}/report`);
    await vi.waitUntil(() => held.length === 1, 10_000);
    expect(await get(`${app.url}/report`)).toEqual({
      status: 503,
      retryAfter: "1",
      body: '{"error":"ERR_BULKHEAD_FULL"}',
    });
    answer = (response) => response.end('{"name":"Bob"}');
    expect((await get(`${app.url}/users/2`)).body).toBe('{"name":"Bob"}');
    held[0]?.end('{"name":"Ada"}');
    expect(await first).toEqual({ status: 200, retryAfter: null, body: '{"best":"Ada"}' });
  });

  test("answers 503 when it is full, 504 when the time is up, and ends on SIGTERM", async () => {
    await startApp();
    const held: ServerResponse[] = [];
    answer = (response) => held.push(response);
    const firstFive = [1, 2, 3, 4, 5].map((id) => get(`${app.url}/users/${id}`));
    // 2 run and 2 wait, whichever they are: the rejected one is the first to be answered.
    expect(await Promise.race(firstFive)).toEqual({
      status: 503,
      retryAfter: "1",
      body: '{"error":"ERR_BULKHEAD_FULL"}',
    });
    answer = (response) => response.end("{}");
    for (const response of held) answer(response);
    const statuses = (await Promise.all(firstFive)).map(({ status }) => status);
    expect(statuses.sort()).toEqual([200, 200, 200, 200, 503]);

    answer = () => {};
    expect(await get(`${app.url}/users/1`)).toEqual({
      status: 504,
      retryAfter: "1",
      body: '{"error":"ERR_BULKHEAD_TIMEOUT"}',
    });

    app.process.kill("SIGTERM");
    // Nest sends itself the signal again when its hooks are done.
    const end = framework === "nestjs" ? [null, "SIGTERM"] : [0, null];
    expect(await once(app.process, "exit")).toEqual(end);
  });
});

test("the example of nestjs passes the strict type check", () => {
  const file = join(directory, "nestjs.ts");
  const program = ts.createProgram([file], {
    ...NEST,
    strict: true,
    exactOptionalPropertyTypes: true,
    noPropertyAccessFromIndexSignature: true,
    skipLibCheck: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    typeRoots: [join(import.meta.dirname, "../../node_modules/@types")],
    types: ["node"],
  });
  const complaints = ts.getPreEmitDiagnostics(program).map(({ messageText }) => messageText);
  expect(complaints).toEqual([]);
});

describe("the example of graceful shutdown", () => {
  /** The answer to a request that the program has received. */
  async function ask({ url, printed }: Service, path: string) {
    const answer = get(url + path);
    await vi.waitUntil(() => printed().includes(`asked for ${path}\n`), 10_000);
    return { answer };
  }

  test("finishes on SIGTERM what runs and what waits, takes nothing new, and ends", async () => {
    const service = await start("graceful-shutdown.mjs", {});
    const ended = once(service.process, "exit");
    const running = await ask(service, "/0.5");
    const waiting = await ask(service, "/0.1");
    service.process.kill("SIGTERM");
    await vi.waitUntil(() => service.printed().includes("SIGTERM: draining\n"), 10_000);
    await expect(get(service.url)).rejects.toThrow("fetch failed");

    for (const { answer } of [running, waiting]) {
      expect(await answer).toMatchObject({ status: 200, body: "done" });
    }
    expect(await ended).toEqual([0, null]);
    expect(service.printed()).toMatch(/\ndrained\n$/);
  });

  test("cuts what is not over when the drain is", async () => {
    const service = await start("graceful-shutdown.mjs", { DRAIN_SECONDS: "0.1" });
    const ended = once(service.process, "exit");
    const endless = await ask(service, "/3600");
    service.process.kill("SIGINT");

    expect(await endless.answer).toMatchObject({ status: 503, body: "ERR_BULKHEAD_SHUTDOWN" });
    expect(await ended).toEqual([0, null]);
  });
});

test("the index of the examples has every file of them", async () => {
  const index = await readFile(join(examples, "README.md"), "utf8");
  const listed = Array.from(index.matchAll(/\]\(([\w.-]+\.(?:mjs|ts))\)/g), ([, file]) => file);
  const files = (await readdir(examples)).filter((name) => /\.(mjs|ts)$/.test(name));
  expect([...new Set(listed)].sort()).toEqual(files.sort());
});
