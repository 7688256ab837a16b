import type { Client, ClientBase } from "pg";
import { type CancelConnection, destroy, unref, wireOf } from "./wire.js";

/**
 * Asks the server to end what `client` is asking. A backend that waits for a lock does not see that its
 * socket is gone: without this, each retry behind a locked table would leave another one waiting.
 *
 * Best effort, in the background: never throws, takes no longer than `limitMs`, keeps no process alive.
 *
 * @param carrier a client that is not connected, for the connection that carries the request
 */
export function cancel(client: ClientBase, carrier: () => Client, limitMs: number): void {
  const { processID, secretKey, host, port } = wireOf(client);
  // A connection that was never ready has nothing to cancel.
  if (processID == null || secretKey == null || host === undefined || port === undefined) return;
  try {
    const courier = carrier();
    const { connection } = wireOf(courier);
    if (connection === undefined) return;
    const timer = setTimeout(() => destroy(courier), limitMs);
    timer.unref();
    connection.on("error", () => {});
    connection.on("end", () => clearTimeout(timer));
    whenWritable(connection, () => {
      connection.cancel(processID, secretKey);
      unref(courier);
    });
    // As pg does for its own.
    if (host.startsWith("/")) connection.connect(`${host}/.s.PGSQL.${port}`);
    else connection.connect(port, host);
    unref(courier);
  } catch {
    // The server finds out by itself, sooner or later.
  }
}

/** In the clear at once; over TLS, as pg begins it, when that is agreed on. */
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
