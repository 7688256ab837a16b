/** A wrong command line: status 2, and a pointer to the help. */
export class UsageError extends Error {}

/** The exit status of a program that Ctrl-C ended, as a shell has it. */
export const INTERRUPTED = 130;

/** One of the things that `bulkman` can be told to do. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What `--help` prints. */
  readonly help: string;
  /** @returns the exit status */
  readonly run: (args: string[]) => Promise<number>;
}
