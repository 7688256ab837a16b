// Every figure that the demo is set up with. What it reports is measured, never taken from here.

/** The dependency that falls ill. */
export const SICK = "payments";
/** The dependency that is well all the time. */
export const HEALTHY = "search";
/** The dependency that the whole fleet may call only so many times at once. */
export const LIMITED = "partner";

/** @typedef {"healthy" | "hangs" | "fails"} Mode how an upstream behaves */

/**
 * What both runs have in common. The time limits are a tenth or less of what services usually have,
 * so that an outage fits in seconds; the rest is the ordinary load of a small service.
 */
const COMMON = {
  /** The same arrivals and the same upstream latencies in both runs, and in every demo. */
  seed: 2026,
  /** Requests per second, half of them for each dependency. About 2.4 are in flight when all is well. */
  arrivalsPerSecond: 120,
  /** A client gives up after this long: twice the service's own limit, so it gives the service a chance. */
  clientPatienceSeconds: 2,
  /** An upstream that is well, or fails, answers after so many milliseconds. */
  upstreamLatency: { least: 10, most: 30 },
  /** How many requests the service works on at once; see service.mjs. */
  requestsAtOnce: 32,
  /** What a call to a dependency may take: bare as the signal of `fetch`, else as `timeoutSeconds`. */
  timeoutSeconds: 1,
  /** The rest of each bulkhead's configuration. */
  bulkhead: {
    maxConcurrentCalls: 8,
    maxQueueSize: 8,
    failureThreshold: 5,
    successThreshold: 3,
    isolationDuration: 0.5,
  },
};

/**
 * What happens to the sick upstream, and when.
 * @param {boolean} quick shorter, for a test; still long enough to hang beyond the time limits
 */
export function makePlan(quick) {
  const [well, hanging, failing, recovered] = quick ? [0.8, 2, 0.8, 1.4] : [1.6, 3.2, 1.4, 1.8];
  const phases = phasesOf([
    ["healthy", well],
    ["hangs", hanging],
    ["fails", failing],
    ["healthy", recovered],
  ]);
  const seconds = well + hanging + failing + recovered;
  return { ...COMMON, phases, seconds, fleet: makeFleetPlan(quick) };
}

/** How the second act goes on, which takes its time from what happens in it. */
function makeFleetPlan(quick) {
  const [wellSeconds, isolationDuration, recoveredSeconds] = quick
    ? [0.3, 0.4, 0.3]
    : [0.8, 1.2, 0.8];
  const { failureThreshold, successThreshold } = COMMON.bulkhead;
  return {
    askEveryMs: 25,
    bulkhead: { failureThreshold, successThreshold, isolationDuration },
    wellSeconds,
    recoveredSeconds,
    quorum: {
      seconds: quick ? 0.4 : 0.9,
      // Longer than the demo: the circuit of the process that goes mad stays open.
      bulkhead: { failureThreshold, openQuorum: 2, isolationDuration: 30 },
    },
    limit: {
      /** Before the kill, and after it. */
      seconds: quick ? 0.5 : 0.6,
      /** With the interval of the requests, twice as many calls at once as the limit allows. */
      latency: { least: 80, most: 120 },
      bulkhead: { fleetMaxConcurrentCalls: 6, maxQueueSize: 8, timeoutSeconds: 2 },
    },
    /** About as long as the first part of it takes: the picture's width. */
    seconds: wellSeconds + isolationDuration + recoveredSeconds + 0.3,
  };
}

/** @param {[Mode, number][]} lengths */
function phasesOf(lengths) {
  let from = 0;
  return lengths.map(([mode, seconds]) => {
    const phase = { mode, from, to: from + seconds };
    from = phase.to;
    return phase;
  });
}
