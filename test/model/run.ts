import { type CheckResult, check } from "./checker.js";
import { CircuitModel, type CircuitModelOptions } from "./circuit-model.js";
import { withoutTime } from "./circuit-process.js";
import { FAULTS } from "./circuit-world.js";
import { realCode } from "./code.js";

const USAGE = `Explores every state of a protocol, and prints the shortest way to each fault.

  npm run model -- circuit '{"processes": 2, "faults": {"openings": 1, "outages": 1}}'
  npm run model -- circuit '{"processes": 3, "openQuorum": 2, "hosts": ["A", "A", "B"], "sickHost": "A", "faults": {}}'

  processes          1 to 4 (default: 2)
  successThreshold   probes that close the circuit (default: 1)
  openQuorum         hosts that open the record (default: 1)
  hosts              the host of each process (default: one each)
  sickHost           a host whose calls fail, for good (default: none)
  recovers           whether an outage ends in the end (default: true)
  instantNotices     whether a notice arrives with its change: fewer orders, for more processes (default: false)
  faults             how often each may happen in one run (default: never):
                     ${FAULTS.join(", ")}
  maxStates          gives up beyond that many states (default: 5000000)`;

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
    return withoutTime(() => check(new CircuitModel(options), limits));
  },
};

function run([protocol = "", json = "{}"]: readonly string[]): void {
  const explore = PROTOCOLS[protocol];
  if (explore === undefined) {
    console.log(USAGE);
    return;
  }
  const settings: object = JSON.parse(json);
  const started = performance.now();
  const onDepth = (depth: number, states: number) => {
    if (depth % 10 === 0) console.error(`${depth} steps: ${states} states`);
  };
  print(explore(settings, { onDepth, ...settings }), performance.now() - started);
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

run(process.argv.slice(2));
