import { execFile } from "node:child_process";
import { appendFile, chown, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import { startPostgres } from "../../scripts/postgres-server.mjs";
import type { TestServer } from "./services.setup.js";

/** A server and its standby, which follows it by streaming replication. */
export async function startPair() {
  const [primary, standby] = await Promise.all([startPostgres(), startPostgres()]);
  const source = await dataDirectory(primary);
  const target = await dataDirectory(standby);
  await Promise.all([primary.stop(), standby.stop()]);
  // While both servers are stopped, a copy of the files is a backup.
  const copy = 'rm -rf "$2"/* && cp -a "$1"/. "$2"';
  await promisify(execFile)("sh", ["-c", copy, "sh", source, target]);
  const { port, user, password } = primary;
  const signal = join(target, "standby.signal");
  await writeFile(signal, "");
  // A promoted server removes it, so it must be the server's own.
  const { uid, gid } = await stat(target);
  await chown(signal, uid, gid);
  await appendFile(
    join(target, "postgresql.auto.conf"),
    `primary_conninfo = 'host=127.0.0.1 port=${port} user=${user} password=${password}'\n`,
  );
  await primary.start();
  await standby.start();
  return {
    primary: { port, user, password },
    // With the data it has the users of the primary.
    standby: { port: standby.port, user, password },
    stop: () => Promise.all([standby.remove(), primary.remove()]),
  };
}

async function dataDirectory({ port, user, password }: TestServer): Promise<string> {
  const client = new Client({ host: "127.0.0.1", database: "postgres", port, user, password });
  await client.connect();
  const { rows } = await client.query<{ data_directory: string }>("SHOW data_directory");
  await client.end();
  return rows[0]?.data_directory ?? "";
}
