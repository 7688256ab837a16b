import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

export const ROOT = join(import.meta.dirname, "../..");

/** Every Markdown file of `docs/`, in all folders but the generated `docs/api`. */
export const GUIDES: readonly string[] = readdirSync(join(ROOT, "docs"), {
  recursive: true,
  encoding: "utf8",
})
  .map((name) => `docs/${name.replaceAll("\\", "/")}`)
  .filter((name) => name.endsWith(".md") && !name.startsWith("docs/api/"))
  .sort();

/** A fenced block of TypeScript or JavaScript in a page. */
export interface Example {
  /** Page and line, as `README.md:42`. */
  readonly place: string;
  /** Line of the page that the code's first line is. */
  readonly line: number;
  readonly page: string;
  readonly language: "ts" | "js";
  readonly code: string;
  /** Why it is neither run nor checked, as the page itself says. */
  readonly notRun: string | undefined;
}

/** A `// → …` comment: what one `console.log` must print. */
export interface Promised {
  readonly line: number;
  /** Where `console.log` stands in the code. */
  readonly start: number;
  readonly end: number;
  /** One text for each time it is called. */
  readonly texts: readonly string[];
}

const OTHER_LANGUAGES = ["sh", "text", "sql", "mermaid", "python", "yaml"];
const NOT_RUN = /^<!-- not run: (.+) -->$/;

export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}

/** Every block of TypeScript or JavaScript. A fence of an unknown language is an error. */
export function readExamples(page: string): Example[] {
  const examples: Example[] = [];
  const lines = readPage(page).split("\n");
  let lastText = "";
  for (let i = 0; i < lines.length; i++) {
    const [, language] = /^```(.*)$/.exec(lines[i] ?? "") ?? [];
    if (language === undefined) {
      lastText = lines[i]?.trim() || lastText;
      continue;
    }
    const end = lines.indexOf("```", i + 1);
    if (end === -1) throw new Error(`${page}:${i + 1}: the block has no end`);
    const code = `${lines.slice(i + 1, end).join("\n")}\n`;
    if (language === "ts" || language === "js") {
      const notRun = NOT_RUN.exec(lastText)?.[1];
      examples.push({ place: `${page}:${i + 1}`, line: i + 2, page, language, code, notRun });
    } else if (!OTHER_LANGUAGES.includes(language)) {
      throw new Error(`${page}:${i + 1}: what is a block of "${language}"?`);
    }
    lastText = "";
    i = end;
  }
  return examples;
}

/** Finds what the comments of an example promise. A promise that no `console.log` keeps is an error. */
export function promisesOf(example: Example): Promised[] {
  const source = ts.createSourceFile("example.ts", example.code, ts.ScriptTarget.Latest, true);
  const lines = example.code.split("\n");
  const promises: Promised[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && node.expression.getText() === "console.log") {
      const line = source.getLineAndCharacterOfPosition(statementOf(node).end).line;
      const texts = promisedAt(lines, line);
      const { end } = node.expression;
      if (texts) promises.push({ line, start: node.expression.getStart(), end, texts });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  const count = lines.filter((line) => line.includes("// → ")).length;
  if (new Set(promises.map(({ line }) => line)).size !== promises.length) {
    throw new Error(`${example.place}: two calls of console.log claim one promise`);
  }
  if (count !== promises.length) {
    throw new Error(`${example.place}: ${count} promises, ${promises.length} with a console.log`);
  }
  return promises;
}

function statementOf(node: ts.Node): ts.Node {
  let statement = node;
  while (!ts.isExpressionStatement(statement) && !ts.isSourceFile(statement.parent)) {
    statement = statement.parent;
  }
  return statement;
}

/** The promise at the end of a line, or in the comment lines after it. */
function promisedAt(lines: readonly string[], line: number): string[] | undefined {
  const behind = /;\s*\/\/ → (.*)$/.exec(lines[line] ?? "");
  const below = /^\s*\/\/ → (.*)$/.exec(lines[line + 1] ?? "");
  const first = behind ?? below;
  if (first === null) return undefined;
  let text = first[1] ?? "";
  for (let next = line + (behind ? 1 : 2); ; next++) {
    const more = /^\s*\/\/ {2,}(.*)$/.exec(lines[next] ?? "");
    if (more === null) break;
    text += ` ${more[1]}`;
  }
  return text.split(", then ").map(oneLine);
}

/** White space is not part of a promise: a printed object breaks where it likes. */
export function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
