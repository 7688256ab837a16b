import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Whether Prometheus's own tool is installed, as by Debian's package `prometheus`. */
export const hasPromtool = spawnSync("promtool", ["--version"]).error === undefined;

/** What `promtool check metrics` complains of. */
export function checkMetrics(page: string): string {
  return complaints(["check", "metrics"], page);
}

/** What `promtool check rules` complains of when each expression is a rule. */
export function checkExpressions(expressions: readonly string[]): string {
  const rules = expressions.map((expr, i) => ({ record: `expression_${i}`, expr }));
  const directory = mkdtempSync(join(tmpdir(), "bulkman-promtool-"));
  try {
    const file = join(directory, "rules.yml");
    // JSON is YAML too.
    writeFileSync(file, JSON.stringify({ groups: [{ name: "expressions", rules }] }));
    return complaints(["check", "rules", file]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function complaints(args: readonly string[], input = ""): string {
  const { status, stdout, stderr } = spawnSync("promtool", args, { input, encoding: "utf8" });
  return status === 0 ? stderr : `${stdout}${stderr}status ${status}`;
}
