/**
 * A `pg` pool whose `query()` and `connect()` take permits of a bulkhead, for their promises. The rest is the pool's.
 */
export function guardPool(pool, bulkhead) {
  const guarded = {
    query: (...args) => bulkhead.call(() => pool.query(...args)),
    connect: () => connect(pool, bulkhead),
  };
  // The pool itself stays as it is: its query() calls its connect(), which would take a second permit.
  return new Proxy(pool, {
    get(_, name) {
      if (Object.hasOwn(guarded, name)) return guarded[name];
      const value = pool[name];
      return typeof value === "function" ? value.bind(pool) : value;
    },
  });
}

/** The client has its permit until `release()`. The time limit covers the wait and the connecting. */
async function connect(pool, bulkhead) {
  const permit = await bulkhead.acquire();
  const client = await inTime(pool.connect(), permit);
  permit.endTimeLimit();
  const { release } = client; // a new one each time that the pool hands out the client
  client.release = (error) => {
    release(error);
    if (error instanceof Error) permit.fail(error);
    else permit.succeed();
  };
  return client;
}

function inTime(connecting, permit) {
  return new Promise((resolve, reject) => {
    const { signal } = permit;
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    connecting.then(
      (client) => {
        if (!signal.aborted) return resolve(client);
        client.release(); // it came late, and its caller has left: back to the pool with it
        permit.drop();
      },
      (error) => {
        permit.fail(error);
        reject(error);
      },
    );
  });
}
