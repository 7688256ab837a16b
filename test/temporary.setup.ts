import { chmod } from "node:fs/promises";
import { endAbandonedServers } from "../scripts/postgres-cluster.mjs";
import { createTemporaryFolder } from "../scripts/temporary-folder.mjs";

/**
 * Has all temporary files of the run, also those of its child processes, in one folder: when the run is
 * killed, the next one removes it.
 */
export async function setup(): Promise<() => Promise<void>> {
  const { path, remove } = await createTemporaryFolder("bulkman-test-", {
    beforeRemoval: endAbandonedServers,
  });
  // When root runs the tests, PostgreSQL runs as another user.
  await chmod(path, 0o711);
  // Windows has the other two.
  for (const name of ["TMPDIR", "TEMP", "TMP"]) process.env[name] = path;
  return remove;
}
