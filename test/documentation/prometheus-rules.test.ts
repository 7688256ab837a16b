import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { busyPage } from "../metrics/busy-page.js";
import { readPage } from "../metrics/exposition.js";
import { checkRules, itWithPromtool, testRules } from "../metrics/promtool.js";
import { ROOT, readPage as readDocument } from "./examples.js";
import { codeIn, tableBelow } from "./tables.js";

const RULES = join(ROOT, "docs/prometheus-rules.yml");
const RULES_TEST = join(ROOT, "test/metrics/prometheus-rules.yml");

/** The rules by name, as far as they are read here: the rest is promtool's. */
const rules = new Map(
  readFileSync(RULES, "utf8")
    .split(/^ {6}- alert: /m)
    .slice(1)
    .map((text) => {
      const [, name = ""] = /^(\w+)\n/.exec(text) ?? [];
      const [, severity = ""] = /severity: (\w+)/.exec(text) ?? [];
      const [, expression = ""] = /\n {8}expr: (.*?)\n {8}\w/s.exec(text) ?? [];
      return [name, { severity, expression }] as const;
    }),
);
const page = readPage((await busyPage()).body);

describe("the alert rules for Prometheus", () => {
  it("are those of the documentation, each with its severity", () => {
    const document = readDocument("docs/operations/alerts.md");
    const documented = [
      ["## Page", "page"],
      ["## Board or ticket", "ticket"],
    ].flatMap(([title = "", severity = ""]) =>
      tableBelow(document, title).map(([alert = ""]) => [codeIn(alert)[0], severity]),
    );
    expect(Array.from(rules, ([name, { severity }]) => [name, severity])).toEqual(documented);
  });

  it.for([...rules])("has metrics, labels and values that are on the page: %s", ([, rule]) => {
    const used = [...rule.expression.matchAll(/\b(bulkman_\w+)(?:\{(\w+)(?:!?=~?)"([^"]*)"\})?/g)];
    expect(used.length).toBeGreaterThan(0);
    for (const [, family = "", label, values = ""] of used) {
      const samples = page.samples.filter((sample) => sample.family === family);
      expect(samples.length, family).toBeGreaterThan(0);
      if (label === undefined) continue;
      const known = samples.map(({ labels }) => labels[label]);
      for (const value of values.split("|")) expect(known).toContain(value);
    }
  });

  it.for([...rules.keys()])(
    "have a test in which %s fires, and one in which it does not",
    (name) => {
      const text = readFileSync(RULES_TEST, "utf8");
      expect(text).toContain(`alertname: ${name}\n        exp_alerts:\n`);
      expect(text).toContain(`alertname: ${name} }\n`);
    },
  );

  itWithPromtool("pass promtool check rules", () => {
    expect(checkRules(RULES)).toBe("");
  });

  itWithPromtool("pass promtool test rules", () => {
    expect(testRules(RULES_TEST)).toBe("");
  });
});
