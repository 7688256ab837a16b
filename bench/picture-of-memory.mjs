// The heap over time: bulkman's curve and that of opossum with its default options.
import { curve, line, provenance, svg, text, WIDTH } from "./svg.mjs";

const TOP = 92;
const LEFT = 64;
const RIGHT = WIDTH - 210;
const BOTTOM = 332;
const SERIES = [
  ["bulkman", "bulkman", "own"],
  ["opossum", "opossum, its defaults", "other"],
];

export function pictureOfMemory(results) {
  const { memory } = results;
  const { secondsPerSample, mebibytes } = memory.bulkman;
  const seconds = mebibytes.length * secondsPerSample;
  const most = Math.max(...SERIES.flatMap(([name]) => memory[name].mebibytes));
  const step = stepFor(most);
  const top = Math.ceil(most / step) * step;
  const x = (second) => LEFT + (second / seconds) * (RIGHT - LEFT);
  const y = (size) => BOTTOM - (size / top) * (BOTTOM - TOP);
  const ends = apart(SERIES.map(([name]) => [name, y(memory[name].mebibytes.at(-1))]));
  return svg({
    title: "The heap over time, at full speed",
    description: SERIES.map(([name, label]) => `${label}: ${inWords(memory[name])}`).join(" "),
    height: BOTTOM + 82,
    parts: [
      text(
        20,
        54,
        "MiB in use after a forced collection; calls one after another, each library in a process of its own.",
        "small",
      ),
      text(
        20,
        70,
        "Both with a timeout of 10 s. opossum's defaults keep every latency of its window of 10 s for its percentiles.",
        "small",
      ),
      upTo(top, step).map((size) => [
        line(LEFT, y(size), RIGHT, y(size), "grid"),
        text(LEFT - 8, y(size) + 4, size, "small end"),
      ]),
      upTo(seconds, seconds / 6).map((second) =>
        text(x(second), BOTTOM + 18, `${Number(second.toFixed(2))} s`, "small middle"),
      ),
      SERIES.map(([name, label, kind]) => {
        const points = memory[name].mebibytes.map((size, index) => [
          x((index + 1) * secondsPerSample),
          y(size),
        ]);
        return [
          curve(points, `curve ${kind}`),
          text(RIGHT + 10, ends[name] - 2, label, kind),
          text(RIGHT + 10, ends[name] + 13, callsIn(memory[name]), "small"),
        ];
      }),
      text(20, BOTTOM + 52, provenance(results), "small"),
      text(
        20,
        BOTTOM + 68,
        `bulkman ${results.versions.bulkman}, opossum ${results.versions.opossum}`,
        "small",
      ),
    ].flat(3),
  });
}

/** Labels that would lie upon each other are moved down. */
function apart(ends) {
  const placed = {};
  let free = 0;
  for (const [name, y] of ends.toSorted(([, a], [, b]) => a - b)) {
    placed[name] = Math.max(y, free);
    free = placed[name] + 36;
  }
  return placed;
}

function callsIn({ calls }) {
  return `${(calls / 1e6).toFixed(1)} million calls`;
}

function inWords({ mebibytes }) {
  return `${mebibytes[0]} MiB at first, ${mebibytes.at(-1)} at the end, ${Math.max(...mebibytes)} at most.`;
}

function stepFor(most) {
  return [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => most / step <= 6) ?? 1000;
}

function upTo(end, step) {
  return Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step);
}
