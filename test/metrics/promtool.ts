import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "vitest";

/** Whether Prometheus's own tool is installed, as by Debian's package `prometheus`. */
const hasPromtool = spawnSync("promtool", ["--version"]).error === undefined;

/** A test that needs promtool: its title says so where it is skipped because there is none. */
export function itWithPromtool(title: string, test: () => void | Promise<void>): void {
  if (hasPromtool) it(title, test);
  else
    it.skip(`${title} (skipped: promtool, of Debian's package prometheus, is not installed)`, test);
}

/** What `promtool check metrics` complains of. */
export function checkMetrics(page: string): string {
  return complaints(["check", "metrics"], page);
}

/** What `promtool check rules` complains of in a file. */
export function checkRules(path: string): string {
  return complaints(["check", "rules", path]);
}

/** What `promtool test rules` complains of in a file of tests. */
export function testRules(path: string): string {
  return complaints(["test", "rules", path]);
}

/** What `promtool check rules` complains of when each expression is a rule. */
export function checkExpressions(expressions: readonly string[]): string {
  const rules = expressions.map((expr, i) => ({ record: `expression_${i}`, expr }));
  const directory = mkdtempSync(join(tmpdir(), "bulkman-promtool-"));
  try {
    const file = join(directory, "rules.yml");
    // JSON is YAML too.
    writeFileSync(file, JSON.stringify({ groups: [{ name: "expressions", rules }] }));
    return checkRules(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function complaints(args: readonly string[], input = ""): string {
  const { status, stdout, stderr } = spawnSync("promtool", args, { input, encoding: "utf8" });
  return status === 0 ? stderr : `${stdout}${stderr}status ${status}`;
}
