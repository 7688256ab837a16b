// What the library promises itself, and whether this run saw it: each target is an upper limit.
import { BY_HAND, COCKATIEL, COCKATIEL_TIMEOUT } from "./subjects.mjs";

export function judge({ calls, waiting, eventLoop, idle, postgres, fleet, guard, load, memory }) {
  const { oneAfterAnother, bursts, open, full } = calls;
  const to = (comparison, base) => comparison.bulkmanTo[base].median;
  const one = "one after another";
  const burst = `bursts of ${calls.burst}`;
  const opossum = "opossum's";
  const cockatiel = "cockatiel's";
  return [
    target(`a call, ${one}, of ${BY_HAND}`, "×", to(oneAfterAnother, BY_HAND), 0.45),
    target(`a call, ${burst}, of ${BY_HAND}`, "×", to(bursts, BY_HAND), 0.65),
    target(
      `a call without a timeout, ${one}, of ${COCKATIEL}`,
      "×",
      to(oneAfterAnother, COCKATIEL),
      1.5,
    ),
    target(`a call without a timeout, ${burst}, of ${COCKATIEL}`, "×", to(bursts, COCKATIEL), 1),
    target(
      `a call, ${one}, of ${COCKATIEL_TIMEOUT}`,
      "×",
      to(oneAfterAnother, COCKATIEL_TIMEOUT),
      0.06,
    ),
    target(`a call, ${burst}, of ${COCKATIEL_TIMEOUT}`, "×", to(bursts, COCKATIEL_TIMEOUT), 0.06),
    target(`a rejection by an open circuit, of ${opossum}`, "×", to(open, "opossum"), 0.7),
    target(`a rejection by an open circuit, of ${cockatiel}`, "×", to(open, "cockatiel"), 1),
    target(
      `a rejection when full, of ${opossum} capacity`,
      "×",
      to(full, "opossum's capacity"),
      0.7,
    ),
    target(
      `a rejection when full, of ${cockatiel} bulkhead`,
      "×",
      to(full, "cockatiel's bulkhead"),
      1,
    ),
    target("a waiting call", " bytes", waiting.bytes["bulkman, with a timeout"], 1000),
    target(
      `wait and time out among ${waiting.many}, of among ${waiting.few}`,
      "×",
      waiting.timeout.ratio.median,
      1.5,
    ),
    target(
      `wait and be aborted among ${waiting.many}, of among ${waiting.few}`,
      "×",
      waiting.abort.ratio.median,
      1.5,
    ),
    target(
      `event-loop delay while ${eventLoop.count} time out, p99`,
      " ms",
      eventLoop.dueAtOnce.p99.median,
      5,
    ),
    target("an idle bulkhead", " KiB", idle.kibibytes, 10),
    target("an idle bulkhead's making", " µs", idle.microseconds.median, 30),
    target(`timers of ${idle.count} idle bulkheads`, "", idle.timers, 0),
    target(
      "openings of the circuit of a well dependency under overload",
      "",
      overload(load).reduce((sum, { opened }) => sum + opened, 0),
      0,
    ),
    target(
      "functions started in vain under overload, of those that were served",
      "×",
      Math.max(...overload(load).map(({ inVain, served }) => inVain / served)),
      0.05,
    ),
    target("heap at the end, of the beginning", "×", growth(memory.bulkman.mebibytes), 1.05),
    target("a call with its circuit in Postgres, of in memory", "×", postgres.ratio.median, 1.05),
    target(
      `queries in ${postgres.calls * postgres.rounds} such calls`,
      "",
      postgres.queriesInCalls,
      0,
    ),
    target(
      `a call under a lease, ${one}, of without`,
      "×",
      fleet.oneAfterAnother.ratio.median,
      1.1,
    ),
    target(`a call under a lease, ${burst}, of without`, "×", fleet.bursts.ratio.median, 1.1),
    target(
      `requests for permits in ${fleet.callsInALease} such calls`,
      "",
      fleet.requests.inCalls,
      0,
    ),
    ...guard.clients.request.flatMap(({ atOnce, ratio, ratioToRetry }) => {
      const title = `a request through a guard, ${atOnce} at once, of`;
      return [
        target(`${title} a bare Agent`, "×", ratio.median, 1.05),
        target(`${title} undici's retry interceptor`, "×", ratioToRetry.median, 1.05),
      ];
    }),
  ];
}

/** What became of our calls where the dependency is well and the load is too much. */
function overload({ scenarios }) {
  return scenarios.slice(0, 3).map(({ subjects }) => subjects[0]);
}

function target(title, unit, seen, limit) {
  return { title, unit, seen, limit, met: seen <= limit };
}

/** The heap of the last sixth of the time, of the second sixth's: in the first, all is made and compiled. */
function growth(curve) {
  const part = Math.max(1, Math.floor(curve.length / 6));
  const ratio = median(curve.slice(-part)) / median(curve.slice(part, 2 * part));
  return Number(ratio.toPrecision(4));
}

function median(samples) {
  return samples.toSorted((a, b) => a - b)[samples.length >> 1];
}
