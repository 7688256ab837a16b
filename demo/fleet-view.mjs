// How the fleet looks while it is at work: as a picture of some lines, or in one line.
import {
  bars,
  COLUMNS,
  circuit,
  circuitWords,
  heading,
  line,
  logRow,
  MODES,
  stretch,
} from "./drawing.mjs";
import { SICK } from "./plan.mjs";

/** @typedef {import("./fleet-recording.mjs").FleetRecording} FleetRecording */

/** How often a log gets a line: some times while the circuit is open. */
export const logEverySeconds = 0.2;

/**
 * All rows share one axis of time, and those of the same kind a scale.
 * @param {FleetRecording} fleet
 * @param {import("./drawing.mjs").Paint} paint
 * @returns {string[]}
 */
export function picture(fleet, paint) {
  const { members, plan, column } = fleet;
  const mostPerColumn = ((plan.seconds / COLUMNS) * 1000) / plan.askEveryMs;
  return [
    heading("three processes, one circuit in Postgres", fleet, paint),
    line(`${SICK} is`, modes(fleet, paint), MODES[fleet.modes.at(-1)?.mode]?.label ?? ""),
    ...members.flatMap(({ name, stats, sent, columns }) => {
      const past = columns.slice(0, column + 1);
      return [
        line(`process ${name}`, circuit(past, paint), circuitWords(stats?.circuitStatus)),
        line("  calls sent", bars(past, "sent", mostPerColumn * 1.5, "cyan", paint), sent),
      ];
    }),
    "",
  ];
}

/** @param {FleetRecording} fleet */
export const logHeader = (fleet) => [
  "three processes, one circuit in Postgres",
  logRow("time", SICK, ...fleet.members.map(({ name }) => `process ${name}`), "sent", "refused"),
];

/** @param {FleetRecording} fleet */
export function logLine({ elapsed, modes, members }) {
  const sum = (measure) => members.reduce((total, member) => total + measure(member), 0);
  return logRow(
    `${elapsed.toFixed(1)} s`,
    MODES[modes.at(-1)?.mode]?.label ?? "",
    ...members.map(({ stats }) => circuitWords(stats?.circuitStatus)),
    sum(({ sent }) => sent),
    sum(({ stats }) => stats?.rejections.circuitOpen ?? 0),
  );
}

/** What the upstream was, as far as it has come. */
function modes({ modes: all, column }, paint) {
  const stretches = all.map(({ mode, column: from }, index) => {
    const to = all[index + 1]?.column ?? column + 1;
    return stretch(mode, to - from, paint);
  });
  return stretches.join("") + " ".repeat(COLUMNS - column - 1);
}
