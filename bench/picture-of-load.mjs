// A bar for what each subject served of the possible, for each scenario.
import { bar, svg, text } from "./svg.mjs";

const TOP = 84;
const ROW = 19;
const GAP = 34;
const LABELS = 250;
const BAR = 560;

export function pictureOfLoad({ load }) {
  const { scenarios } = load;
  const group = scenarios[0].subjects.length * ROW + GAP;
  return svg({
    title: "What is served under load, of what can be served in time",
    description: scenarios
      .map(({ name, ...rest }) => `${name}: ${inWords({ name, ...rest })}`)
      .join(" "),
    height: TOP + scenarios.length * group + 20,
    parts: [
      text(
        20,
        54,
        `Simulated: ${load.permits} permits, calls of about ${load.callMs} ms, a limit of ${load.limitMs} ms, ${load.seconds} s.`,
        "small",
      ),
      scenarios.map((scenario, index) => scenarioOf(scenario, TOP + index * group)),
    ].flat(2),
  });
}

function scenarioOf({ name, servable, subjects }, top) {
  return [
    text(20, top + 6, name, "small"),
    ...subjects.map(({ name: subject, served, opened }, row) => {
      const share = Math.min(1, served / servable);
      const y = top + 16 + row * ROW;
      const own = subject.startsWith("bulkman") ? "own" : "";
      const note =
        opened === 0 ? "" : `; circuit opened ${opened === 1 ? "once" : `${opened} times`}`;
      return [
        text(LABELS - 8, y + 11, subject, `small end ${own}`),
        bar(LABELS, y, share * BAR, ROW - 5, own),
        text(LABELS + share * BAR + 6, y + 11, `${Math.round(share * 100)} %${note}`, "small"),
      ];
    }),
  ].flat();
}

function inWords({ servable, subjects }) {
  return `${subjects.map(({ name, served }) => `${name} ${Math.round((100 * served) / servable)} %`).join(", ")}.`;
}
