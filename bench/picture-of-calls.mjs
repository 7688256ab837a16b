// A dot for the median of each subject, and a bar for its spread, against wiring it by hand.

import { dot, line, provenance, svg, text, WIDTH } from "./svg.mjs";
import { rounded } from "./tables.mjs";

const TOP = 110;
const ROW = 26;
const LABELS = 262;
const PANEL = 290;
const GAP = 52;

export function pictureOfCalls(results) {
  const { oneAfterAnother, bursts, burst, permits, calls, rounds } = results.calls;
  const { base, rows } = oneAfterAnother;
  const bottom = TOP + rows.length * ROW;
  const scale = scaleOf([...rows, ...bursts.rows]);
  const panels = [
    ["one after another", oneAfterAnother, LABELS],
    [`in bursts of ${burst}`, bursts, LABELS + PANEL + GAP],
  ];
  return svg({
    title: `What a protected call costs, as a multiple of ${base}`,
    description: panels.map(([title, panel]) => `${title}: ${inWords(panel)}`).join(" "),
    height: bottom + 66,
    parts: [
      text(
        20,
        54,
        "Less is better, and the scale is logarithmic. Dot: median; bar: 10th to 90th percentile",
        "small",
      ),
      text(
        20,
        70,
        "of the ratios round by round. What each guarantees differs: see the table.",
        "small",
      ),
      rows.map(({ name }, row) => text(20, middleOf(row) + 4, name, classOf(name))),
      panels.map(([title, { rows }, left]) => panel(title, rows, left, { scale, bottom })),
      text(20, bottom + 38, provenance(results), "small"),
      text(
        20,
        bottom + 54,
        `${permits} permits, ${rounds} rounds of ${calls} calls; ${versionsIn(results)}`,
        "small",
      ),
    ],
  });
}

function panel(title, rows, left, { scale, bottom }) {
  const x = (ratio) => left + scale.share(ratio) * PANEL;
  return [
    text(left + PANEL / 2, TOP - 18, title, "middle"),
    scale.ticks.map((tick) => [
      line(x(tick), TOP - 4, x(tick), bottom, tick === 1 ? "base" : "grid"),
      text(x(tick), bottom + 16, `${tick}×`, "small middle"),
    ]),
    rows.map(({ name, ratio }, row) => {
      const y = middleOf(row);
      return [
        line(x(ratio.low), y, x(ratio.high), y, `spread ${classOf(name)}`),
        dot(x(ratio.median), y, `dot ${classOf(name)}`),
        valueBeside(ratio, x, y, left),
      ];
    }),
  ].flat(3);
}

/** To the right of its bar, or to the left where there is no room. */
function valueBeside({ median, low, high }, x, y, left) {
  const value = rounded(median);
  const right = Math.max(x(high), x(median) + 5) + 6;
  if (right + 30 < Math.min(left + PANEL + GAP, WIDTH))
    return text(right, y + 4, value, "small value");
  return text(Math.min(x(low), x(median) - 5) - 6, y + 4, value, "small value end");
}

/** A scale by powers of ten, wide enough for every spread. */
function scaleOf(rows) {
  const from = Math.log10(Math.min(...rows.map(({ ratio }) => ratio.low)));
  const to = Math.log10(Math.max(...rows.map(({ ratio }) => ratio.high)));
  const ticks = [];
  for (let power = Math.ceil(from); power <= to; power++) ticks.push(Number(`1e${power}`));
  return { ticks, share: (ratio) => (Math.log10(ratio) - from) / (to - from) };
}

function inWords({ rows }) {
  return `${rows.map(({ name, ratio }) => `${name} ${rounded(ratio.median)}`).join(", ")}.`;
}

function versionsIn({ versions }) {
  return Object.entries(versions)
    .map((pair) => pair.join(" "))
    .join(", ");
}

function middleOf(row) {
  return TOP + (row + 0.5) * ROW;
}

function classOf(name) {
  return name.startsWith("bulkman") ? "own" : "";
}
