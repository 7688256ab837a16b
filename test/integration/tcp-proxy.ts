import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Turns what passes into something else. */
export type Corruption = (chunk: Buffer) => Buffer;

/** Makes a server of this version look like one of PostgreSQL 11. */
export function asVersion11(version: string): Corruption {
  const older = version.replace(/^\d+/, "11");
  return (chunk) => Buffer.from(chunk.toString("latin1").replaceAll(version, older), "latin1");
}

/** Stands between processes and a server, and can be as bad as a network. */
export class TcpProxy {
  /** Takes connections, but nothing passes: neither way, on old connections and new. */
  stalled = false;
  /** Closes every new connection at once. */
  refusing = false;
  /** Drops the notices of the server, as a transaction pooler does: everything else passes. */
  muted = false;
  /** How long each chunk takes, each way. */
  delayMs = 0;
  /** What becomes of what the server says. */
  corrupt: Corruption | undefined = undefined;
  /** Connections that were made so far. */
  accepted = 0;
  readonly #target: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #lost = new WeakSet<Socket>();

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer({ pauseOnConnect: true }, (client) => this.#accept(client));
  }

  static async to(port: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(port);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Forgets every connection without a word, as a router does: nothing passes on them any more. */
  lose(): void {
    for (const socket of this.#sockets) this.#lost.add(socket);
  }

  /** Ends every connection, in the middle of whatever it carries. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    this.accepted++;
    if (this.refusing) {
      client.resetAndDestroy();
      return;
    }
    const server = connect(this.#target, "127.0.0.1");
    const withoutNotices = noticeFilter();
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on("data", (chunk) => {
        if (from === client) this.#pass(false, chunk, to);
        else this.#pass(true, this.muted ? withoutNotices(chunk) : chunk, to);
      });
    }
    client.resume();
  }

  #pass(isAnswer: boolean, chunk: Buffer, to: Socket): void {
    if (this.stalled || this.#lost.has(to)) return;
    const passed = isAnswer && this.corrupt !== undefined ? this.corrupt(chunk) : chunk;
    if (this.delayMs === 0) to.write(passed);
    else setTimeout(() => to.write(passed), this.delayMs);
  }
}

const NOTIFICATION_RESPONSE = "A".charCodeAt(0);

/** What a server says, without its notices. It says one message after another: type, length, content. */
function noticeFilter(): Corruption {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const passed: Buffer[] = [];
    while (rest.length >= 5 && rest.length > rest.readUInt32BE(1)) {
      const end = 1 + rest.readUInt32BE(1);
      if (rest[0] !== NOTIFICATION_RESPONSE) passed.push(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
    return Buffer.concat(passed);
  };
}
