// What the demo's child processes have in common.
import { once } from "node:events";
import { createServer } from "node:http";

/** What the parent started this process with. */
export const settings = JSON.parse(process.argv[2] ?? "{}");

// However the parent ends, even by SIGKILL, the channel to it closes.
process.on("disconnect", () => process.exit());
// A terminal sends Ctrl-C to every process in it. The parent decides, and ends its children.
process.on("SIGINT", () => {});

/**
 * Serves HTTP on a free port of the loopback interface and tells the parent where.
 * @param {import("node:http").RequestListener} listener
 */
export async function serve(listener) {
  // No idle connection is closed under a client that is about to use it again: that would be an error
  // which has nothing to do with what is shown.
  const server = createServer({ keepAliveTimeout: 60_000 }, listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.send({ url: `http://127.0.0.1:${server.address().port}` });
}
