import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";
import ts from "typescript";
import type { CircuitCode } from "./circuit-process.js";
import type { FleetCode } from "./fleet-world.js";

/** A rule left out: some text of a source file, and what stands there without the rule. */
export interface Mutation {
  readonly file: string;
  readonly text: string;
  readonly without: string;
}

const SOURCE = fileURLToPath(new URL("../../src/", import.meta.url));
const requireModule = createRequire(import.meta.url);

/** The circuit's code without a rule. */
export function mutantOf(mutation: Mutation): CircuitCode {
  return load(mutation, [
    "circuit/circuit",
    "circuit/shared-circuit",
    "circuit/shared-circuit-state",
    "resolve-config",
    "storage/apply-change",
  ]);
}

/** The code of the fleet's limit without a rule. */
export function fleetMutantOf(mutation: Mutation): FleetCode {
  return load(mutation, ["fleet/permits", "storage/apply-lease"]);
}

/**
 * What the files export, one of them without a rule.
 * @throws {Error} when the file has the text not exactly once: the mutation has to be brought up to date
 */
function load(mutation: Mutation, files: readonly string[]) {
  const modules = new Map<string, object>();
  const loadOne = (file: string): object => {
    const loaded = modules.get(file);
    if (loaded !== undefined) return loaded;
    const exports = {};
    modules.set(file, exports);
    const run = compileFunction(compile(file, mutation), ["exports", "require"]);
    run(exports, (name: string) =>
      name.startsWith(".")
        ? loadOne(join(dirname(file), name.replace(/\.js$/, ".ts")))
        : requireModule(name),
    );
    return exports;
  };
  return Object.assign({}, ...files.map((file) => loadOne(join(SOURCE, `${file}.ts`))));
}

function compile(file: string, { file: mutated, text, without }: Mutation): string {
  const source = readFileSync(file, "utf8");
  if (file !== join(SOURCE, mutated)) return transpile(source);
  const parts = source.split(text);
  if (parts.length !== 2) throw new Error(`${mutated} has ${parts.length - 1} times: ${text}`);
  return transpile(parts.join(without));
}

function transpile(source: string): string {
  const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
  return ts.transpileModule(source, { compilerOptions }).outputText;
}
