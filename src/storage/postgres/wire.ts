import type { Client, ClientBase } from "pg";
import type { ConnectionConfig } from "./connection.js";

/** What pg's types leave out of a client. */
interface Wire {
  readonly connection?: WireConnection;
  readonly host?: string;
  readonly port?: number;
  /** What a request to cancel names; there are none before the server has sent them. */
  readonly processID?: number | null;
  readonly secretKey?: number | null;
}

type WireConnection = CancelConnection & {
  readonly stream: Stream;
  ssl?: unknown;
  attachListeners(stream: Stream): void;
  emit(event: "sslconnect"): void;
};

/** What a request to cancel needs of a connection. */
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
 * The class of the clients of a storage's own pool: their connection ends at the first trouble with it.
 * @param connecting has those in it whose connection is being made
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

    /** pg leaves the socket open when it cannot agree with the server on how to begin. */
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
 * pg reads in a listener of the socket, and throws there at bytes that it does not understand: that
 * would end the process. From now on it ends the connection.
 */
export function guard<C extends ClientBase>(client: C): C {
  const { connection } = client as Wire;
  if (connection === undefined) return client;
  const { attachListeners } = connection;
  // Called once for a connection, with the socket or the secure stream over it.
  connection.attachListeners = (stream) => {
    contain(stream);
    attachListeners.call(connection, stream);
  };
  return client;
}

/** The answer of a server that has no TLS, to the question whether it has. */
const NO_TLS = "N";

/** pg ends a connection on which TLS was asked for and is refused. This one then goes on in plain text. */
function allowPlainText(client: ClientBase): void {
  const { connection } = client as Wire;
  if (connection === undefined) return;
  const { stream } = connection;
  const { once } = stream;
  stream.once = (event, listener) => {
    if (event !== "data") return once.call(stream, event, listener);
    // The first bytes are awaited once.
    stream.once = once;
    return once.call(stream, event, (answer) => {
      if (answer.toString("latin1") !== NO_TLS) return listener(answer);
      connection.ssl = false;
      connection.attachListeners(stream);
      // From here on it is as after a handshake.
      connection.emit("sslconnect");
    });
  };
}

function contain(stream: Stream): void {
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
