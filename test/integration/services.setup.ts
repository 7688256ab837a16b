import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { relative } from "node:path";
import { build } from "tsup";
import type { TestProject } from "vitest/node";
import { startPostgres } from "../../scripts/postgres-server.mjs";
import { createTemporaryFolder, removeAbandonedFolders } from "../../scripts/temporary-folder.mjs";

/** What the tests get of a database server of their own. */
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

/** Every test file has connections of its own. */
const SERVER_FLAGS = ["-c", "max_connections=200"];

const BUILD_PREFIX = ".bulkman-test-";

const cleanUps: Array<() => Promise<unknown>> = [];
const services: { readonly [name: string]: () => Promise<unknown> } = {
  postgres: once(async () => {
    const { port, user, password, remove } = await startPostgres({ flags: SERVER_FLAGS });
    cleanUps.push(remove);
    return { port, user, password } satisfies TestServer;
  }),
  child: once(buildChild),
};

export async function setup({ provide }: TestProject): Promise<void> {
  // Of a run that was killed, also when no test of this one needs the program.
  await removeAbandonedFolders(BUILD_PREFIX, { parent: "node_modules" });
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

/** The programs that tests fork, as JavaScript: their folder, as seen from the project's. */
async function buildChild(): Promise<string> {
  // In the project: it imports packages.
  const folder = await createTemporaryFolder(BUILD_PREFIX, { parent: "node_modules" });
  cleanUps.push(folder.remove);
  await build({
    config: false,
    entry: { child: "test/integration/child.ts", cli: "src/cli/main.ts" },
    outDir: folder.path,
    format: "esm",
    target: "node20",
    silent: true,
    clean: false,
  });
  return relative("", folder.path);
}

function once<T>(start: () => Promise<T>): () => Promise<T> {
  let started: Promise<T> | undefined;
  return () => {
    started ??= start();
    return started;
  };
}
