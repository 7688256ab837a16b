import { fstatSync } from "node:fs";
import { createInterface } from "node:readline";
import { UsageError } from "./command.js";

/**
 * The answer, from the terminal or a pipe, or `undefined` when Ctrl-C or the end of the input came on a
 * terminal.
 * @param instead what to say on the command line where nobody can be asked
 * @param about what to show before the question
 * @throws {UsageError} when there is nobody to ask
 */
export async function ask(
  question: string,
  instead: string,
  about = "",
): Promise<string | undefined> {
  const isTerminal = process.stdin.isTTY === true;
  const nobody = new UsageError(`there is no terminal to ask on; say ${instead}`);
  if (!isTerminal && !isPiped()) throw nobody;
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
  // Whoever has answered may leave the pipe open, and wait for this process to end.
  process.stdin.destroy();
  process.stderr.write("\n");
  if (answer === undefined) throw nobody;
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
