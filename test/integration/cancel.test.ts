import { type AddressInfo, createServer, type Socket } from "node:net";
import { TLSSocket, type TlsOptions } from "node:tls";
import { Client, type ClientConfig } from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PostgresStorage } from "../../src/index.js";
import { cancel } from "../../src/storage/postgres/cancel.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

async function waiting(): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1",
    [database.name],
  );
  return row?.count ?? 0;
}

/** Locks the whole table, as a user's migration does. */
async function lockTable() {
  const pool = database.pool({ max: 1 });
  const other = await pool.connect();
  await other.query("BEGIN; LOCK TABLE rc_circuit_breakers");
  return async () => {
    await other.query("COMMIT");
    other.release();
    await pool.end();
  };
}

it.each(["a pool of its own", "a pool of the application's"])(
  "leaves no backend waiting for a table that another session has locked: %s",
  async (whose) => {
    const pool = database.pool({ max: 4 });
    const source = whose.startsWith("a pool of its")
      ? { connectionString: database.url }
      : { pool };
    const patient = new PostgresStorage({ ...source, queryTimeoutSeconds: 20 });
    await patient.load("api");
    const storage = new PostgresStorage({ ...source, queryTimeoutSeconds: 0.2 });
    const unlock = await lockTable();
    const counts: number[] = [];
    for (let round = 0; round < 10; round++) {
      await expect(storage.load("api")).rejects.toThrow("did not answer within");
      counts.push(await waiting());
    }
    // Some may be on their way out while the next comes.
    expect(Math.max(...counts)).toBeLessThanOrEqual(3);
    await eventually(async () => (await waiting()) === 0);
    // Also those of a storage that is closed in the middle of it.
    const last = patient.load("api").catch(String);
    await eventually(async () => (await waiting()) === 1);
    await Promise.all([storage.close(), patient.close()]);
    expect(await last).toContain("is closed");
    await eventually(async () => (await waiting()) === 0);
    await unlock();
    await pool.end();
  },
);

/** A server that writes down what each connection says, over TLS with a key that both know. */
async function listener(secure?: TlsOptions) {
  const said: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    if (secure === undefined) socket.on("data", (data) => said.push(data));
    else {
      socket.once("data", (data) => {
        said.push(data);
        socket.write("S");
        const encrypted = new TLSSocket(socket, { ...secure, isServer: true });
        encrypted.on("error", () => {});
        encrypted.on("data", (data) => said.push(data));
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { said, sockets, port, close: () => new Promise((resolve) => server.close(resolve)) };
}

function ready(port: number, key: { processID?: number; secretKey?: number }) {
  return Object.assign(new Client({ host: "127.0.0.1", port }), key);
}

const REQUEST = "00000010" + "04d2162e" + "0000002a" + "00000007";

it("cancels over TLS where the connection was made over TLS", async () => {
  const psk = Buffer.from("shared by both");
  const common = { ciphers: "PSK", maxVersion: "TLSv1.2" } as const;
  const server = await listener({ ...common, pskCallback: () => psk });
  const ssl = {
    ...common,
    pskCallback: () => ({ psk, identity: "test" }),
    checkServerIdentity: () => undefined,
  } as unknown as NonNullable<ClientConfig["ssl"]>;
  cancel(
    ready(server.port, { processID: 42, secretKey: 7 }),
    () => new Client({ host: "127.0.0.1", port: server.port, ssl }),
    1000,
  );
  await eventually(() => server.said.length === 2);
  expect(server.said.map((data) => data.toString("hex"))).toEqual(["0000000804d2162f", REQUEST]);
  await eventually(() => server.sockets.size === 0);
  await server.close();
});

it("gives up a request that the server does not take, and leaves no connection", async () => {
  const server = await listener();
  cancel(ready(server.port, { processID: 42, secretKey: 7 }), () => new Client(), 100);
  await eventually(() => server.said.length === 1);
  expect(server.said.map((data) => data.toString("hex"))).toEqual([REQUEST]);
  await eventually(() => server.sockets.size === 0);
  await server.close();
  // No server there at all.
  cancel(ready(server.port, { processID: 42, secretKey: 7 }), () => new Client(), 100);
});

it("asks nothing for a connection that was never ready, and throws at nothing", async () => {
  let asked = 0;
  const carrier = () => {
    asked++;
    throw new Error("no more connections");
  };
  cancel(new Client(), carrier, 100);
  expect(asked).toBe(0);
  cancel(ready(1, { processID: 42, secretKey: 7 }), carrier, 100);
  expect(asked).toBe(1);
});
