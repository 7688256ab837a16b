// npm run demo: what a bulkhead is for, on real traffic between processes on this machine.
import { parseArgs } from "node:util";
import { Children } from "./children.mjs";
import { fleet } from "./fleet.mjs";
import { outage } from "./outage.mjs";
import { makePlan } from "./plan.mjs";
import { openScreen } from "./screen.mjs";

/**
 * What every act is played with.
 * @typedef {object} Stage
 * @property {ReturnType<typeof makePlan>} plan
 * @property {ReturnType<typeof openScreen>} screen
 * @property {Children} children
 * @property {AbortSignal} signal aborted when the demo is to end early
 */

const ACTS = { outage, fleet };

const OPTIONS = {
  /** Shorter, for a test. */
  quick: { type: "boolean", default: false },
  /** Only this act; can be repeated. */
  act: { type: "string", multiple: true },
};

/** Far beyond the end by plan: only something broken takes that long. */
const TOO_LONG_MS = 45_000;

/** The status that a shell gives to a process which a signal ended: 128 and the signal's number. */
const STATUS_OF = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

class Interrupted extends Error {
  constructor(signalName) {
    super(`interrupted by ${signalName}`);
    this.status = STATUS_OF[signalName];
  }
}

const ending = new AbortController();
const { signal } = ending;
for (const name of Object.keys(STATUS_OF)) {
  process.on(name, () => ending.abort(new Interrupted(name)));
}
// A reader that goes away, as `head` does.
process.stdout.on("error", (error) => ending.abort(error));
const watchdog = setTimeout(() => {
  ending.abort(new Error(`it was not over after ${TOO_LONG_MS / 1000} s`));
}, TOO_LONG_MS);
const children = new Children((error) => ending.abort(error));
const screen = openScreen(process.stdout);
try {
  const { quick, act = Object.keys(ACTS) } = parseArgs({ options: OPTIONS }).values;
  for (const [index, name] of act.entries()) {
    if (index > 0) screen.print([""]);
    if (!Object.hasOwn(ACTS, name)) throw new Error(`there is no act "${name}"`);
    await ACTS[name].play({ plan: makePlan(quick), screen, children, signal });
  }
} catch (thrown) {
  const error = signal.aborted ? signal.reason : thrown;
  process.exitCode = error.status ?? 1;
  console.error(`The demo broke off: ${error.message}`);
} finally {
  clearTimeout(watchdog);
  screen.close();
  await children.end();
}
