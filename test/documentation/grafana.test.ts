import { describe, expect, it } from "vitest";
import dashboard from "../../docs/grafana.json" with { type: "json" };
import { busyPage } from "../metrics/busy-page.js";
import { readPage } from "../metrics/exposition.js";
import { checkExpressions, itWithPromtool } from "../metrics/promtool.js";

interface Query {
  readonly title: string;
  readonly expression: string;
  readonly legend: string;
}

const panelQueries: readonly Query[] = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr, legendFormat }) => ({ title, expression: expr, legend: legendFormat })),
);
const annotations: readonly Query[] = dashboard.annotations.list.map(
  ({ name, expr, titleFormat, textFormat }) => ({
    title: name,
    expression: expr,
    legend: `${titleFormat} ${textFormat}`,
  }),
);
const queries = [...panelQueries, ...annotations];
/** Everything in the file that is PromQL. */
const expressions = [
  ...queries.map(({ expression }) => expression),
  ...dashboard.templating.list.flatMap(({ definition }) => definition ?? []),
];

const METRIC = /\b(bulkman_\w+?)(_bucket|_sum|_count)?\b(?:\{([^}]*)\})?/g;
const MATCHER = /(\w+)(=~|!~|!=|=)"([^"]*)"/g;

/** What Prometheus adds to every metric that it scrapes. */
const TARGET_LABELS = ["job", "instance"];

const page = readPage((await busyPage()).body);
const labelsOf = (family: string) =>
  new Set(page.samples.flatMap((each) => (each.family === family ? Object.keys(each.labels) : [])));
const valuesOf = (family: string, label: string) =>
  new Set(page.samples.flatMap((each) => (each.family === family ? each.labels[label] : [])));

describe("the Grafana dashboard", () => {
  it("shows every metric of the page and none that is not there", () => {
    const used = expressions.flatMap((text) =>
      Array.from(text.matchAll(METRIC), ([, family = ""]) => family),
    );
    expect([...new Set(used)].sort()).toEqual([...page.families.keys()].sort());
  });

  it.for(expressions)(
    "selects by labels and values that are on the page: %s",
    (text, { expect }) => {
      for (const [, family = "", part, matchers = ""] of text.matchAll(METRIC)) {
        const isHistogram = page.families.get(family)?.type === "histogram";
        expect(isHistogram).toBe(part !== undefined);
        for (const [, label = "", operator = "", value] of matchers.matchAll(MATCHER)) {
          if (TARGET_LABELS.includes(label)) continue;
          expect(labelsOf(family)).toContain(label);
          if (operator === "=" || operator === "!=") {
            expect(valuesOf(family, label)).toContain(value);
          }
        }
      }
    },
  );

  it.for(queries)("shows the selected services and processes alone: $title", ({ expression }) => {
    const selectors = Array.from(expression.matchAll(METRIC), ([, , , matchers = ""]) => matchers);
    expect(selectors.length).toBeGreaterThan(0);
    const wanted = 'job=~"$job",instance=~"$instance",bulkhead=~"$bulkhead"';
    for (const matchers of selectors) expect(matchers).toContain(wanted);
  });

  it("has variables for service, process and bulkhead, each of what the ones before have selected", () => {
    const definitions = dashboard.templating.list.flatMap(({ name, definition }) =>
      definition === undefined ? [] : [[name, definition]],
    );
    expect(definitions).toEqual([
      ["job", "label_values(bulkman_bulkhead_state, job)"],
      ["instance", 'label_values(bulkman_bulkhead_state{job=~"$job"}, instance)'],
      [
        "bulkhead",
        'label_values(bulkman_bulkhead_state{job=~"$job",instance=~"$instance"}, bulkhead)',
      ],
    ]);
  });

  it.for(panelQueries)(
    "groups $title by labels that all its metrics have, and names them",
    (query) => {
      const { expression, legend } = query;
      const families = Array.from(expression.matchAll(METRIC), ([, family = ""]) => family);
      const groups = Array.from(expression.matchAll(/\bby \(([\w, ]+)\)/g), ([, list = ""]) =>
        list.split(", "),
      );
      for (const label of groups.flat()) {
        for (const family of families) expect(labelsOf(family)).toContain(label);
      }
      for (const [, label] of legend.matchAll(/\{\{(\w+)\}\}/g)) {
        for (const group of groups) expect(group).toContain(label);
      }
    },
  );

  it("shows the figures of each service below a row of its own", () => {
    const isRow = dashboard.panels.map(({ type }) => type === "row");
    const at = isRow.indexOf(true);
    expect(isRow.filter(Boolean)).toEqual([true]);
    expect(dashboard.panels[at]).toMatchObject({ title: "$job", repeat: "job", collapsed: false });
    const bottom = (dashboard.panels[at]?.gridPos.y ?? 0) + 1;
    const kinds = dashboard.panels.map(({ type, gridPos }) => [
      type === "stat",
      gridPos.y < bottom,
    ]);
    expect(kinds.toSpliced(at, 1).every(([isStat, isAbove]) => isStat === isAbove)).toBe(true);
  });

  it("marks each opening of a circuit when it opened, with the names of bulkhead, service and process", () => {
    expect(dashboard.annotations.list).toMatchObject([{ enable: true, useValueForTime: true }]);
    const [{ expression, legend } = { expression: "", legend: "" }] = annotations;
    // Grafana takes the value for milliseconds of the epoch. A circuit that never opened has 0.
    expect(expression).toMatch(
      /^1000 \* bulkman_bulkhead_circuit_opened_timestamp_seconds\{.*\} > 0$/,
    );
    const labels = Array.from(legend.matchAll(/\{\{(\w+)\}\}/g), ([, label]) => label);
    expect(labels).toEqual(["bulkhead", "job", "instance"]);
  });

  itWithPromtool("has queries that Prometheus understands", () => {
    const complete = queries.map(({ expression }) =>
      expression.replaceAll("$__rate_interval", "1m"),
    );
    expect(checkExpressions(complete)).toBe("");
  });

  it("asks for its data source, refers to no other, and gives every panel a place of its own", () => {
    const sources = JSON.stringify(dashboard).match(/"uid":"[^"]*"/g) ?? [];
    expect([...new Set(sources)].sort()).toEqual([`"uid":"$\{datasource}"`, '"uid":"bulkman"']);
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });
});
