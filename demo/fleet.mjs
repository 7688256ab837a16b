// Act: three processes of one service share a circuit. One of them sees the dependency fail. Then one of them goes mad,
// and one is killed.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { POSTGRES_GUARD } from "../scripts/postgres-server.mjs";
import { goMad, killOne } from "./fleet-faults.mjs";
import { FleetRecording } from "./fleet-recording.mjs";
import { summarize } from "./fleet-report.mjs";
import * as view from "./fleet-view.mjs";
import { HEALTHY, LIMITED, SICK } from "./plan.mjs";
import { Traffic } from "./traffic.mjs";

/** @typedef {import("./main.mjs").Stage} Stage */

const UPSTREAM = new URL("./upstream.mjs", import.meta.url);
const MEMBER = new URL("./member.mjs", import.meta.url);

const NAMES = ["1", "2", "3"];

export const fleet = {
  /** @param {Stage} stage */
  async play(stage) {
    const { plan, screen, children, signal } = stage;
    const { askEveryMs, bulkhead } = plan.fleet;
    screen.print([
      `Now three processes of a service share the circuit of ${SICK} through Postgres,`,
      `a real server that is started for this. Each is asked every ${askEveryMs} ms. Only while`,
      `${SICK} falls ill process 1 is asked alone, until its circuit opens: the others`,
      `see no failure. ${SICK} is well again half-way through the isolation of ${bulkhead.isolationDuration} s.`,
      "",
    ]);
    const { upstream, limited, members, database } = await startProcesses(stage);
    await reports(members, signal);
    const recording = new FleetRecording(plan.fleet, NAMES);
    for (const [index, { child }] of members.entries()) {
      child.on("message", (report) => recording.see(NAMES[index], report));
    }
    const redraw = setInterval(() => screen.show(recording, view), 50);
    try {
      await direct({ upstream: upstream.child, members, recording, signal });
    } finally {
      clearInterval(redraw);
    }
    screen.finish(recording, view);
    screen.print(summarize(recording));
    screen.print([""]);
    await goMad(stage, { members, database: database.url });
    await killOne(stage, { members, upstream: limited.child });
    await children.end();
  },
};

async function startProcesses({ plan, children, signal }) {
  const { seed, upstreamLatency } = plan;
  const { bulkhead, quorum, limit } = plan.fleet;
  const startUpstream = (name, latency = upstreamLatency) =>
    children.start(name, UPSTREAM, { name, seed, latency }, signal);
  const [database, upstream, healthy, limited] = await Promise.all([
    // The same Ctrl-C must not end the server before the processes that use it.
    children.start("the database", POSTGRES_GUARD, {}, signal, { detached: true }),
    startUpstream(SICK),
    startUpstream(HEALTHY),
    startUpstream(LIMITED, limit.latency),
  ]);
  const common = {
    dependency: SICK,
    upstream: upstream.url,
    database: database.url,
    bulkhead,
    healthy: { name: HEALTHY, url: healthy.url, bulkhead: quorum.bulkhead },
    limited: { name: LIMITED, url: limited.url, bulkhead: limit.bulkhead },
  };
  const members = await Promise.all(
    NAMES.map((name) =>
      children.start(`process ${name}`, MEMBER, { process: name, ...common }, signal),
    ),
  );
  return { upstream, limited, members, database };
}

/** Resolves when each process has reported once more. */
function reports(members, signal) {
  return Promise.all(members.map(({ child }) => once(child, "message", { signal })));
}

/** What happens, one after the other. */
async function direct({ upstream, members, recording, signal }) {
  const { wellSeconds, recoveredSeconds, askEveryMs, bulkhead } = recording.plan;
  const pause = (seconds) => sleep(seconds * 1000, undefined, { signal });
  const all = (status) => recording.waitFor(status, signal);
  /** @returns what the upstream has seen so far */
  const enter = async (mode) => {
    upstream.send({ mode });
    const [report] = await once(upstream, "message", { signal });
    return report;
  };
  const show = async (mode) => {
    await enter(mode);
    recording.enterMode(mode);
  };
  const traffic = new Traffic(
    members.map(({ url }) => `${url}/${SICK}`),
    askEveryMs,
  );
  try {
    await show("healthy");
    traffic.start();
    await pause(wellSeconds);
    await traffic.stop();

    await show("fails");
    await traffic.insist(`${members[0].url}/${SICK}`, signal);
    await all("OPEN");
    traffic.start();
    await pause(bulkhead.isolationDuration / 2);

    await show("healthy");
    await all("CLOSED");
    await pause(recoveredSeconds);
  } finally {
    await traffic.stop();
  }
  // By now nothing is under way that could raise a figure.
  await reports(members, signal);
  const { arrivals } = await enter("healthy");
  recording.arrivals = arrivals;
}
