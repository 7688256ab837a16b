// @ts-check
// npm run try:fleet-limit: what a limit for the whole fleet does, with real processes on a real PostgreSQL.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startPostgres } from "../postgres-server.mjs";
import { createTemporaryFolder } from "../temporary-folder.mjs";
import { measure, now, Worker } from "./fleet.mjs";
import { Namespace } from "./namespace.mjs";

const LIMIT = 20;
const CALL_MS = 50;
// A database on a busy machine may be slow while all processes start at once.
const TIMES = { permitLeaseSeconds: 9, permitRenewSeconds: 3, queryTimeoutSeconds: 5 };
const only = process.argv.slice(2);

const server = await startPostgres();
const { path: folder, remove } = await createTemporaryFolder("bulkman-fleet-limit-");
/** @type {Worker[]} */
let workers = [];
let round = 0;

/**
 * @param {number} count
 * @param {{ limit?: number, config?: object, storage?: object, url?: string, callMs?: number, prefixes?: readonly (readonly string[])[] }} [options]
 */
async function start(
  count,
  { limit = LIMIT, config = {}, storage = {}, url, callMs = CALL_MS, prefixes = [] } = {},
) {
  const place = join(folder, String(++round));
  await mkdir(place);
  workers = Array.from({ length: count }, (_, who) => {
    const settings = {
      callMs,
      storage: { connectionString: url ?? server.url, ...TIMES, ...storage },
      config: {
        name: `partner ${round}`,
        maxConcurrentCalls: limit,
        maxQueueSize: 100,
        timeoutSeconds: 1,
        fleetMaxConcurrentCalls: limit,
        ...config,
      },
    };
    return new Worker(who, settings, place, prefixes[who]);
  });
  await Promise.all(workers.map(({ ready }) => ready));
}

async function end() {
  await Promise.all(workers.map((worker) => worker.end()));
}

/** @param {number} total calls per second of all processes together */
function load(total, among = workers) {
  for (const worker of among) worker.load(total / among.length);
}

/**
 * @param {number} seconds
 * @param {() => unknown} [during]
 */
async function during(seconds, during = () => {}) {
  const from = now();
  await Promise.all([during(), sleep(seconds * 1000)]);
  return { from, to: now() };
}

/**
 * @param {string} what
 * @param {{ from: number, to: number }} range
 */
function row(what, range) {
  const { most, served, questions, troubles, waits } = measure(workers, range);
  const seconds = (range.to - range.from) / 1000;
  const total = served.reduce((sum, count) => sum + count, 0);
  console.log(
    `| ${what} | ${(total / seconds).toFixed(0)}/s | ${most} | ${(questions / seconds).toFixed(1)} | ` +
      `${waits.p50.toFixed(0)} / ${waits.p99.toFixed(0)} ms | ${troubles > 0 ? `${troubles} storage errors; ` : ""}${served.length > 4 ? `${Math.min(...served)} to ${Math.max(...served)}` : served.join(" ")} |`,
  );
}

/** @param {string} title */
function header(title) {
  console.log(`\n${title}\n`);
  console.log(
    "| | served | most at once | questions/s | wait p50 / p99 | calls per process |\n|---|---|---|---|---|---|",
  );
}

