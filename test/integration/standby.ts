import { execFile } from "node:child_process";
import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import { eventually } from "./eventually.js";
import { startPostgres, type TestServer } from "./services.setup.js";

/** A server and its standby, which follows it by streaming replication. */
export async function startPair() {
  const primary = await startPostgres();
  const standby = await startPostgres();
  const source = await dataDirectory(primary.server);
  const target = await dataDirectory(standby.server);
  await Promise.all([primary.postgres.stop(), standby.postgres.stop()]);
  // While both servers are stopped, a copy of the files is a backup.
  const copy = 'rm -rf "$2"/* && cp -a "$1"/. "$2"';
  await promisify(execFile)("sh", ["-c", copy, "sh", source, target]);
  const { port, user, password } = primary.server;
  await writeFile(join(target, "standby.signal"), "");
  await appendFile(
    join(target, "postgresql.auto.conf"),
    `primary_conninfo = 'host=127.0.0.1 port=${port} user=${user} password=${password}'\n`,
  );
  await primary.postgres.start();
  // Not awaited: it waits for a server that accepts changes.
  standby.postgres.start().catch(() => {});
  await eventually(() => dataDirectory(standby.server).catch(() => ""));
  return {
    primary: primary.server,
    standby: standby.server,
    stop: () => Promise.all([standby.stop(), primary.stop()]),
  };
}

async function dataDirectory(server: TestServer): Promise<string> {
  const client = new Client({ host: "127.0.0.1", database: "postgres", ...server });
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>("SHOW data_directory");
    return rows[0]?.data_directory ?? "";
  } finally {
    await client.end();
  }
}
