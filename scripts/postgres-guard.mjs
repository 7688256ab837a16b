// @ts-check
// The process in which `startPostgres()` and the demo have their server. Its end is that of the channel to
// the parent, which closes however the parent ends, also by SIGKILL: then it stops the server and removes
// everything. It is started detached, so that Ctrl-C in a terminal does not reach it and the server.
import { PostgresCluster } from "./postgres-cluster.mjs";

const { BULKMAN_POSTGRES: settings = "{}" } = process.env;
delete process.env["BULKMAN_POSTGRES"];

const created = PostgresCluster.create(JSON.parse(settings));

let isEnding = false;
/** @param {string} [failure] */
async function end(failure) {
  if (isEnding) return;
  isEnding = true;
  if (failure !== undefined) await send({ failure });
  // Nothing is broken off: initdb would leave what it has made so far.
  const cluster = await created.catch(() => undefined);
  await starting.catch(() => {});
  await cluster?.remove();
  process.exit(failure === undefined ? 0 : 1);
}

async function start() {
  const cluster = await created;
  if (isEnding) return;
  await cluster.start({ onExit: () => end("the server ended by itself") });
  const { port, user, password } = cluster;
  const url = `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres`;
  await send({ url: `${url}?sslmode=disable`, port, user, password });
}

/** @param {object} message */
async function send(message) {
  // Without an error when the parent has just ended.
  if (process.connected) await new Promise((resolve) => process.send?.(message, resolve));
}

process.on("disconnect", () => end());
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => end());
process.on("message", async (message) => {
  if (message === "stop") {
    await (await created).stop("fast");
    await send({ isStopped: true });
  } else if (message === "start") {
    starting = start();
    starting.catch((error) => end(messageOf(error)));
  }
});

let starting = start();
starting.catch((error) => end(messageOf(error)));

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
