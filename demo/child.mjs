// What the demo's child processes have in common.
import { once } from "node:events";
import { createServer } from "node:http";

/** What the parent started this process with. */
export const settings = JSON.parse(process.env.DEMO_SETTINGS ?? "{}");

/**
 * Tells the parent something. It may just have ended: there is nobody left to tell then, and nothing to do
 * but to end, too.
 * @param {object} message
 */
export function tellParent(message) {
  if (process.connected) process.send(message, () => {});
}

// However the parent ends, even by SIGKILL, the channel to it closes. It closes it also to end this process.
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
  tellParent({ url: `http://127.0.0.1:${server.address().port}` });
}
