import { SICK } from "./plan.mjs";
import { duration, makeTable } from "./table.mjs";

/** @typedef {import("./fleet-recording.mjs").FleetRecording} FleetRecording */

const { row, rule } = makeTable([46, 10, 10, 10]);

/**
 * The table at the end: what was measured in each process.
 * @param {FleetRecording} fleet
 * @returns {string[]}
 */
export function summarize(fleet) {
  const { members, plan, probes } = fleet;
  const opening = fleet.change("OPEN");
  const closing = fleet.change("CLOSED");
  const ledgers = (measure) => members.map(({ stats }) => measure(stats));
  return [
    row("Measured in these three processes", ...members.map(({ name }) => `process ${name}`)),
    rule,
    row(`  calls to ${SICK}: succeeded`, ...ledgers((stats) => stats.successfulExecutions)),
    row(`  calls to ${SICK}: failed`, ...ledgers((stats) => stats.failedExecutions)),
    row("  calls: refused at once", ...ledgers((stats) => stats.rejections.circuitOpen)),
    `After the last failure, in process ${opening.decider}, settled`,
    row("  until a call is refused", ...opening.refusals.map(duration)),
    row("  calls sent until the circuit closes: probes", ...probes),
    `After the last probe, of process ${closing.decider}, settled`,
    row("  until a call is let through", ...closing.admissions.map(duration)),
    rule,
    `${plan.bulkhead.failureThreshold} consecutive failures open the circuit, ${plan.bulkhead.successThreshold} probes that succeed close it.`,
    "Times are by the monotonic clock that all processes of a machine share. Each",
    `process makes a call the moment it hears of a change. ${SICK} itself counted`,
    "the probes.",
  ];
}
