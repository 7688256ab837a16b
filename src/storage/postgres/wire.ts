import type { Client, ClientBase } from "pg";
import type { ConnectionConfig } from "./connection.js";

/** What pg's types leave out of a client. */
interface Wire {
  readonly connection?: WireConnection;
  readonly host?: string;
  readonly port?: number;
  /** What a request to cancel names. Unset until the server has sent them. */
  readonly processID?: number | null;
  readonly secretKey?: number | null;
}

type WireConnection = CancelConnection & {
  readonly stream: Stream;
  ssl?: unknown;
  attachListeners(stream: Stream): void;
  emit(event: "sslconnect"): void;
};

/** The part of a connection that a request to cancel uses. */
export interface CancelConnection {
  readonly ssl?: unknown;
  readonly sslNegotiation?: string;
  connect(port: number, host: string): void;
  connect(path: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: number): void;
  on(event: "connect" | "sslconnect" | "end" | "error", listener: () => void): unknown;
}

interface Stream {
  once(event: string, listener: (data: Buffer) => void): unknown;
  destroy(error?: unknown): void;
  unref?(): void;
  emit(event: string | symbol, ...args: unknown[]): boolean;
}

/**
 * The class of the clients of a storage's own pool: their connection ends at the first error.
 * @param connecting holds the clients that are connecting
 */
export function guardedClient(
  PgClient: typeof Client,
  connecting = new Set<ClientBase>(),
): typeof Client {
  return class GuardedClient extends PgClient {
    constructor(config?: ConnectionConfig) {
      super(config);
      guard(this);
      if (config?.allowsPlainText === true) allowPlainText(this);
    }

    /** Destroys the socket when connecting fails: pg leaves it open when the TLS negotiation fails. */
    override connect(): Promise<Client>;
    override connect(callback: OnConnect): void;
    override connect(callback?: OnConnect): Promise<Client> | undefined {
      if (callback === undefined) return super.connect();
      connecting.add(this);
      super.connect((error: Error) => {
        connecting.delete(this);
        if (error) destroy(this);
        (callback as (error: Error) => void)(error);
      });
      return undefined;
    }
  };
}

type OnConnect = ((error: Error) => void) | ((error: null, client: Client) => void);

/**
 * Makes bytes that pg cannot parse end the connection: pg parses in a listener of the socket, and what it
 * throws there would end the process.
 */
export function guard<C extends ClientBase>(client: C): C {
  const { connection } = client as Wire;
  if (connection === undefined) return client;
  const { attachListeners } = connection;
  // Called once for a connection, with the socket or the secure stream over it.
  connection.attachListeners = (stream) => {
    destroyOnParseError(stream);
    attachListeners.call(connection, stream);
  };
  return client;
}

/** The answer of a server without TLS to a request for TLS. */
const NO_TLS = "N";

/** Goes on in plain text when the server has no TLS: pg would end the connection. */
function allowPlainText(client: ClientBase): void {
  const { connection } = client as Wire;
  if (connection === undefined) return;
  const { stream } = connection;
  const { once } = stream;
  stream.once = (event, listener) => {
    if (event !== "data") return once.call(stream, event, listener);
    // Only the first bytes are the answer.
    stream.once = once;
    return once.call(stream, event, (answer) => {
      if (answer.toString("latin1") !== NO_TLS) return listener(answer);
      connection.ssl = false;
      connection.attachListeners(stream);
      // pg goes on as after a handshake.
      connection.emit("sslconnect");
    });
  };
}

function destroyOnParseError(stream: Stream): void {
  const { emit } = stream;
  stream.emit = (event, ...args) => {
    try {
      return emit.call(stream, event, ...args);
    } catch (error) {
      if (event !== "data") throw error;
      stream.destroy(error);
      return true;
    }
  };
}

/** The client with what pg's types leave out of it. */
export function wireOf(client: ClientBase): Wire {
  return client as Wire;
}

/** Closes a connection at once: pg's own `end()` waits for an answer of the other side. */
export function destroy(client: ClientBase): void {
  (client as Wire).connection?.stream.destroy();
}

/** Lets the process exit while the connection is open. */
export function unref(client: ClientBase): void {
  (client as Wire).connection?.stream.unref?.();
}
