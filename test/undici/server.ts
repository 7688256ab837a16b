import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** A real server that runs until the test is over. @returns its origin, and what it counts */
export async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => unknown,
) {
  const counts = { requests: 0, open: 0, most: 0 };
  const server = createServer((request, response) => {
    counts.requests++;
    counts.open++;
    counts.most = Math.max(counts.most, counts.open);
    response.once("close", () => counts.open--);
    answer(request, response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, counts, server };
}

/** An origin at which nothing listens. */
export async function deadOrigin(): Promise<string> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return `http://127.0.0.1:${port}`;
}
