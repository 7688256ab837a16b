import type { Client, ClientBase } from "pg";
import { type CancelConnection, destroy, unref, wireOf } from "./wire.js";

/**
 * Cancels the query of `client` on the server. A backend that waits for a lock does not see that its socket is
 * gone: without this, each retry behind a locked table would leave one more waiting.
 *
 * Best effort, in the background: never throws, takes no longer than `limitMs`, never keeps the process alive.
 *
 * @param createClient creates the client, not connected, whose connection carries the request
 */
export function cancel(client: ClientBase, createClient: () => Client, limitMs: number): void {
  const { processID, secretKey, host, port } = wireOf(client);
  // A connection that was never ready has nothing to cancel.
  if (processID == null || secretKey == null || host === undefined || port === undefined) return;
  try {
    const cancelClient = createClient();
    const { connection } = wireOf(cancelClient);
    if (connection === undefined) return;
    const timer = setTimeout(() => destroy(cancelClient), limitMs);
    timer.unref();
    connection.on("error", () => {});
    connection.on("end", () => clearTimeout(timer));
    whenWritable(connection, () => {
      connection.cancel(processID, secretKey);
      unref(cancelClient);
    });
    // Like pg does.
    if (host.startsWith("/")) connection.connect(`${host}/.s.PGSQL.${port}`);
    else connection.connect(port, host);
    unref(cancelClient);
  } catch {
    // The server notices a closed socket by itself, sooner or later.
  }
}

/** In plain text as soon as it is connected; over TLS, begun as pg begins it, after the handshake. */
function whenWritable(connection: CancelConnection, write: () => void): void {
  if (!connection.ssl) {
    connection.on("connect", write);
    return;
  }
  if (connection.sslNegotiation !== "direct") {
    connection.on("connect", () => connection.requestSsl());
  }
  connection.on("sslconnect", write);
}
