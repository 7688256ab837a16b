import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { createProject, createProjectFolder } from "../../scripts/packed-project.mjs";
import { readExamples } from "../documentation/examples.js";
import { createDatabase, type TestDatabase } from "../integration/database.js";

declare module "vitest" {
  interface ProvidedContext {
    /** The packed library. */
    tarball: string;
  }
}

// The service of the README, in an empty project, with the packages that its reader installs.

const [example] = readExamples("README.md").filter(({ code }) => code.includes('from "express"'));
const code = example?.code ?? "";

test("the README protects a service by at most 12 lines", () => {
  const lines = code.split("\n").filter((line) => line.endsWith("// +"));
  expect(lines.length).toBeGreaterThan(0);
  expect(lines.length).toBeLessThanOrEqual(12);
});

describe("the service of the README", () => {
  let folder: Awaited<ReturnType<typeof createProjectFolder>>;
  let project: string;
  let database: TestDatabase;
  /** Where the service listens. */
  let socketPath: string;
  let service: ChildProcess;
  /** How the other service, which it asks, answers. */
  let answer: (response: ServerResponse) => void;
  const stock = createServer((_request, response) => answer(response));

  beforeAll(async () => {
    folder = await createProjectFolder();
    project = join(folder.path, "service");
    await createProject(project, inject("tarball"), ["npm"], ["express@5", "pg@8"]);
    await writeFile(join(project, "service.mjs"), code);
    database = await createDatabase();
    await database.query("CREATE TABLE orders (id int PRIMARY KEY, item text)");
    await database.query("INSERT INTO orders VALUES (1, 'pen')");
    stock.listen(0, "127.0.0.1");
    await once(stock, "listening");
  });
  afterAll(async () => {
    service.kill("SIGKILL");
    stock.closeAllConnections();
    stock.close();
    await database.drop();
    await folder.remove();
  });

  /** Starts the service, with its circuits closed. */
  async function start(name: string): Promise<void> {
    service?.kill("SIGKILL");
    const { server } = database;
    const { port } = stock.address() as AddressInfo;
    socketPath = join(project, name);
    service = spawn(process.execPath, ["service.mjs"], {
      cwd: project,
      env: {
        ...process.env,
        NODE_OPTIONS: "",
        PORT: socketPath,
        STOCK_URL: `http://127.0.0.1:${port}`,
        ...{ PGHOST: "127.0.0.1", PGPORT: String(server.port), PGDATABASE: database.name },
        ...{ PGUSER: server.user, PGPASSWORD: server.password },
      },
      // Express prints errors that are not the bulkheads'.
      stdio: ["ignore", "inherit", "ignore"],
    });
    await vi.waitUntil(() => existsSync(socketPath), 20_000);
  }

  async function get(path: string) {
    const sent = request({ socketPath, path }).end();
    const [response] = await once(sent, "response");
    let body = "";
    for await (const chunk of response) body += chunk;
    const { statusCode: status, headers } = response;
    return { status, retryAfter: headers["retry-after"], body };
  }

  test("answers, and says 504 and then 503 when the other service hangs", async () => {
    await start("hangs");
    answer = (response) => response.end('{"left":7}');
    const body = '{"id":1,"item":"pen","stock":{"left":7}}';
    expect(await get("/orders/1")).toEqual({ status: 200, retryAfter: undefined, body });

    answer = () => {};
    const late = await Promise.all(Array.from({ length: 5 }, () => get("/orders/1")));
    const timedOut = { status: 504, retryAfter: "1", body: '{"error":"ERR_BULKHEAD_TIMEOUT"}' };
    expect(late).toEqual(Array(5).fill(timedOut));
    const open = await get("/orders/1");
    expect(open).toMatchObject({ status: 503, body: '{"error":"ERR_BULKHEAD_CIRCUIT_OPEN"}' });
    expect(Number(open.retryAfter)).toBeGreaterThan(1);
  });

  test("says 503 when the other service answers with errors, and 500 for its own", async () => {
    await start("fails");
    answer = (response) => response.writeHead(500).end("not JSON");
    for (let i = 0; i < 5; i++) expect((await get("/orders/1")).status).toBe(500);
    expect(await get("/orders/1")).toMatchObject({ status: 503 });
    expect((await get("/orders/2")).status).toBe(500); // there is none
  });

  test("says 504 and then 503 when the database hangs", async () => {
    await start("locked");
    const pool = database.pool({ max: 1 });
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      await client.query("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
      const late = await Promise.all(Array.from({ length: 5 }, () => get("/orders/1")));
      expect(late.map(({ status }) => status)).toEqual(Array(5).fill(504));
      expect(await get("/orders/1")).toMatchObject({
        status: 503,
        body: '{"error":"ERR_BULKHEAD_CIRCUIT_OPEN"}',
      });
    } finally {
      client.release(true);
      await pool.end();
    }
  });
});
