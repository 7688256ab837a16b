// What the second act ends with: a process that fails by itself, and one that is killed.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { PostgresStorage } from "bulkman";
import { HEALTHY, LIMITED } from "./plan.mjs";
import { Traffic } from "./traffic.mjs";

/** @typedef {import("./main.mjs").Stage} Stage */
/** @typedef {{ child: import("node:child_process").ChildProcess, url: string }} Member */

/**
 * One process calls a wrong address. Its own circuit opens, that of the others does not.
 * @param {Stage} stage
 * @param {{ members: Member[], database: string }} fleet
 */
export async function goMad({ plan, screen, signal }, { members, database }) {
  const { askEveryMs, quorum } = plan.fleet;
  const { openQuorum } = quorum.bulkhead;
  screen.print([
    `Process 2 goes mad: it calls ${HEALTHY} where nothing listens; openQuorum is ${openQuorum}.`,
  ]);
  const [first, mad, last] = members.map(({ url }) => `${url}/${HEALTHY}`);
  const others = [first, last];
  members[1].child.send("go mad");
  await reported(members[1], ({ isMad }) => isMad, signal);
  const storage = new PostgresStorage({ connectionString: database });
  const traffic = new Traffic([first, mad, last], askEveryMs);
  try {
    traffic.start();
    let record = await storage.load(HEALTHY);
    while (!record.votes?.length) {
      await sleep(10, undefined, { signal });
      record = await storage.load(HEALTHY);
    }
    await sleep(quorum.seconds * 1000, undefined, { signal });
    await traffic.stop();
    const { state, votes } = await storage.load(HEALTHY);
    screen.print([
      `  mad: ${traffic.count([mad], "failed")} failed, ${traffic.count([mad], "refused")} rejected; ` +
        `others: ${traffic.count(others, "succeeded")}/${traffic.count(others)} served; ` +
        `record ${state}, ${votes.length} of ${openQuorum} votes`,
    ]);
  } finally {
    await traffic.stop();
    await storage.close();
  }
}

/**
 * All processes together want more than the fleet's limit. One of them is killed.
 * @param {Stage} stage
 * @param {{ members: Member[], upstream: Member["child"] }} fleet
 */
export async function killOne({ plan, screen, children, signal }, { members, upstream }) {
  const { askEveryMs, limit: planned } = plan.fleet;
  screen.print([
    `All want more of ${LIMITED} than the fleet's limit; process 3 is killed half-way.`,
  ]);
  const urls = members.map(({ url }) => `${url}/${LIMITED}`);
  const [survivor, , victim] = members;
  const pause = () => sleep(planned.seconds * 1000, undefined, { signal });
  const traffic = new Traffic(urls, askEveryMs);
  try {
    traffic.start();
    await pause();
    const before = traffic.count(urls, "succeeded");
    traffic.leave(urls[2]);
    await children.kill(victim.child);
    await pause();
    const after = traffic.count(urls, "succeeded") - before;
    await traffic.stop();
    const { limit } = await reported(survivor, () => true, signal);
    upstream.send({ mode: "healthy" });
    const [{ mostOpen }] = await once(upstream, "message", { signal });
    screen.print([
      `  limit: ${limit}; most at once, counted by ${LIMITED}: ${mostOpen}; served: ${before} before, ${after} after`,
    ]);
  } finally {
    await traffic.stop();
  }
}

/** Resolves with the first report of a process that is as wanted. */
async function reported({ child }, isWanted, signal) {
  while (true) {
    const [report] = await once(child, "message", { signal });
    if (isWanted(report)) return report;
  }
}
