// Act: one of two dependencies falls ill. The same load runs into it twice.
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { applyLoad, makeArrivals } from "./load.mjs";
import * as view from "./picture.mjs";
import { HEALTHY, SICK } from "./plan.mjs";
import { Recording } from "./recording.mjs";
import { compare } from "./report.mjs";

/** @typedef {import("./main.mjs").Stage} Stage */

const UPSTREAM = new URL("./upstream.mjs", import.meta.url);
const SERVICE = new URL("./service.mjs", import.meta.url);

export const outage = {
  /** @param {Stage} stage */
  async play(stage) {
    const { plan, screen } = stage;
    screen.print([
      `A service calls two dependencies, ${SICK} and ${HEALTHY}. ${SICK} is well, hangs,`,
      `answers 500, is well again; ${HEALTHY} is well all the time. ${plan.arrivalsPerSecond} requests a second`,
      `arrive, half for each. The service works on ${plan.requestsAtOnce} at once, as behind a proxy with`,
      `that limit; the others wait in line. A call may take ${plan.timeoutSeconds} s, a client gives up`,
      `after ${plan.clientPatienceSeconds} s.`,
      "",
    ]);
    const bare = await run("bare", stage);
    const guarded = await run("bulkhead", stage);
    screen.print(compare(bare, guarded));
  },
};

/**
 * One run, with processes of its own, so that nothing is left from the one before.
 * @param {"bare" | "bulkhead"} style
 * @param {Stage} stage
 */
async function run(style, { plan, children, screen, signal }) {
  const startUpstream = (name, seed) =>
    children.start(name, UPSTREAM, { name, seed, latency: plan.upstreamLatency }, signal);
  const [sick, healthy] = await Promise.all([
    startUpstream(SICK, plan.seed + 1),
    startUpstream(HEALTHY, plan.seed + 2),
  ]);
  const upstreams = { [SICK]: sick.url, [HEALTHY]: healthy.url };
  const { timeoutSeconds, requestsAtOnce, bulkhead } = plan;
  const settings = { style, sick: SICK, upstreams, timeoutSeconds, requestsAtOnce, bulkhead };
  const service = await children.start("the service", SERVICE, settings, signal);

  const [firstSnapshot] = await once(service.child, "message", { signal });
  const recording = new Recording(style, plan, firstSnapshot);
  service.child.on("message", (snapshot) => recording.see(snapshot));
  const redraw = setInterval(() => screen.show(recording, view), 100);
  try {
    const arrivals = makeArrivals(plan, [SICK, HEALTHY]);
    const patienceMs = plan.clientPatienceSeconds * 1000;
    await Promise.all([
      applyLoad(arrivals, { url: service.url, patienceMs, signal }, recording),
      direct(sick.child, recording, signal),
    ]);
    // The service's last report: by now nothing is under way that could raise a figure.
    await once(service.child, "message", { signal });
  } finally {
    clearInterval(redraw);
  }
  screen.finish(recording, view);
  await children.end();
  return checked(recording);
}

/** Makes the sick upstream ill and well again, at the planned times. */
async function direct(sick, recording, signal) {
  const enter = async (mode) => {
    sick.send({ mode });
    const [{ received }] = await once(sick, "message", { signal });
    recording.received = received;
  };
  for (const { mode, from } of recording.plan.phases) {
    const wait = recording.startedAt + from * 1000 - performance.now();
    if (wait > 0) await sleep(wait, undefined, { signal });
    await enter(mode);
    recording.enterPhase();
  }
}

/** Figures of a run in which not even the healthy phase worked would say nothing about bulkheads. */
function checked(recording) {
  const illAt = recording.phaseBegan[1];
  const early = recording.answers.filter(({ endedAt }) => endedAt < illAt);
  const good = early.filter(({ outcome }) => outcome === "succeeded");
  if (good.length > early.length * 0.9) return recording;
  throw new Error(
    `only ${good.length} of ${early.length} requests succeeded before ${SICK} fell ill (${recording.style})`,
  );
}
