// A server that ends well on SIGTERM: what runs or waits is finished, what is too slow is cut.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { BulkheadManager } from "bulkman";

const { PORT = "3000", DRAIN_SECONDS = "10" } = process.env;

const bulkheads = new BulkheadManager();
const reports = await bulkheads.createBulkhead({ name: "reports", maxConcurrentCalls: 1 });

/** How long a report takes is in the path: /0.5 takes half a second. */
async function answer(request, response) {
  console.log("asked for", request.url);
  const milliseconds = Number(request.url.slice(1)) * 1000;
  let status = 200;
  let text;
  try {
    const outcome = await reports.run(({ signal }) => sleep(milliseconds, "done", { signal }));
    if (!outcome.success) throw outcome.error;
    text = outcome.result;
  } catch (error) {
    status = 503;
    text = error.code;
  }
  // A connection that is kept open for the next request would keep the process for seconds.
  if (!server.listening) response.setHeader("Connection", "close");
  response.writeHead(status).end(text);
}

const server = createServer(answer).listen(Number(PORT), "127.0.0.1", () => {
  console.log("listening on", `http://127.0.0.1:${server.address().port}`);
});

for (const signalName of ["SIGTERM", "SIGINT"]) {
  process.once(signalName, async () => {
    console.log(`${signalName}: draining`);
    server.close(); // takes no new connections, and closes those that are idle
    await bulkheads.shutdown({ drainSeconds: Number(DRAIN_SECONDS) });
    console.log("drained");
    // No process.exit() here: the last answers are still on their way.
  });
}
