import { createInterface } from "node:readline/promises";
import { UsageError } from "./command.js";

/**
 * The answer, or `undefined` when Ctrl-C or the end of the input came instead.
 * @param instead what to say on the command line where nobody can be asked
 * @param about what to show before the question
 */
export async function ask(
  question: string,
  instead: string,
  about = "",
): Promise<string | undefined> {
  if (!process.stdin.isTTY) {
    throw new UsageError(`there is no terminal to ask on; say ${instead}`);
  }
  process.stderr.write(about);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await new Promise((resolve) => {
      terminal.once("SIGINT", () => resolve(undefined));
      terminal.once("close", () => resolve(undefined));
      terminal.question(question).then(resolve, () => resolve(undefined));
    });
  } finally {
    terminal.close();
  }
}
