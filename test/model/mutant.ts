import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";
import ts from "typescript";
import type { CircuitCode } from "./circuit-process.js";

/** A rule left out: some text of a source file, and what stands there without the rule. */
export interface Mutation {
  readonly file: string;
  readonly text: string;
  readonly without: string;
}

const SOURCE = fileURLToPath(new URL("../../src/", import.meta.url));
const requireModule = createRequire(import.meta.url);

/**
 * The code without a rule.
 * @throws {Error} when the file has the text not exactly once: the mutation has to be brought up to date
 */
export function mutantOf(mutation: Mutation): CircuitCode {
  const modules = new Map<string, object>();
  const load = (file: string): object => {
    const loaded = modules.get(file);
    if (loaded !== undefined) return loaded;
    const exports = {};
    modules.set(file, exports);
    const run = compileFunction(compile(file, mutation), ["exports", "require"]);
    run(exports, (name: string) =>
      name.startsWith(".")
        ? load(join(dirname(file), name.replace(/\.js$/, ".ts")))
        : requireModule(name),
    );
    return exports;
  };
  const files = [
    "circuit/circuit",
    "circuit/shared-circuit",
    "circuit/shared-circuit-state",
    "resolve-config",
    "storage/apply-change",
  ];
  return Object.assign({}, ...files.map((file) => load(join(SOURCE, `${file}.ts`))));
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
