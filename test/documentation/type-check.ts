import { join } from "node:path";
import ts from "typescript";
import { type Example, ROOT } from "./examples.js";

/** A parameter without a type; a package without types. */
const IMPLICIT_ANY = [7006, 7016];

/** Checks examples as a strict project would that has `bulkman` installed. Returns the complaints. */
export function typeCheck(examples: readonly Example[]): string[] {
  const { options, errors } = ts.parseJsonConfigFileContent(
    {
      extends: "./tsconfig.json",
      compilerOptions: {
        allowJs: true,
        checkJs: true,
        // An example may make something that only its reader uses.
        noUnusedLocals: false,
        noUnusedParameters: false,
        paths: {
          bulkman: ["./src/index.ts"],
          "bulkman/storage-contract": ["./src/storage/contract.ts"],
          "bulkman/undici": ["./src/undici/index.ts"],
          "bulkman/*": ["./src/metrics/*.ts"],
        },
      },
      files: [],
    },
    ts.sys,
    ROOT,
  );
  const files = new Map(examples.map((example) => [fileName(example), example]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => files.get(name)?.code ?? readFile(name);
  const program = ts.createProgram([...files.keys()], options, host);
  const found = Array.from(files.keys(), (name) => diagnosticsOf(program, name)).flat();
  return [...errors, ...found].map((diagnostic) => complaint(diagnostic, files));
}

/** JavaScript lacks types of parameters and of packages. A type annotation in it is an error. */
function diagnosticsOf(program: ts.Program, name: string): readonly ts.Diagnostic[] {
  const file = program.getSourceFile(name);
  const isAnyInJavaScript = ({ code }: ts.Diagnostic) =>
    name.endsWith(".js") && IMPLICIT_ANY.includes(code);
  return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].filter(
    (diagnostic) => !isAnyInJavaScript(diagnostic),
  );
}

function fileName({ page, line, language }: Example): string {
  return join(ROOT, "test", `${page.replaceAll("/", "-")}-${line}.${language}`);
}

function complaint(diagnostic: ts.Diagnostic, files: ReadonlyMap<string, Example>): string {
  const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
  const { file, start = 0 } = diagnostic;
  const example = file && files.get(file.fileName);
  if (file === undefined || example === undefined) return text;
  const { line } = file.getLineAndCharacterOfPosition(start);
  return `${example.page}:${example.line + line}: ${text}`;
}
