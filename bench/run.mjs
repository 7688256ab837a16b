// `npm run bench` measures everything, prints it, and writes results.json, the pictures and the
// table. `-- --quick` measures next to nothing in a few seconds, and writes nothing but to `--out=<directory>`.
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, type } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { draw } from "./draw.mjs";
import { QUICK, resultOf } from "./part.mjs";
import { print } from "./report.mjs";
import { OPOSSUM, PEERS } from "./subjects.mjs";
import { judge } from "./targets.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

function versionOf(name) {
  const installed = name === "opossum" ? OPOSSUM : name;
  const inPackage = `node_modules/${installed}/`;
  const file = fileURLToPath(import.meta.resolve(installed)).replaceAll("\\", "/");
  const start = file.lastIndexOf(inPackage);
  const directory = start === -1 ? dirname(dirname(file)) : file.slice(0, start + inPackage.length);
  return JSON.parse(readFileSync(join(directory, "package.json"), "utf8")).version;
}

/** One part after the other: beside another one, each would be slower. */
async function measure() {
  const parts = {
    calls: () => resultOf("calls"),
    waiting: () => resultOf("waiting"),
    eventLoop: () => resultOf("event-loop"),
    idle: () => resultOf("idle"),
    postgres: () => resultOf("postgres"),
    fleet: () => resultOf("fleet"),
    guard: () => resultOf("guard"),
    load: () => resultOf("load"),
    memory: async () => ({
      bulkman: await resultOf("memory", "bulkman"),
      opossum: await resultOf("memory", "opossum"),
    }),
  };
  const results = {};
  for (const [name, result] of Object.entries(parts)) {
    console.error(`measuring: ${name}`);
    results[name] = await result();
  }
  return results;
}

const processors = cpus();
const measured = await measure();
const results = {
  date: new Date().toISOString().slice(0, 10),
  machine: {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    os: `${type()} ${release().split("-")[0]}`,
  },
  node: process.versions.node,
  versions: Object.fromEntries(["bulkman", ...PEERS].map((name) => [name, versionOf(name)])),
  quick: QUICK,
  targets: judge(measured),
  ...measured,
};
print(results);

const option = process.argv.find((argument) => argument.startsWith("--out="));
const out = option?.slice("--out=".length);
const json = `${JSON.stringify(results, null, 2)}\n`;
if (out !== undefined) {
  writeFileSync(join(out, "results.json"), json);
  draw(results, { pictures: out });
} else if (!QUICK) {
  writeFileSync(join(ROOT, "bench/results.json"), json);
  draw(results, { pictures: join(ROOT, "docs"), page: join(ROOT, "docs/benchmarks.md") });
}
