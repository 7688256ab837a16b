import { expect, it } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { busyPage } from "../metrics/busy-page.js";
import { readPage } from "../metrics/exposition.js";
import { inMemory } from "../metrics/reporters.js";
import { everyKindOfCall, SMALL } from "../metrics/traffic.js";
import { readPage as readDocument } from "./examples.js";
import { codeIn, tableBelow } from "./tables.js";

const rows = tableBelow(readDocument("docs/reference/metrics.md"), "## Series").map(
  ([prometheus = "", openTelemetry = "", type = "", by = ""]) => ({
    prometheus: codeIn(prometheus)[0],
    openTelemetry: codeIn(openTelemetry)[0],
    type,
    words: codeIn(by),
  }),
);

it("the reference has every metric of the page, with its type, label and words", async () => {
  const { families, samples } = readPage((await busyPage()).body);
  const found = Array.from(families, ([name, { type }]) => {
    const labels = samples
      .filter(({ family }) => family === name)
      .map(({ labels: { bulkhead: _, le: __, ...rest } }) => rest);
    const words = new Set(labels.flatMap(Object.keys));
    for (const word of labels.flatMap(Object.values)) words.add(word);
    return { name, type, words: [...words] };
  });
  expect(rows.map(({ prometheus: name, type, words }) => ({ name, type, words }))).toEqual(found);
});

it("the reference has every metric of OpenTelemetry beside the one for Prometheus", async () => {
  const reporter = inMemory();
  const bulkhead = new Bulkhead(SMALL);
  reporter.add(bulkhead);
  await everyKindOfCall(bulkhead, async () => {});
  const found = (await reporter.collect()).map(({ descriptor }) => descriptor.name);
  await reporter.stop();
  expect(rows.map(({ openTelemetry }) => openTelemetry).sort()).toEqual(found.sort());
  for (const { openTelemetry = "", prometheus } of rows) {
    expect(prometheus?.replace(/_(total|seconds)$/, "")).toBe(openTelemetry.replaceAll(".", "_"));
  }
});
