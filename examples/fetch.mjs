// fetch with the signal of the bulkhead: a request that takes too long is aborted.
import { once } from "node:events";
import { createServer } from "node:http";
import { Bulkhead } from "bulkman";

// Stands for the service that you call. It never answers /slow, and logs a client that hangs up.
const service = createServer((request, response) => {
  if (request.url === "/slow") request.once("close", () => console.log("service: hung up on"));
  else if (request.url === "/users/1") response.end(JSON.stringify({ id: 1, name: "Ada" }));
  else response.writeHead(500).end("out of order");
});
await once(service.listen(0, "127.0.0.1"), "listening");
const url = `http://127.0.0.1:${service.address().port}`;

const api = new Bulkhead({ name: "api", maxConcurrentCalls: 8, timeoutSeconds: 5 });

function getJson(path, options) {
  return api.run(async ({ signal }) => {
    const response = await fetch(url + path, { signal });
    if (!response.ok) {
      await response.body?.cancel(); // or the connection stays in use
      throw new Error(`status ${response.status}`); // fetch itself resolves on any status
    }
    return response.json(); // inside, so that the time limit covers the body too
  }, options);
}

const found = await getJson("/users/1");
console.log("found:", found.result);

const broken = await getJson("/broken");
console.log("broken:", broken.error.message);

try {
  await getJson("/slow", { timeoutSeconds: 0.5 });
} catch (error) {
  console.log("slow:", error.code);
}

// Of a caller that may leave: here after 0.5 s, in a server when its client hangs up.
const caller = AbortSignal.timeout(500);
try {
  await getJson("/slow", { signal: caller });
} catch (error) {
  console.log("left:", error === caller.reason);
}

await api.shutdown({ drainSeconds: 5 });
const { failedExecutions, timedOutExecutions, abandonedTasks } = api.getStats();
console.log({ failedExecutions, timedOutExecutions, abandonedTasks });
service.close();
service.closeAllConnections();
