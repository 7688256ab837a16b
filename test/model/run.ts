import { type CheckResult, check, type Model } from "./checker.js";
import { CircuitModel, type CircuitModelOptions } from "./circuit-model.js";
import { withoutTime } from "./circuit-process.js";
import { FAULTS } from "./circuit-world.js";
import { realCode, realFleetCode } from "./code.js";
import { FleetModel, type FleetModelOptions } from "./fleet-model.js";
import { FleetScale } from "./fleet-scale.js";
import { FLEET_FAULTS } from "./fleet-world.js";
import { walkAll } from "./walk.js";

const USAGE = `Explores every state of a protocol, and prints the shortest way to each fault.

  npm run model -- circuit '{"processes": 2, "faults": {"openings": 1, "outages": 1}}'
  npm run model -- circuit '{"processes": 3, "openQuorum": 2, "hosts": ["A", "A", "B"], "sickHost": "A", "faults": {}}'

  processes          1 to 5 (default: 2)
  successThreshold   probes that close the circuit (default: 1)
  openQuorum         hosts that open the record (default: 1)
  hosts              the host of each process (default: one each)
  sickHost           a host whose calls fail, for good (default: none)
  recovers           whether an outage ends in the end (default: true)
  instantNotices     whether a notice arrives with its change: fewer orders, for more processes (default: false)
  instantRequests    whether a request is carried out when it is sent, unless it can be lost, or a notice led to it (default: false)
  instantAnswers     whether the answer arrives when the request is carried out (default: false)
  faults             how often each may happen in one run (default: never):
                     ${FAULTS.join(", ")}
  maxStates          gives up beyond that many states (default: 5000000)

  npm run model -- fleet '{"processes": 2, "limit": 2, "most": 2, "faults": {"crashes": 1}}'

  processes          2 to 5 (default: 2)
  limit, most        permits of the fleet, and of each process (default: 2)
  fallback           "share", "local" or "reject" (default: "share")
  recovers           whether an outage ends in the end (default: true)
  times              a clock for all, in ticks: {"renew": 1, "retry": 1, "lease": 4, "timeout": 0}; default: time is free
  patience           with a clock: for how many ticks calls may wait while none can start (default: any)
  instantAnswers, instantNotices
                     fewer orders, for more processes (default: false)
  batches            the functions of a process start together, and end together (default: false)
  faults             how often each may happen in one run (default: never):
                     ${FLEET_FAULTS.join(", ")}

Of both, instead of every order:
  walks, steps       makes so many random walks (with the seeds from 0) of so many steps
  recovery           good moves after each walk, at most, until a goal is reached (default: 0, which asks for none)

  npm run model -- scale '{"processes": 100, "limit": 400, "load": 0.9}'

  How many requests and notices so many processes make, in simulated time; see fleet-scale.ts.`;

interface Limits {
  readonly maxStates?: number;
  readonly onDepth: (depth: number, states: number) => void;
}

/** What can be explored: each protocol makes its model of the settings that are given. */
const PROTOCOLS: {
  readonly [name: string]: (settings: object, limits: Limits) => CheckResult;
} = {
  circuit: (settings, limits) => {
    const defaults = { processes: 2, successThreshold: 1, faults: {} };
    const options: CircuitModelOptions = { code: realCode, ...defaults, ...settings };
    return withoutTime(() => explore(new CircuitModel(options), settings, limits));
  },
  fleet: (settings, limits) => {
    const defaults = { processes: 2, limit: 2, most: 2, fallback: "share" as const };
    const options: FleetModelOptions = { code: realFleetCode, ...defaults, ...settings };
    return explore(new FleetModel(options), settings, limits);
  },
};

/** Every order, or random walks. */
function explore<State>(model: Model<State>, settings: object, limits: Limits): CheckResult {
  const { walks = 0, steps = 1000, recovery = 0 }: WalkSettings = settings;
  return walks > 0 ? walkAll(model, walks, { steps, recovery }) : check(model, limits);
}

interface WalkSettings {
  readonly walks?: number;
  readonly steps?: number;
  readonly recovery?: number;
}

async function run([protocol = "", json = "{}"]: readonly string[]): Promise<void> {
  if (protocol === "scale") {
    const settings = { processes: 10, limit: 40, load: 0.9, ...JSON.parse(json) };
    console.log(await new FleetScale(settings).run());
    return;
  }
  const exploreProtocol = PROTOCOLS[protocol];
  if (exploreProtocol === undefined) {
    console.log(USAGE);
    return;
  }
  const settings: object = JSON.parse(json);
  const started = performance.now();
  const onDepth = (depth: number, states: number) => {
    if (depth % 10 === 0) console.error(`${depth} steps: ${states} states`);
  };
  print(exploreProtocol(settings, { onDepth, ...settings }), performance.now() - started);
}

function print({ states, moves, depth, isComplete, counterexamples }: CheckResult, ms: number) {
  const size = `${states} states, ${moves} moves, ${depth} steps deep, ${(ms / 1000).toFixed(1)} s`;
  console.log(isComplete ? size : `${size}; CUT OFF: not every state was seen`);
  for (const { rule, steps, state } of counterexamples) {
    console.log(`BROKEN: ${rule}`);
    for (const [n, step] of steps.entries()) console.log(`  ${n + 1}. ${step}`);
    console.log(`  → ${state}`);
  }
  if (counterexamples.length > 0) process.exitCode = 1;
  else if (isComplete)
    console.log("No rule is broken, and good moves lead from every state to a goal.");
}

await run(process.argv.slice(2));
