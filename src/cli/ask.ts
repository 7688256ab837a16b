import { fstatSync } from "node:fs";
import { createInterface } from "node:readline";
import { UsageError } from "./command.js";

/**
 * Asks on the terminal, or reads the answer from a pipe. Resolves to `undefined` when Ctrl-C or the end of the input
 * comes on a terminal.
 * @param instead the options that answer where there is no terminal
 * @param about text before the question
 * @throws {UsageError} when stdin is neither a terminal nor a pipe with an answer
 */
export async function ask(
  question: string,
  instead: string,
  about = "",
): Promise<string | undefined> {
  const isTerminal = process.stdin.isTTY === true;
  const noTerminal = new UsageError(`there is no terminal to ask on; use ${instead}`);
  if (!isTerminal && !isPiped()) throw noTerminal;
  process.stderr.write(about);
  const terminal = createInterface({
    input: process.stdin,
    output: process.stderr,
    terminal: isTerminal && process.stderr.isTTY === true,
    prompt: question,
  });
  const answer = await new Promise<string | undefined>((resolve) => {
    terminal.once("line", resolve);
    terminal.once("SIGINT", () => resolve(undefined));
    terminal.once("close", () => resolve(undefined));
    terminal.prompt();
  });
  terminal.close();
  if (isTerminal) return answer;
  // The other program may leave the pipe open, and wait for this process to end.
  process.stdin.destroy();
  process.stderr.write("\n");
  if (answer === undefined) throw noTerminal;
  return answer;
}

/** Whether an answer may come from another program, as with `echo y | bulkman …`; not from /dev/null. */
function isPiped(): boolean {
  try {
    return !fstatSync(0).isCharacterDevice();
  } catch {
    return false;
  }
}