/** @type {Record<string, () => Promise<void>>} */
const TRIALS = {
  async load() {
    header(
      `4 processes, limit ${LIMIT}, calls of ${CALL_MS} ms, renewal ${TIMES.permitRenewSeconds} s: calls offered per second`,
    );
    for (const offered of [4, 40, 200, 360, 4000]) {
      await start(4);
      load(offered);
      await sleep(1000);
      row(`${offered}/s`, await during(10));
      await end();
    }
  },
  async many() {
    header("16 processes, limit 64, of 1,280/s that are possible");
    await start(16, { limit: 64 });
    load(1600);
    await sleep(2000);
    row("1600/s", await during(10));
    await end();
  },
  async few() {
    header("16 processes, limit 5: turns");
    await start(16, { limit: 5 });
    load(400);
    await sleep(2000);
    row("400/s", await during(30));
    await end();
  },
  async moving() {
    header("4 processes, load that moves from one to another");
    await start(4);
    const range = await during(20, async () => {
      for (let n = 0; n < 4; n++) {
        for (const [who, worker] of workers.entries()) worker.load(who === n ? 360 : 10);
        await sleep(5000);
      }
    });
    row("360/s in one, 10/s in the others, for 5 s each", range);
    await end();
  },
  async pooler() {
    header("4 processes, without notices (pollSeconds), as behind a pooler without LISTEN");
    await start(4, { storage: { pollSeconds: 5 } });
    load(4000);
    await sleep(1000);
    row("4000/s", await during(15));
    await end();
  },
  async pgbouncer() {
    header("4 processes, through PgBouncer in transaction mode");
    const pooler = await startPgBouncer();
    if (typeof pooler === "string") {
      console.log(`| not tried: ${pooler} |||||||`);
      return;
    }
    await start(4, { url: pooler.url });
    load(4000);
    await sleep(1000);
    row("4000/s", await during(15));
    await end();
    await pooler.end();
  },
  async kill() {
    header("SIGKILL of one of four, all busy");
    await start(4);
    load(4000);
    await sleep(3000);
    const before = await during(3);
    await workers[0]?.kill();
    const after = await during(20);
    row("before", before);
    row("for 20 s after", after);
    row("the last 5 s of these", { from: after.to - 5000, to: after.to });
    await end();
  },
  async freeze() {
    header("SIGSTOP of one of four for 15 s, longer than its lease, all busy");
    await start(4);
    load(4000);
    await sleep(3000);
    const frozen = await during(15, async () => {
      workers[0]?.signal("SIGSTOP");
      await sleep(15_000);
      workers[0]?.signal("SIGCONT");
    });
    const after = await during(5);
    row("while it is frozen", frozen);
    row("5 s after it woke", after);
    await end();
  },
  async outage() {
    for (const [what, idle] of /** @type {const} */ ([
      ["all busy", 0],
      ["one of four busy", 3],
    ])) {
      header(`Postgres stopped for 20 s, longer than a lease; ${what}`);
      await start(4);
      const busy = workers.slice(idle);
      load(4000, busy);
      await sleep(3000);
      await server.stop();
      const away = await during(20);
      await server.start();
      const back = await during(20);
      row("while it is away", away);
      row("for 20 s after it is back", back);
      await end();
    }
  },
  async shortOutage() {
    header("Postgres stopped for 8 s, shorter than a lease of 9 s, all busy");
    await start(4);
    load(4000);
    await sleep(3000);
    await server.stop();
    const away = await during(8);
    await server.start();
    row("while it is away", away);
    row("for 15 s after it is back", await during(15));
    await end();
  },
  async partition() {
    header("One of four cut off from Postgres in a network namespace for 20 s, all busy");
    const namespace = await Namespace.create(server.port);
    if (typeof namespace === "string") {
      console.log(`| not tried: ${namespace} |||||||`);
      return;
    }
    try {
      const url = namespace.urlOf(server.url);
      await start(4, { url, prefixes: [namespace.prefix] });
      load(4000);
      await sleep(3000);
      await namespace.cut();
      const cut = await during(20);
      await namespace.mend();
      row("while it is cut off", cut);
      row("for 15 s after", await during(15));
      await end();
    } finally {
      await namespace.remove();
    }
  },
};

/** A real PgBouncer in transaction mode, or why there is none. */
async function startPgBouncer() {
  const place = join(folder, "pgbouncer");
  await mkdir(place);
  await chmod(folder, 0o755);
  await chmod(place, 0o777);
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  await writeFile(
    join(place, "pgbouncer.ini"),
    `[databases]\n* = host=127.0.0.1 port=${server.port} user=${server.user} password='${server.password}'\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nauth_type = any\npool_mode = transaction\nunix_socket_dir =\n`,
  );
  const user = userInfo().uid === 0 ? ["-u", "nobody"] : [];
  const pooler = spawn("pgbouncer", ["-q", ...user, join(place, "pgbouncer.ini")], {
    stdio: "ignore",
  });
  const failed = once(pooler, "error").then(() => "pgbouncer is not installed");
  const ended = once(pooler, "exit").then(() => "pgbouncer ended");
  const reason = await Promise.race([failed, ended, sleep(1000)]);
  if (reason !== undefined) return reason;
  const url = new URL(server.url);
  url.port = String(port);
  return {
    url: url.href,
    end: async () => {
      pooler.kill();
      await ended;
    },
  };
}

try {
  for (const [name, trial] of Object.entries(TRIALS)) {
    if (only.length === 0 || only.includes(name)) await trial();
  }
} finally {
  for (const { process: child } of workers) child.kill("SIGKILL");
  await server.remove();
  await remove();
}
