// axios behind a bulkhead, by its adapter: a request that takes too long is aborted, errors stay axios's own.
import { once } from "node:events";
import { createServer } from "node:http";
import axios from "axios";
import { Bulkhead, httpStatus } from "bulkman";

/** An adapter that sends each request of a client in the bulkhead. */
function guardedAdapter(bulkhead, send = axios.getAdapter("http")) {
  return async (config) => {
    const task = ({ signal }) => send({ ...config, signal });
    const outcome = await bulkhead.run(task, { signal: config.signal });
    if (outcome.success) return outcome.result;
    throw outcome.error.cause ?? outcome.error; // what axios itself rejected with
  };
}

// Stands for the service that you call. It never answers /slow, and logs a client that hangs up.
const service = createServer((request, response) => {
  if (request.url === "/slow") request.once("close", () => console.log("service: hung up on"));
  else if (request.url === "/users/1") response.end(JSON.stringify({ id: 1, name: "Ada" }));
  else response.writeHead(request.url === "/broken" ? 500 : 404).end();
});
await once(service.listen(0, "127.0.0.1"), "listening");

// httpStatus(): 404 is an answer, and no failure of the service.
const users = new Bulkhead({
  name: "users",
  timeoutSeconds: 0.5,
  failureThreshold: 3,
  classify: httpStatus(),
});
const client = axios.create({
  baseURL: `http://127.0.0.1:${service.address().port}`,
  adapter: guardedAdapter(users),
});

const { data } = await client.get("/users/1");
console.log("found:", data);
await client.get("/missing").catch((error) => console.log("missing:", error.code, error.status));
await client.get("/broken").catch((error) => console.log("broken:", error.code, error.status));
await client.get("/slow").catch((error) => console.log("slow:", error.code));

// Of a caller that may leave, as in fetch.mjs.
const caller = new AbortController();
setTimeout(() => caller.abort(), 100);
const left = client.get("/slow", { signal: caller.signal });
await left.catch((error) => console.log("left:", error.code));

await users.shutdown({ drainSeconds: 5 });
const { abandonedTasks, circuitStatus: circuit } = users.getStats();
console.log({ abandonedTasks, circuit });
service.close();
service.closeAllConnections();
